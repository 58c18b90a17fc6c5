"""Odd words, specs and texts, from which cases of the fuzz are made."""

from __future__ import annotations

import random

ODD = (
    "", " ", "0", "-1", "1", "2", "3.5", "1e400", "-1e400", "nan", "inf", "true", "false", "null", "9" * 20, "9" * 400,
    "9" * 5000, "²", "٣", "0x10", "1_000", "1979-05-27", "[1]", "{a=1}", "{" + "a." * 90 + "a=1}", "[" * 900, "'", '"',
    ",", ",,", "a,b", "1,2,3", "1,", "~", "~no-such-user/x", "/", "/dev/zero", "/dev/null", ".", "..",
    "x" * 300, "x" * 5000, "a\nb", "a?b", "a&b=c", "=", "&", "?", "?=", "::", ":", "py:", "py:os:getcwd", "file:",
    "npz:", "folder:", "\x1b[2J", "é", "\u202e", "full", "auto", "first", "ce", "mse", "planted", "mlp", "adam",
    "2h", "1/2", "0/0", "5:3", "0.9,0.95",
)  # fmt: skip

BEGINNINGS = {
    "data": "planted?n= planted?scenario= npz:d.npz?limit= npz:d.npz?mean= npz:d.npz?standardize= npz:d.npz?weights= "
    "npz:d.npz?transform= npz:d.npz?size= text:t.txt?context= text:t.txt?per= text:t.txt?vocabulary= babble?seed= "
    "folder: npz: text: torchvision: torchvision:CIFAR10?root= hfds:run?split= py: file: ",
    "model": "mlp?hidden= mlp?activation= cnn?widths= vit?patch= vit?heads= gpt?width= gpt?layers= resnet?width= "
    "vgg?widths= torchvision: torchvision:resnet18?num_classes= timm: hf: py: file: ",
    "loss": "ce?label_smoothing= ce?weight= ce?ignore_index= mse?scale= mse?outputs= focal?gamma= gce?q= "
    "bce?pos_weight= huber?delta= lm?mean= sigmoid_focal?alpha= py: file: ",
}


def damaged(dice: random.Random, text: str) -> bytes:
    """A text with some values, lines or bytes replaced."""
    lines = text.split("\n")
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(lines))
        kind = dice.randrange(5)
        if kind < 3 and "=" in lines[at]:
            lines[at] = f"{lines[at].split('=')[0]}= {dice.choice((*ODD, *(repr(odd) for odd in ODD)))}"
        elif kind == 3:
            lines.insert(at, dice.choice(lines))
        else:
            del lines[at]
        lines = lines or [""]
    raw = bytearray("\n".join(lines).encode())
    for _ in range(dice.choice((0, 0, 1, 8)) if raw else 0):
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    return bytes(raw)
