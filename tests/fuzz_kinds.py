"""The kinds of cases of the fuzz: each changes a folder and says which command then looks at it."""

from __future__ import annotations

import shutil
import struct
import zipfile
from pathlib import Path

import h5py
import hostile
import numpy as np
from broken_stores import break_store
from fuzz_case import (
    DATA,
    KINDS,
    MODEL,
    SPECS,
    Case,
    Dice,
    Words,
    bytes_damaged,
    enter,
    looks,
    strange,
)
from odd_input import BEGINNINGS, ODD, damaged
from outside_stores import HOSTILE, SECRET
from trial import Place

from opsigcli.options import COMMANDS, MANIFEST
from opsigcli.parameters import Argument, parameters

__all__ = ["KINDS"]


@enter("options")
def _(dice: Dice, place: Place) -> Case:
    verb = dice.choice(list(COMMANDS))
    words = [verb]
    if verb in ("train", "init", "trace", "inspect"):
        words.append(dice.choice((*ODD, "none") if dice.random() < 0.3 else ("run", "st", "opsig.h5", ".")))
    words += {
        "train": [*SPECS, "--steps", "2"], "sharpness": ["--every", "9"], "mine": ["--surrogates", "0"],
    }.get(verb, [])  # fmt: skip
    for parameter in dice.sample(known := parameters(COMMANDS[verb]), min(2, len(known))):
        unbounded = ("steps", "idle", "watch") if verb != "sharpness" else ()
        if not isinstance(parameter.declared, Argument) and parameter.name not in unbounded:
            words += [parameter.flag, *([dice.choice(ODD)] if parameter.declared.metavar else [])]
    return Case(tuple(words))


@enter("specs")
def _(dice: Dice, place: Place) -> Case:
    which = dice.choice(list(BEGINNINGS))
    spec = dice.choice(BEGINNINGS[which].replace("d.npz", "data.npz").replace("t.txt", "text.txt").split(" "))
    specs = {"model": MODEL, "data": DATA, "loss": "ce"} | {which: spec + dice.choice(ODD)}
    words = [word for name, value in specs.items() for word in (f"--{name}", value)]
    verb: Words = dice.choice((
        ("init", "st"), ("trace", "st", "--store", "new.h5"), ("train", "new", "--steps", "1"),
        ("sharpness", "--every", "9"), ("mine", "--surrogates", "0", "--candidates", "50"),
    ))  # fmt: skip
    if verb[0] in ("sharpness", "mine"):
        words = [f"--{which}" if which != "loss" else "--model", specs[which]]
    return Case((*verb, *words))


@enter("manifests")
def _(dice: Dice, place: Place) -> Case:
    path = place.work / "run" / MANIFEST
    path.write_bytes(damaged(dice, path.read_text()))
    if dice.random() < 0.05:
        return Case(looks(dice), strange(dice, place, path))
    return Case(looks(dice))


@enter("npz")
def _(dice: Dice, place: Place) -> Case:
    path = place.work / "data.npz"
    x, y = np.zeros((40, 3, 4, 4), np.float32), np.arange(40) % 2
    odd: list[object] = [
        np.array([{"a": 1}] * 40), np.array(["x"] * 40), np.zeros((40,), "c16"), np.zeros((0, 3)), np.zeros(()),
        np.full((40, 3, 4, 4), np.nan), np.full(40, 10**12), np.zeros((40, 4096 * 64), np.float16), np.full(40, -1),
        np.zeros(40, "M8[s]"), np.zeros(40, [("a", "f4")]), np.zeros((40, 3, 0)), np.zeros(39), np.full(40, 0.5),
        np.zeros((40, 4, 4, 3), np.uint8), np.full((40, 3, 4, 4), np.inf, np.float32), np.zeros(40, bool),
    ]  # fmt: skip
    said = "bytes"
    if dice.random() < 0.5:
        path.write_bytes(bytes_damaged(dice, path.read_bytes()))
    elif dice.random() < 0.6:
        arrays = {"x": x, "y": y} | {
            dice.choice(("x", "y", "ids", "classes", "weights", "../z")): dice.choice(odd)
        }
        np.savez(path, **arrays)  # type: ignore[arg-type]
        said = "arrays"
    elif dice.random() < 0.7:
        head = dice.choice((b"{'descr': '|O', 'fortran_order': False, 'shape': (40,), }",
                            b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999), }",
                            b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
                            b"__import__('os').system('touch ../guard/ran')",
                            b"(" * 3000, b"{'descr': 3}"))  # fmt: skip
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(
                "y.npy", b"\x93NUMPY\x01\0" + struct.pack("<H", len(head) + 1) + head + b"\n" + bytes(640)
            )
            archive.writestr("x.npy", b"\x93NUMPY\x01\0" + struct.pack("<H", len(head) + 1) + head + b"\n")
        said = "heads"
    else:
        said = strange(dice, place, path)
    if dice.random() < 0.5:
        spec = f"npz:{path}{dice.choice(('', '?limit=9', '?standardize=channel', '?weights=' + str(path)))}"
        return Case(("train", "new", "--data", spec, "--model", MODEL, "--steps", "1"), said)
    return Case(looks(dice, "nrun", "n.h5"), said)


@enter("files of ids")
def _(dice: Dice, place: Place) -> Case:
    path = place.work / ("ids" + dice.choice((".csv", ".jsonl", ".npz", ".json", ".pt", ".txt")))
    said = ""
    if dice.random() < 0.9:
        path.write_bytes(bytes_damaged(dice, path.read_bytes()))
    else:
        said = strange(dice, place, path)
    option = dice.choice(("--exclude", "--downweight"))
    return Case(("train", "new", *SPECS, "--steps", "1", option, path.name), said)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\nshowpage\n%%EOF\n"


@enter("folders of data")
def _(dice: Dice, place: Place) -> Case:
    images = place.work / "images"
    path = images / dice.choice("ab") / f"{dice.randrange(3)}.png"
    kind, said = dice.randrange(7), "bytes"
    if kind < 2:
        path.write_bytes(bytes_damaged(dice, path.read_bytes()))
    elif kind == 2:
        path.write_bytes(EPS + dice.randbytes(dice.randrange(9)))
        said = "postscript"
    elif kind == 3:
        from PIL import Image

        form = dice.choice(
            ("GIF", "TIFF", "BMP", "WEBP", "PPM", "ICO", "PCX", "TGA", "JPEG2000", "EPS", "PDF")
        )
        Image.new("RGB", (6, 6)).save(path, form)
        said = form
    elif kind == 4:
        said = strange(dice, place, path)
    elif kind == 5:
        name = dice.choice(
            ("\x1b[2J.png", "<script>.png", "a\u202e.png", "x" * 200 + ".png", "\udcff.png", "..png")
        )
        shutil.copy(path, path.parent / name)
        said = "names"
    else:
        text = place.work / "text.txt"
        if dice.random() < 0.8:
            text.write_bytes(bytes_damaged(dice, text.read_bytes()))
        else:
            said = strange(dice, place, text)
        gpt = ("--model", "gpt?width=8&layers=1&heads=1", "--loss", "lm")
        return Case(("train", "new", "--data", "text:text.txt?context=4", *gpt, "--steps", "1"), said)
    spec = f"folder:{images}{dice.choice(('', '?size=4', '?standardize=image', '?limit=4'))}"
    return Case(("train", "new", "--data", spec, "--model", MODEL, "--steps", "1"), said)


CORPUS = hostile.corpus()


@enter("checkpoints")
def _(dice: Dice, place: Place) -> Case:
    which, said = dice.choice(("pt", "legacy", "st", "hf", "dcp")), "bytes"
    if dice.random() < 0.25:
        which, said = "hostile", dice.choice(list(CORPUS))
        (place.work / which).mkdir()
        CORPUS[said](place.work / which, place.guard)
    else:
        path = dice.choice(sorted(p for p in (place.work / which).rglob("*") if p.is_file()))
        if dice.random() < 0.08:
            said = strange(dice, place, path)
        elif zipfile.is_zipfile(path) and dice.random() < 0.7:
            hostile.rewritten(path, lambda n, d: bytes_damaged(dice, d) if n.endswith("data.pkl") else d)
        else:
            raw = path.read_bytes()
            head = min(len(raw), 2000)  # most of what is read as more than a number stands there
            path.write_bytes(bytes_damaged(dice, raw[:head]) + raw[head:] if dice.random() < 0.6
                             else bytes_damaged(dice, raw))  # fmt: skip
    words: Words = dice.choice((
        ("inspect", which), ("inspect", which, "--json"), ("trace", which, *SPECS, "--store", "new.h5"),
        ("init", which, *SPECS),
    ))  # fmt: skip
    if said == "bytes" and which == "st" and dice.random() < 0.3:
        shutil.copytree(place.work / "st", place.work / "run", dirs_exist_ok=True)
        words = looks(dice)
    return Case(words, f"{which}: {said}")


@enter("stores")
def _(dice: Dice, place: Place) -> Case:
    store = place.work / "opsig.h5"
    kind = dice.randrange(10)
    refused = False
    if kind < 6:
        said = break_store(store, dice.randrange(1 << 40))
    elif kind < 8:
        data = bytearray(store.read_bytes())
        if sealed := dice.random() < 0.7:
            flips = 1
        else:  # as a forger leaves it, who can make a seal as well
            data, flips = data[: data.rindex(b'[["')], dice.choice((1, 3, 9))
        for _ in range(flips):
            at = dice.randrange(8, len(data))
            data[at] ^= 1 << dice.randrange(8)
        store.write_bytes(data)
        said, refused = f"{flips} bits flipped, the last in byte {at}", sealed
    elif kind == 8:
        data = bytearray(store.read_bytes())
        del data[dice.randrange(len(data)) :]
        store.write_bytes(data)
        said, refused = f"cut to {len(data)}", len(data) > 0
    elif dice.random() < 0.8:
        said, refused = dice.choice(list(HOSTILE)), True
        with h5py.File(store, "r+") as file:
            HOSTILE[said][0](file, place.guard)
        (place.guard / "secret.bin").write_bytes(SECRET)
    else:
        said = strange(dice, place, store)
    words = looks(dice)
    uses = "opsig.h5" in words and "--fresh" not in words and words[0] != "inspect"
    return Case(words, said, refused=refused and uses, store=False)


NAMES = (
    "opsig.h5.lock", "opsig.h5.parts", "opsig.h5.tmp", "opsig.h5.room", "opsig.h5.host.1.tmp", "new.h5", "new.h5.lock",
    "new.h5.parts", "opsig-report.html", "out.csv", "opsig.toml", "pyproject.toml", "run/opsig-examples.json",
    "run/.opsig-run.toml.0a1b2c3d.part", "run/step-000028.safetensors", "run/.lock", "run/args.json", "run/log.csv",
    "run/metrics.jsonl", "run/hparams.yaml", "run/config.json", "run/trainer_state.json", "run/opsig-run.toml",
)  # fmt: skip


@enter("beside")
def _(dice: Dice, place: Place) -> Case:
    said = [strange(dice, place, place.work / name) for name in dice.sample(NAMES, dice.choice((1, 1, 2, 4)))]
    words = looks(dice)
    if words[0] == "train" and dice.random() < 0.5:
        words = tuple("28" if word == "24" else word for word in words)
    return Case(words, "; ".join(said))


LOGS = Path(__file__).parent / "data" / "logs"
SETTINGS = (
    (
        "args.json",
        '{"lr": 0.1, "dropout": 0.1, "loss": "ce", "batch_size": 32, "seed": 1, "weight_decay": 0.1}',
    ),
    ("args.yaml", "lr: 0.1\ndropout: 0.1\nlabel_smoothing: 0.1\nmixup: 0.2\nbatch_size: 32\nclip: 1.0\n"),
    ("hparams.yaml", "lr: 0.1\noptimizer:\n  name: sgd\n  lr: 0.1\n  momentum: 0.9\n"),
    ("config.json", '{"attention_dropout": 0.1, "architectures": ["M"], "model_type": "gpt2"}'),
    ("log.csv", "step,loss\n4,1.5\n8,1.2\n12,1.1\n16,1.0\n20,0.9\n"),
    ("metrics.jsonl", '{"step": 4, "loss": 1.5}\n{"step": 8, "loss": 1.2}\n{"step": 12, "loss": 1.0}\n'),
)


@enter("logs and settings")
def _(dice: Dice, place: Place) -> Case:
    if dice.random() < 0.3:
        options = '[tool.opsig]\ndevice = "cpu"\ntop = 2\nloss = "ce"\nseed = 1\nmodel = "mlp?hidden=4"\n'
        name = dice.choice(("opsig.toml", "pyproject.toml"))
        text = options.partition("\n")[2] if name == "opsig.toml" else options
        (place.work / name).write_bytes(damaged(dice, text))
        return Case(looks(dice), name)
    name, text = dice.choice(SETTINGS)
    raw = (
        bytes_damaged(dice, text.encode())
        if dice.random() < 0.7
        else text.replace("0.1", dice.choice(ODD)).encode(errors="replace")
    )
    if dice.random() < 0.4:
        source = dice.choice(sorted(p for p in LOGS.rglob("*") if p.is_file() and p.stat().st_size < 1 << 20))
        name, raw = source.name, bytes_damaged(dice, source.read_bytes())
    (place.work / "st" / name).write_bytes(raw)
    shutil.copy(place.work / "st" / name, place.work / "run" / name)
    words: Words = dice.choice((
        ("inspect", "st"), ("trace", "st", *SPECS, "--store", "new.h5"), ("trace", "run", "--store", "new.h5"),
        ("init", "st", *SPECS), ("trace", "run", "--store", "new.h5", "--fresh"),
    ))  # fmt: skip
    return Case(words, name)
