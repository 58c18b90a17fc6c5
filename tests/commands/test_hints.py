"""What a hint about labels and losses says is done to the letter, and then the loss is that of torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from torch import Tensor

from opsigcli.store.reader import open_store

CODE = """
import torch
from torch import nn

class Heads(nn.Module):
    def __init__(self, kind, outputs):
        super().__init__()
        self.kind, self.embed, self.out = kind, nn.Embedding(9, 4), nn.Linear(4, outputs)
    def forward(self, x):
        each = self.out(torch.tanh(self.embed(x)))
        return {"one": each.mean(1), "tokens": each, "maps": each.transpose(1, 2),
                "softmax": each.mean(1).softmax(-1)[:, :, None, None].flatten(1), "sigmoid": each.mean(1).sigmoid(),
                "cells": each.mean(1)[:, :, None, None], "squeezed": each.mean(1).squeeze(),
                }[self.kind]

def make(kind="one", outputs=3): return Heads(kind, outputs)
"""
N, LENGTH = 12, 5
random = np.random.default_rng(0)
X = random.integers(0, 9, (N, LENGTH))
ONE = np.arange(N) % 3
EACH = random.integers(0, 3, (N, LENGTH))
MAPS = random.integers(0, 3, (N, LENGTH))


def void(y: np.ndarray, label: int) -> np.ndarray:
    """Labels, some of which are to be ignored."""
    found = y.copy()
    found.reshape(-1)[[1, 7]] = label
    return found


def cross_entropy(ignore: int, axis: int = 1) -> Callable[[Tensor, Tensor], Tensor]:
    """torch's mean over labelled entries."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.movedim(axis, 1), targets, ignore_index=ignore)

    return loss


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs[targets >= 0] - F.one_hot(targets[targets >= 0], 3)).square().mean()


# What is asked at first, what the hint must have in it, and torch's own mean. A hint that speaks of the data has a
# function that does what it says.
Words = tuple[str, str, np.ndarray, str, str, Callable[[np.ndarray], np.ndarray] | None, Any]
CASES: dict[str, Words] = {
    "a void label": (
        "one",
        "ce",
        void(ONE, -1),
        "-1",
        "--loss 'ce?ignore_index=-1'",
        None,
        cross_entropy(-1),
    ),
    "a void label of 255": (
        *(
            "one",
            "ce?label_smoothing=0",
            void(ONE, 255),
            "255",
            "--loss 'ce?label_smoothing=0&ignore_index=255'",
        ),
        *(None, cross_entropy(255)),
    ),
    "void places": (
        "maps",
        "ce",
        void(MAPS, -1),
        "-1",
        "--loss 'ce?ignore_index=-1'",
        None,
        cross_entropy(-1),
    ),
    "void tokens": (
        "tokens",
        "lm",
        void(EACH, -1),
        "-1",
        "--loss 'lm?ignore_index=-1'",
        None,
        cross_entropy(-1, 2),
    ),
    "void, squares": (
        "one",
        "mse",
        void(ONE, -1),
        "-1",
        "-100",
        lambda y: np.where(y == -1, -100, y),
        squares,
    ),
    "classes last": ("tokens", "ce", EACH, "logits", "--loss lm", None, cross_entropy(-100, 2)),
    "labels as floats": (
        *("one", "ce", ONE.astype("f8"), "float32", "y.astype('int64')", lambda y: y.astype("int64")),
        cross_entropy(-100),
    ),
    "labels as floats in a column": (
        *("one", "ce", ONE[:, None].astype("f8"), "float32", "y[:, 0].astype('int64')"),
        *(lambda y: y[:, 0].astype("int64"), cross_entropy(-100)),
    ),
    "several at once, as floats": (
        *("one", "ce", random.integers(0, 2, (N, 3)).astype("f4"), "add up to 1", "--loss bce", None),
        lambda z, y: F.binary_cross_entropy_with_logits(z, y.to(z.dtype)),
    ),
    "numbers under bce": (
        *("one", "bce", random.normal(size=(N, 3)).astype("f4"), "from 0 to 1", "--loss mse", None),
        lambda z, y: F.mse_loss(z, y.to(z.dtype)),
    ),
    "probabilities": (
        *("softmax", "ce", ONE, "softmax", "--loss 'ce?of=probabilities'", None),
        lambda z, y: F.nll_loss(z.log(), y),
    ),
    "probabilities taken for logits": (
        *("softmax", "ce?label_smoothing=0", ONE, "softmax", "--loss 'ce?label_smoothing=0&of=logits'", None),
        F.cross_entropy,
    ),
    "probabilities of yes and no": (
        *("sigmoid", "bce", random.integers(0, 2, (N, 3)), "sigmoid", "--loss 'bce_prob'", None),
        lambda z, y: F.binary_cross_entropy(z, y.to(z.dtype)),
    ),
    "yes and no under ce": (
        *("sigmoid", "ce", ONE, "sigmoid", "--loss 'bce_prob'", None),
        lambda z, y: F.binary_cross_entropy(z, F.one_hot(y, 3).to(z.dtype)),
    ),
    "logits under nll": ("one", "nll", ONE, "log-probabilities", "--loss ce", None, cross_entropy(-100)),
    "probabilities under nll": (
        *("softmax", "nll", ONE, "log-probabilities", "--loss 'ce?of=probabilities'", None),
        lambda z, y: F.nll_loss(z.log(), y),
    ),
    "logits under bce_prob": (
        *("one", "bce_prob", random.integers(0, 2, (N, 3)), "probabilities", "--loss bce", None),
        lambda z, y: F.binary_cross_entropy_with_logits(z, y.to(z.dtype)),
    ),
    "one output": (
        *("one&outputs=1", "ce", ONE % 2, "one output", "--loss bce", None),
        lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y.to(z.dtype)),
    ),
    "several at once": (
        *("one", "ce", random.integers(0, 2, (N, 3)), "logits", "--loss bce", None),
        lambda z, y: F.binary_cross_entropy_with_logits(z, y.to(z.dtype)),
    ),
    "signs": (
        *("one&outputs=1", "mse", np.where(ONE == 1, 1, -1), "-1", "y.astype('float32')"),
        *(lambda y: y.astype("float32"), lambda z, y: (z[:, 0] - y).square().mean()),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hint_that_is_followed_leads_to_the_loss_of_torch(opsig: Opsig, tmp_path: Path, name: str) -> None:
    kind, loss, y, found, hint, change, own = CASES[name]
    (tmp_path / "net.py").write_text(CODE)
    made: dict[str, Any] = {}
    exec(CODE, made)
    head, _, outputs = kind.partition("&outputs=")
    torch.manual_seed(0)
    model = made["make"](head, int(outputs or 3))
    (tmp_path / "run").mkdir()
    for step in (1, 2):
        torch.save(model.state_dict(), tmp_path / "run" / f"step_{step}.pt")
        model.out.bias.data += 0.1 * step
    model.load_state_dict(torch.load(tmp_path / "run" / "step_2.pt"))
    np.savez(tmp_path / "d.npz", x=X, y=y)

    def trace(loss: str) -> Any:
        words = (
            "--model",
            f"file:{tmp_path / 'net.py'}:make?kind={kind}",
            "--data",
            f"npz:{tmp_path / 'd.npz'}",
        )
        return opsig(
            "trace", tmp_path / "run", *words, "--loss", loss, "--store", tmp_path / "s.h5", "--json"
        )

    refused = trace(loss)
    said = " ".join(refused.json["error"]["message"].split()), " ".join(refused.json["error"]["hint"].split())
    assert refused.code == 3
    assert found in said[0]
    assert hint in said[1]
    if change is not None:
        y = change(y)
        np.savez(tmp_path / "d.npz", x=X, y=y)
    else:
        match = re.search(r"--loss ('([^']*)'|(\w+))", hint)
        assert match
        loss = match[2] or match[3]
    ran = trace(loss)
    assert ran.code == 0, ran.err
    with torch.no_grad():
        truth = float(own(model(torch.as_tensor(X)).double(), torch.as_tensor(y)))
    assert ran.json["result"]["mean_losses"][-1] == pytest.approx(truth, rel=1e-5)
    with open_store(tmp_path / "s.h5") as store:
        assert len(store.trace.losses) == 2


# Labels and outputs that come in another form, and need no hint.
FORMS = {
    "a column": ("one", "ce", ONE[:, None]),
    "one-hot rows": ("one", "ce", np.eye(3, dtype=np.int64)[ONE]),
    "one-hot rows of floats": ("one", "ce", np.eye(3)[ONE]),
    "cells": ("cells", "ce", ONE),
    "cells, column": ("cells", "ce", ONE[:, None]),
}


@pytest.mark.parametrize("name", FORMS)
def test_labels_in_another_form_are_labels_and_their_class_is_stored(
    opsig: Opsig, tmp_path: Path, name: str
) -> None:
    kind, loss, y = FORMS[name]
    run = write(tmp_path, kind, y)
    ran = opsig("trace", *run, "--loss", loss, "--store", tmp_path / "s.h5", "--json")
    assert ran.code == 0, ran.err
    model: dict[str, Any] = {}
    exec(CODE, model)
    net = model["make"](kind, 3)
    net.load_state_dict(torch.load(tmp_path / "run" / "step_2.pt"))
    with torch.no_grad():
        truth = F.cross_entropy(net(torch.as_tensor(X)).flatten(1), torch.as_tensor(ONE), reduction="none")
    with open_store(tmp_path / "s.h5") as store:
        np.testing.assert_allclose(store.trace.losses[1], truth, rtol=1e-5)
        assert store.trace.labels.tolist() == ONE.tolist()


def test_a_model_that_squeezes_a_batch_of_one_away_is_refused(opsig: Opsig, tmp_path: Path) -> None:
    found = opsig("trace", *write(tmp_path, "squeezed", ONE), "--store", tmp_path / "s.h5", "--json")
    assert found.code == 3
    assert "squeeze" in found.json["error"]["hint"]


def write(folder: Path, kind: str, y: np.ndarray) -> tuple[Any, ...]:
    """A run of two checkpoints and its data; the arguments that name them."""
    (folder / "net.py").write_text(CODE)
    made: dict[str, Any] = {}
    exec(CODE, made)
    (folder / "run").mkdir()
    for step in (1, 2):
        torch.manual_seed(step)
        torch.save(made["make"](kind, 3).state_dict(), folder / "run" / f"step_{step}.pt")
    np.savez(folder / "d.npz", x=X, y=y)
    model, data = f"file:{folder / 'net.py'}:make?kind={kind}", f"npz:{folder / 'd.npz'}"
    return folder / "run", "--model", model, "--data", data
