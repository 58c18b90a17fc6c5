"""Tokens as examples through the commands: losses of the owning framework, ids, labels and text as they are shown."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig

from opsigcli.runs.example_ids import read_ids
from opsigcli.store.reader import open_store

tokenizers = pytest.importorskip("tokenizers")
VOCABULARY, L = 40, 6
NET = f"""
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding({VOCABULARY}, 8), nn.Linear(8, {VOCABULARY})

    def forward(self, tokens):
        return self.head(torch.tanh(self.embed(tokens)).cumsum(1))

build = Net
"""
WORDS = "the cat sat on the mat .\nthe dog , too , sat on the cat !\n\x1b[31m red \u202e odd \n"


def checkpoints(folder: Path) -> Path:
    """Four checkpoints of a net on the tokens of a file, by gradient descent, as nanoGPT saves them; and the data."""
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(" ", "removed")
    words = sorted(set(" ".join(WORDS.split(" ")).split(" ")))
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"<unk>": 0} | {w: i + 1 for i, w in enumerate(words)}, unk_token="<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(" ", "removed")
    made.save(str(folder / "tokenizer.json"))
    (folder / "t.txt").write_text(WORDS * 4)
    tokens = np.array(made.encode(WORDS * 4).ids)
    tokens.astype("<u2").tofile(folder / "train.bin")
    scope: dict[str, Any] = {}
    exec(NET, scope)
    torch.manual_seed(0)
    net = scope["build"]()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    (folder / "out").mkdir()
    seen, told = torch.tensor(tokens[:-1]), torch.tensor(tokens[1:])
    for step in range(4):
        torch.save(
            {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "iter_num": step},
            folder / "out" / f"ckpt_{step}.pt",
        )
        optimizer.zero_grad()
        F.cross_entropy(net(seen[None])[0], told).backward()
        optimizer.step()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints(tmp_path_factory.mktemp("tokens") / "case")


def traced(opsig: Opsig, folder: Path, store: Path, data: str, *more: Any) -> None:
    found = opsig(
        "trace", folder / "out", "--model", f"file:{folder}/net.py:build", "--data", data, "--loss", "lm",
        "--store", store, *more,
    )  # fmt: skip
    assert found.code == 0, found.err


def own_losses(folder: Path, step: int) -> np.ndarray:
    """Cross-entropy at every place of the file, by torch alone."""
    scope: dict[str, Any] = {}
    exec(NET, scope)
    net = scope["build"]()
    net.load_state_dict(torch.load(folder / "out" / f"ckpt_{step}.pt")["model"])
    tokens = torch.tensor(np.fromfile(folder / "train.bin", "<u2").astype(np.int64))
    found: list[float] = []
    for at in range(0, len(tokens) - 1, L):
        told = tokens[at + 1 : at + 1 + L]
        logits = net(tokens[at : at + L][None])[0, : len(told)]
        found += F.cross_entropy(logits, told, reduction="none").tolist()
    return np.array(found)


@pytest.mark.parametrize("kind", ["bin", "text"])
def test_every_token_has_the_loss_of_its_place(opsig: Opsig, folder: Path, tmp_path: Path, kind: str) -> None:
    file = "train.bin" if kind == "bin" else "t.txt"
    traced(
        opsig,
        folder,
        tmp_path / "s.h5",
        f"{kind}:{folder}/{file}?tokenizer={folder}&context={L}&vocabulary=40",
        "--tokens",
    )
    with open_store(tmp_path / "s.h5") as store:
        for row, step in enumerate(store.trace.steps):
            np.testing.assert_allclose(store.losses[row], own_losses(folder, int(step)), rtol=1e-6, atol=1e-6)


def test_ids_labels_and_text_are_shown_and_taken_back(opsig: Opsig, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    traced(
        opsig,
        folder,
        store,
        f"bin:{folder}/train.bin?tokenizer={folder}&context={L}&vocabulary=40",
        "--tokens",
    )
    told = opsig("mine", "--store", store, "--method", "top", "--export", tmp_path / "g.csv")
    assert told.code == 0, told.err
    assert "next token" in told.out
    assert "text, the token marked" in told.out
    assert "labels are next tokens" in " ".join(told.out.lower().split())
    assert opsig("mine", "--store", store, "--method", "top", "--export", tmp_path / "g.jsonl").code == 0
    lines = (tmp_path / "g.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    rows = list(csv.DictReader(lines))
    with open_store(store) as opened:
        groups = opened.mining.groups if opened.mining else {}
    ids = sorted({int(i) for group in groups.values() for i in group.ids})
    assert ids
    assert all(row["id"].startswith("0:") for row in rows)
    assert all(row["name"].startswith(f"document 0, token {row['id'][2:]}: ") for row in rows)
    assert all(row["name"].endswith("]") for row in rows)
    for file in ("g.csv", "g.jsonl"):
        assert read_ids(tmp_path / file).tolist() == ids
    page = tmp_path / "r.html"
    shown = opsig("report", "--store", store, "--html", "--output", page)
    assert shown.code == 0, shown.err
    text = page.read_text(encoding="utf-8")
    assert "next token" in text
    assert f">{rows[0]['id']}" in text or f"{rows[0]['id']} " in text
    for output in (shown.out, told.out, text):
        assert "\x1b[31m" not in output
        assert "\u202e" not in output


def test_sequences_have_no_label(opsig: Opsig, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    traced(opsig, folder, store, f"bin:{folder}/train.bin?tokenizer={folder}&context={L}&vocabulary=40")
    told = opsig("mine", "--store", store, "--method", "top")
    assert told.code == 0, told.err
    assert ": <unk>" not in told.out
    assert "label" not in told.out.split("Notes")[0]
    assert "examples have no labels" in " ".join(told.out.lower().split())


def test_text_that_is_numbered_otherwise_than_the_model_is_refused(
    opsig: Opsig, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(
        NET.replace(str(VOCABULARY), "5000").replace("build = Net", "build = Net")
    )
    (tmp_path / "out").mkdir()
    scope: dict[str, Any] = {}
    exec((tmp_path / "net.py").read_text(), scope)
    for step in (1, 2):
        torch.save(
            {"model": scope["build"]().state_dict(), "iter_num": step}, tmp_path / "out" / f"ckpt_{step}.pt"
        )

    def call(data: str) -> Any:
        return opsig(
            "trace", tmp_path / "out", "--model", f"file:{tmp_path}/net.py:build", "--data", data, "--loss", "lm",
            "--store", tmp_path / "s.h5", "--tokens",
        )  # fmt: skip

    words = call(f"text:{folder}/t.txt")
    assert words.code == 3
    assert "the words of the text itself" in words.err
    assert "tokenizer=DIR" in words.err
    other = call(f"text:{folder}/t.txt?tokenizer={folder}")
    assert other.code == 3
    assert "add vocabulary=5000" in other.err
    assert call(f"text:{folder}/t.txt?tokenizer={folder}&vocabulary=5000").code == 0


def test_tokens_of_padded_data_are_those_of_transformers(opsig: Opsig, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=30, n_embd=16, n_layer=1, n_head=2, n_positions=9, bos_token_id=1, eos_token_id=2
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(4)
    for step in (1, 2):
        model.save_pretrained(tmp_path / f"checkpoint-{step}")
    random = np.random.default_rng(0)
    lengths = random.integers(3, 10, 7)
    mask = (np.arange(9) >= 9 - lengths[:, None]).astype(np.int64)  # on the left, where it matters
    ids = np.where(mask, random.integers(3, 30, (7, 9)), 0)
    labels = np.where(mask, ids, -100)
    labels[2, -2] = -100
    labels[np.arange(7), 9 - lengths] = -100  # which padding would predict
    np.savez(tmp_path / "d.npz", x=ids, y=labels, attention_mask=mask)
    found = opsig(
        "trace", tmp_path, "--model", f"hf:{tmp_path}/checkpoint-1", "--loss", "lm", "--store", tmp_path / "s.h5",
        "--data", f"npz:{tmp_path}/d.npz?shift=true&per=token",
    )  # fmt: skip
    assert found.code == 0, found.err
    with torch.no_grad():
        logits = model(input_ids=torch.as_tensor(ids), attention_mask=torch.as_tensor(mask)).logits
    own = F.cross_entropy(
        logits[:, :-1].transpose(1, 2), torch.as_tensor(labels[:, 1:]), reduction="none"
    ).numpy()
    rows, columns = np.nonzero(labels[:, 1:] != -100)
    with open_store(tmp_path / "s.h5") as store:
        assert store.trace.example_ids.tolist() == (rows << 32 | (columns + 1)).tolist()
        np.testing.assert_allclose(store.losses[0], own[rows, columns], rtol=1e-5, atol=1e-6)
        assert json.loads(json.dumps(store.run.transform))["per"] == "token"
