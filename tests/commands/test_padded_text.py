"""Classifiers of padded text from Hugging Face: what opsig traces is what transformers computes itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig

from opsigcli.store.reader import open_store

transformers = pytest.importorskip("transformers")
N, LENGTH, VOCABULARY = 24, 9, 30

SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": LENGTH + 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "num_labels": 3,
}
DECODER: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": LENGTH,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "num_labels": 3,
}
MODELS: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL)),
    "roberta": lambda: transformers.RobertaForSequenceClassification(
        transformers.RobertaConfig(**SMALL, pad_token_id=1)
    ),
    "gpt2": lambda: transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(**DECODER, pad_token_id=0)
    ),
}


def text(pad: int, left: bool = False) -> dict[str, np.ndarray]:
    """Sequences of three tokens or more, padded to one length, as a tokenizer gives them."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, LENGTH + 1, N)
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
    mask = mask[:, ::-1].copy() if left else mask
    ids = np.where(mask, random.integers(3, VOCABULARY, (N, LENGTH)), pad)
    types = mask * (np.arange(LENGTH) > 4)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def saved(folder: Path, kind: str) -> Any:
    """A model with weights large enough that padding matters, saved twice as checkpoints of a trainer."""
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    for parameter in model.parameters():
        parameter.data.mul_(4).add_(0.1 * torch.randn_like(parameter))
    for step in (1, 2):
        model.save_pretrained(folder / f"checkpoint-{step}")
    return model


def truth(model: Any, labels: np.ndarray, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Losses in float64, from transformers' own forward."""
    with torch.no_grad():
        logits = model.double()(**{name: torch.as_tensor(v) for name, v in columns.items()}).logits
    return F.cross_entropy(logits, torch.as_tensor(labels), reduction="none").numpy()


LABELS = np.arange(N) % 3


def from_npz(folder: Path, columns: dict[str, np.ndarray]) -> str:
    named = {("x" if name == "input_ids" else name): values for name, values in columns.items()}
    np.savez(folder / "d.npz", y=LABELS, **named)
    return f"npz:{folder / 'd.npz'}"


def from_hfds(folder: Path, columns: dict[str, np.ndarray]) -> str:
    datasets = pytest.importorskip("datasets")
    rows = {name: values.tolist() for name, values in columns.items()} | {"label": LABELS.tolist()}
    datasets.Dataset.from_dict(rows).save_to_disk(str(folder / "table"))
    return f"hfds:{folder / 'table'}"


def from_code(folder: Path, columns: dict[str, np.ndarray]) -> str:
    np.savez(folder / "columns.npz", **columns)
    (folder / "data.py").write_text(
        f"""
import numpy as np
import torch

class Made:
    def __init__(self):
        self.columns = dict(np.load({str(folder / "columns.npz")!r}))

    def __len__(self):
        return {N}

    def __getitem__(self, row):
        if row >= {N}:
            raise IndexError
        return {{name: torch.as_tensor(values[row]) for name, values in self.columns.items()}}, row % 3
"""
    )
    return f"file:{folder / 'data.py'}:Made"


SOURCES = {"npz": from_npz, "hfds": from_hfds, "file": from_code}


def traced(opsig: Opsig, folder: Path, data: str, model: str = "") -> tuple[np.ndarray, str]:
    """Losses at the last checkpoint, and what was said."""
    spec = f"hf:{folder / 'run' / 'checkpoint-1'}{model}"
    words = ["trace", folder / "run", "--model", spec, "--data", data, "--store", folder / "s.h5", "--fresh"]
    ran = opsig(*words)
    assert ran.code == 0, ran.err
    with open_store(folder / "s.h5") as store:
        return store.trace.losses[-1], " ".join(ran.err.split())


@pytest.mark.parametrize("source", ["npz", "hfds"])
def test_labels_of_a_trainer_are_shifted_once_it_is_said_that_they_are(
    opsig: Opsig, tmp_path: Path, source: str
) -> None:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**DECODER)).eval()
    for parameter in model.parameters():
        parameter.data.mul_(4)
    for step in (1, 2):
        model.save_pretrained(tmp_path / "run" / f"checkpoint-{step}")
    columns = text(0)
    columns["labels"] = np.where(columns["attention_mask"], columns["input_ids"], -100)
    del columns["token_type_ids"]
    if source == "npz":
        named = {{"input_ids": "x", "labels": "y"}.get(name, name): v for name, v in columns.items()}
        np.savez(tmp_path / "d.npz", **named)
        data = f"npz:{tmp_path / 'd.npz'}"
    else:
        datasets = pytest.importorskip("datasets")
        rows = {name: values.tolist() for name, values in columns.items()}
        datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "table"))
        data = f"hfds:{tmp_path / 'table'}"
    spec = f"hf:{tmp_path / 'run' / 'checkpoint-1'}"
    words = [
        "trace",
        tmp_path / "run",
        "--model",
        spec,
        "--loss",
        "lm",
        "--store",
        tmp_path / "s.h5",
        "--data",
    ]
    refused = opsig(*words, data)
    assert refused.code == 3
    assert "shift=true" in refused.err
    found = opsig(*words, f"{data}?shift=true", "--json").json["result"]["mean_losses"]
    with torch.no_grad():
        truth = float(model(**{name: torch.as_tensor(v) for name, v in columns.items()}).loss)
    assert found[-1] == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_texts_of_their_own_lengths_are_filled_up_with_the_token_that_pads(
    opsig: Opsig, tmp_path: Path, kind: str
) -> None:
    datasets = pytest.importorskip("datasets")
    model = saved(tmp_path / "run", kind)
    columns = text(0)
    if kind == "gpt2":
        del columns["token_type_ids"]
    lengths = columns["attention_mask"].sum(1)
    cut = {name: [v[:n].tolist() for v, n in zip(x, lengths, strict=True)] for name, x in columns.items()}
    datasets.Dataset.from_dict(cut | {"label": LABELS.tolist()}).save_to_disk(str(tmp_path / "table"))
    data = f"hfds:{tmp_path / 'table'}"
    for query in ("", "?pad=0"):
        found, _ = traced(opsig, tmp_path, f"{data}{query}")
        np.testing.assert_allclose(found, truth(model, LABELS, columns), rtol=1e-4)
    del cut["attention_mask"]  # then any token will do
    datasets.Dataset.from_dict(cut | {"label": LABELS.tolist()}).save_to_disk(str(tmp_path / "bare"))
    found, _ = traced(opsig, tmp_path, f"hfds:{tmp_path / 'bare'}?pad={0 if kind == 'gpt2' else 7}")
    np.testing.assert_allclose(found, truth(model, LABELS, columns), rtol=1e-4)


def test_a_causal_model_asks_what_its_sequences_begin_with(opsig: Opsig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**DECODER, pad_token_id=0)).eval()
    for parameter in model.parameters():
        parameter.data.mul_(4)
    for step in (1, 2):
        model.save_pretrained(tmp_path / "run" / f"checkpoint-{step}")
    columns = text(0, left=True)
    ids, mask = columns["input_ids"], columns["attention_mask"]
    labels = np.where(mask[:, :-1], ids[:, 1:], -100)  # nothing is to be told from padding
    np.savez(tmp_path / "d.npz", x=ids[:, :-1], y=labels)

    def mean(model_options: str) -> tuple[float, str]:
        spec = f"hf:{tmp_path / 'run' / 'checkpoint-1'}{model_options}"
        words = [
            "trace",
            tmp_path / "run",
            "--model",
            spec,
            "--data",
            f"npz:{tmp_path / 'd.npz'}",
            "--loss",
            "lm",
        ]
        ran = opsig(*words, "--store", tmp_path / "s.h5", "--fresh", "--json")
        return ran.json["result"]["mean_losses"][-1], " ".join(ran.json["warnings"])

    def truth(**given: torch.Tensor) -> float:
        with torch.no_grad():
            logits = model(input_ids=torch.as_tensor(ids[:, :-1]), **given).logits
        return float(F.cross_entropy(logits.flatten(0, 1), torch.as_tensor(labels).flatten()))

    found, said = mean("")
    assert found == pytest.approx(truth(), rel=1e-5)
    assert "padding=0" in said
    found, said = mean("?padding=0")
    assert found == pytest.approx(truth(attention_mask=torch.as_tensor(mask[:, :-1])), rel=1e-5)
    found, said = mean("?padding=none")
    assert found == pytest.approx(truth(), rel=1e-5)
    assert "padding" not in said


def test_a_classifier_without_a_token_that_pads_asks_for_one(opsig: Opsig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(**DECODER)
    model = transformers.GPT2ForSequenceClassification(config).eval()
    for step in (1, 2):
        model.save_pretrained(tmp_path / "run" / f"checkpoint-{step}")
    columns = text(0)
    del columns["token_type_ids"]
    data = from_npz(tmp_path, columns)
    spec = f"hf:{tmp_path / 'run' / 'checkpoint-1'}"
    refused = opsig("trace", tmp_path / "run", "--model", spec, "--data", data, "--store", tmp_path / "s.h5")
    assert refused.code == 3
    assert "padding=ID" in refused.err
    found, _ = traced(opsig, tmp_path, data, "?padding=0")
    model.config.pad_token_id = 0
    np.testing.assert_allclose(found, truth(model, LABELS, columns), rtol=1e-4)


def test_a_token_beyond_the_vocabulary_is_refused_by_its_example(opsig: Opsig, tmp_path: Path) -> None:
    saved(tmp_path / "run", "bert")
    columns = {"input_ids": text(0)["input_ids"]}
    columns["input_ids"][20, 1] = VOCABULARY
    data = from_npz(tmp_path, columns)
    spec = f"hf:{tmp_path / 'run' / 'checkpoint-1'}"
    ran = opsig("trace", tmp_path / "run", "--model", spec, "--data", data, "--store", tmp_path / "s.h5")
    assert ran.code == 3
    assert f"token {VOCABULARY} (example 20)" in " ".join(ran.err.split())


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("kind", "pad", "left"), [("bert", 0, False), ("roberta", 1, False), ("gpt2", 0, True)]
)
def test_what_a_tokenizer_gives_reaches_the_model(
    opsig: Opsig, tmp_path: Path, source: str, kind: str, pad: int, left: bool
) -> None:
    model = saved(tmp_path / "run", kind)
    columns = text(pad, left)
    if kind != "bert":
        del columns["token_type_ids"]
    found, said = traced(opsig, tmp_path, SOURCES[source](tmp_path, columns))
    np.testing.assert_allclose(found, truth(model, LABELS, columns), rtol=1e-4)
    without = truth(model, LABELS, {"input_ids": columns["input_ids"]})
    assert np.abs(found - without).max() > 0.01  # so that the mask matters
    assert "pad_token_id" not in said


@pytest.mark.parametrize(
    ("kind", "pad", "left"), [("bert", 0, False), ("roberta", 1, False), ("gpt2", 0, True)]
)
def test_without_a_mask_the_token_that_pads_is_not_read_and_it_is_said(
    opsig: Opsig, tmp_path: Path, kind: str, pad: int, left: bool
) -> None:
    model = saved(tmp_path / "run", kind)
    columns = text(pad, left)
    data = from_npz(tmp_path, {"input_ids": columns["input_ids"]})
    found, said = traced(opsig, tmp_path, data)
    del columns["token_type_ids"]
    np.testing.assert_allclose(found, truth(model, LABELS, columns), rtol=1e-4)
    assert "padding=none" in said
    found, said = traced(opsig, tmp_path, data, "?padding=none")
    np.testing.assert_allclose(found, truth(model, LABELS, {"input_ids": columns["input_ids"]}), rtol=1e-4)
    assert "padding" not in said
