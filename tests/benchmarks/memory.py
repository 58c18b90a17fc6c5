"""Peak memory of whole ``opsig trace`` and ``opsig sharpness`` runs: ``python tests/benchmarks/memory.py [--full]``.

Each row is a process of its own. Pictures are uint8, 16x16x3, in an .npz file, and opsig keeps them as they are (up to
2 GiB; more are read again for every shard), with up to 1 GiB of them as floats, laid out for the model; both are
listed. Text is bytes, each one a token and an example, of which ``--examples 100000`` takes whole sequences.
Sharpness is of a GPT of two layers, width 64, on 256 sequences of 64 words of a vocabulary that grows: Lanczos for two
products, and ``--quick``.
``--full`` adds 200,000 pictures over 160 checkpoints, and 100 million tokens.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from opsigcli.models.base import build

SIDE, CLASSES, TOKENS = 16, 10, 100_000
PICTURES = [(2_000, 10), (2_000, 40), (2_000, 160), (20_000, 10), (20_000, 160), (200_000, 10)]
TEXTS = [1_000_000, 10_000_000]
VOCABULARIES, SEQUENCES, CONTEXT = [1024, 16_384], 256, 64


def checkpoints(folder: Path, model: str, shape: tuple[int, ...], outputs: int, count: int) -> Path:
    """A random walk of weights."""
    folder.mkdir()
    torch.manual_seed(0)
    module = build(model, input_shape=shape, outputs=outputs)
    for step in range(count):
        save_file(module.state_dict(), folder / f"step-{step:04d}.safetensors")
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.randn_like(p), alpha=1e-2)
    return folder


def peak(*words: object, verb: str = "trace") -> float:
    """GiB that ``opsig trace``, or another verb, with these words takes at most."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "opsigcli", verb, *map(str, words), "-q"], env=environment
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"opsig {verb} ended with {process.returncode}")
    return used.ru_maxrss / 2**20


def pictures(root: Path, wanted: list[tuple[int, int]]) -> None:
    print("| pictures | checkpoints | peak GiB | of that data, as bytes and as floats |")
    print("|---|---|---|---|")
    rng = np.random.default_rng(0)
    model = "mlp?hidden=16"
    shape = (3, SIDE, SIDE)
    checkpoints(root / "all", model, shape, CLASSES, max(t for _, t in wanted))
    for examples, steps in wanted:
        data = root / "data.npz"
        x = rng.integers(0, 256, (examples, SIDE, SIDE, 3), dtype=np.uint8)
        np.savez(data, x=x, y=rng.integers(0, CLASSES, examples))
        folder = root / f"first-{steps}"
        folder.mkdir(exist_ok=True)
        for file in sorted((root / "all").iterdir())[:steps]:
            (folder / file.name).unlink(missing_ok=True)
            (folder / file.name).hardlink_to(file)
        store = root / "s.h5"
        store.unlink(missing_ok=True)
        most = peak(folder, "--store", store, "--model", model, "--data", f"npz:{data}")
        kept = x.nbytes + (4 * x.nbytes if 4 * x.nbytes <= 1 << 30 else 0)
        print(f"| {examples:,} | {steps} | {most:.2f} | {kept / 2**30:.2f} |", flush=True)


def texts(root: Path, wanted: list[int]) -> None:
    print("\n| tokens of text | examples | file, GiB | peak GiB |\n|---|---|---|---|")
    rng = np.random.default_rng(0)
    model = "gpt?layers=1&width=16&heads=2"
    folder = checkpoints(root / "gpt", model, (64,), 256, 3)
    for count in wanted:
        text = root / "text.txt"
        letters = rng.integers(97, 123, count, dtype=np.uint8)
        letters[rng.integers(0, count, count // 6)] = 32
        letters[79::80] = 10  # lines
        letters[8000::80_000] = letters[8001::80_000] = 10  # an empty line ends a document
        text.write_bytes(letters.tobytes())
        store = root / "t.h5"
        store.unlink(missing_ok=True)
        words = ("--model", model, "--data", f"text:{text}?tokenizer=byte", "--loss", "lm", "--tokens")
        most = peak(folder, "--store", store, *words, "--examples", TOKENS)
        print(f"| {count:,} | {TOKENS:,} | {count / 2**30:.2f} | {most:.2f} |", flush=True)


def language_models(root: Path, wanted: list[int]) -> None:
    print("\n| vocabulary | logits, GiB | sharpness, peak GiB | --quick |\n|---|---|---|---|")
    rng = np.random.default_rng(0)
    for vocabulary in wanted:
        place = root / f"words-{vocabulary}"
        place.mkdir()
        numbers = [*range(vocabulary), *rng.integers(0, vocabulary, SEQUENCES * CONTEXT + 10)]
        (place / "text.txt").write_text(" ".join(f"w{number}" for number in rng.permutation(numbers)))
        model, store = "gpt?layers=2&width=64", place / "s.h5"
        folder = checkpoints(place / "c", model, (CONTEXT,), vocabulary, 1)
        options = f"tokenizer=word&vocabulary={vocabulary}&context={CONTEXT}&limit={SEQUENCES}"
        words = ("--model", model, "--data", f"text:{place / 'text.txt'}?{options}", "--loss", "lm")
        peak(folder, "--store", store, *words)
        dear = peak("--store", store, "--max-matvecs", 2, verb="sharpness")
        quick = peak("--store", store, "--quick", verb="sharpness")
        logits = 4 * vocabulary * CONTEXT * SEQUENCES / 2**30
        print(f"| {vocabulary:,} | {logits:.2f} | {dear:.2f} | {quick:.2f} |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--full", action="store_true", help="the largest sizes too")
    options.add_argument("--only", choices=("pictures", "text", "sharpness"))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if chosen.only in (None, "pictures"):
            pictures(Path(place), PICTURES + [(200_000, 160)] * chosen.full)
        if chosen.only in (None, "sharpness"):
            language_models(Path(place), VOCABULARIES)
        if chosen.only in (None, "text"):
            texts(Path(place), TEXTS + [100_000_000] * chosen.full)


if __name__ == "__main__":
    main()
