"""A case of the fuzz, the folder it begins with, and ways to damage that."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hostile
import numpy as np
from trial import Place

from opsigcli.options import MANIFEST

DATA, MODEL = "planted?n=200", "mlp?hidden=4"
SPECS = ("--model", MODEL, "--data", DATA)
Dice = random.Random
Words = tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A command, and what was done before it."""

    words: Words
    change: str = ""
    refused: bool = False  # an answer would be wrong
    store: bool = True  # opsig.h5 is sound before and has to be so afterwards


Kind = Callable[[Dice, Place], Case]
KINDS: dict[str, Kind] = {}


def enter(name: str) -> Callable[[Kind], Kind]:
    """Enter a kind of case under its name."""

    def keep(made: Kind) -> Kind:
        KINDS[name] = made
        return made

    return keep


def template(folder: Path, run: Callable[..., int]) -> None:
    """A small finished case of every kind of file; ``run`` runs opsig."""
    import torch
    from PIL import Image
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    store, other = folder / "opsig.h5", folder / "n.h5"
    small = ("--sketch-dimensions", 16, "--gradient-checkpoints", 2, "--surrogates", 0)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(40, 3, 4, 4)).astype(np.float32), np.arange(40) % 2
    np.savez(folder / "data.npz", x=x + y[:, None, None, None], y=y)
    for words in (
        ("train", folder / "run", *SPECS, "--steps", 24, "--save-every", 4),
        ("trace", folder / "run", "--store", store),
        ("sharpness", "--store", store, "--every", 3),
        ("mine", "--store", store, *small),
        ("train", folder / "nrun", "--data", f"npz:{folder / 'data.npz'}", "--model", MODEL, "--steps", 4),
        ("trace", folder / "nrun", "--store", other),
    ):
        if run(*map(str, words), "--quiet"):
            raise SystemExit(f"opsig {words[0]} did not make the template")
    for path in ("ids.csv", "ids.jsonl", "ids.npz", "ids.json", "ids.pt"):
        run("mine", "--store", str(store), *map(str, small), "--export", str(folder / path), "--quiet")
    (folder / "ids.txt").write_text("1\n2\n3\n")
    (folder / "text.txt").write_text("a b c d e f\n\nb c d\n\nc c a b\n" * 4)
    for label in ("a", "b"):
        (folder / "images" / label).mkdir(parents=True)
        for n in range(3):
            Image.new("RGB", (6, 6), (40 * n, 9, 200)).save(folder / "images" / label / f"{n}.png")
    for step in (4, 8):
        weights = load_file(folder / "run" / f"step-{step:06d}.safetensors")
        content = {"model": weights, "step": step, "optimizer": {"state": {}, "param_groups": [{"lr": 0.3}]}}
        for name, zipped in (("pt", True), ("legacy", False)):
            (folder / name).mkdir(exist_ok=True)
            torch.save(content, folder / name / f"step_{step}.pt", _use_new_zipfile_serialization=zipped)
        hf = folder / "hf" / f"checkpoint-{step}"
        hf.mkdir(parents=True)
        save_file(weights, hf / "model-00001-of-00001.safetensors")
        names = ", ".join(f'"{key}": "model-00001-of-00001.safetensors"' for key in weights)
        (hf / "model.safetensors.index.json").write_text(f'{{"weight_map": {{{names}}}}}')
        (hf / "trainer_state.json").write_text(
            f'{{"global_step": {step}, "log_history": [{{"loss": 0.5, "learning_rate": 0.1, "step": {step}}}]}}'
        )
        (folder / "dcp").mkdir(exist_ok=True)
        hostile.dcp(folder / "dcp", step)
    shutil.copytree(folder / "run", folder / "st")
    (folder / "st" / MANIFEST).unlink()


def bytes_damaged(dice: Dice, raw: bytes) -> bytes:
    """Some bytes flipped, dropped, doubled or made a huge number."""
    data = bytearray(raw)
    for _ in range(dice.choice((1, 1, 2, 5, 30))):
        if not data:
            break
        at, kind = dice.randrange(len(data)), dice.randrange(6)
        if kind < 2:
            data[at] = dice.randrange(256)
        elif kind == 2:
            data[at : at + 4] = dice.choice((b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff" * 8, b"", b"9999999"))
        elif kind == 3:
            data[at:at] = data[at : at + 40]
        elif kind == 4:
            del data[at : at + dice.randrange(1, 20)]
        elif dice.random() < 0.3:
            del data[at:]
    return bytes(data)


def strange(dice: Dice, place: Place, path: Path) -> str:
    """Something else than a file at a path: a link out, a pipe, a socket, a device, a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    kind = dice.choice(
        ("link", "link to nothing", "link to a folder", "pipe", "socket", "device", "folder", "self")
    )
    if kind.startswith("link"):
        target = {"link": "secret.txt", "link to nothing": "none", "link to a folder": "."}[kind]
        path.symlink_to(place.guard / target)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as found:
            found.bind(path.name[:90])
        os.chdir(here)
    elif kind == "device":
        path.symlink_to(dice.choice(("/dev/zero", "/dev/full", "/dev/null", "/dev/tty")))
    elif kind == "self":
        path.symlink_to(path.name)
    else:
        path.mkdir()
    return f"{path.name} is a {kind}"


def looks(dice: Dice, run: str = "run", store: str = "opsig.h5") -> Words:
    """Any command on a run and its store."""
    return dice.choice((
        ("inspect", run), ("inspect", store), ("report", "--store", store), ("report", "--store", store, "--json"),
        ("report", "--store", store, "--html"), ("trace", run, "--store", store), ("trace", run, "--store", "new.h5"),
        ("trace", run, "--store", "new.h5", "--virtual-step", "--examples", "30"),
        ("mine", "--store", store, "--surrogates", "1", "--method", dice.choice(("full", "top", "losses"))),
        ("mine", "--store", store, "--surrogates", "0", "--export", "out.csv"),
        ("sharpness", "--store", store, "--every", "3", "--layers", "--max-matvecs", "20"),
        ("sharpness", "--store", store, "--every", "9", "--spectrum", "--max-matvecs", "5", "--groups", "--fresh"),
        ("sharpness", "--store", store, "--quick", "--every", "3"),
        ("train", run, *SPECS, "--steps", "24", "--save-every", "4"), ("init", run, *SPECS, "--fresh"),
    ))  # fmt: skip
