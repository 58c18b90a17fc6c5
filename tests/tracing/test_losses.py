"""Losses: regression, several labels, ignored labels, weights, a function of the user's; and low precision."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig

from opsigcli.datasets import open_source
from opsigcli.objective.precision import check_precision
from opsigcli.runs.build_objective import build_objective

STEPS = 3


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """Checkpoints of one linear layer, 4 inputs to 3 outputs."""
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for step in range(STEPS):
        torch.manual_seed(step)
        torch.save(
            {"head.weight": torch.randn(3, 4), "head.bias": torch.randn(3)}, folder / f"step_{step}.pt"
        )
    return folder


def _outputs(linear: Path, step: int, x: np.ndarray) -> np.ndarray:
    weights = torch.load(linear / f"step_{step}.pt", weights_only=True)
    w, b = (weights[name].double().numpy() for name in ("head.weight", "head.bias"))
    return np.asarray(x.astype(np.float64) @ w.T + b)


def _bce(z: float, y: float) -> float:
    return -(y * math.log(1 / (1 + math.exp(-z))) + (1 - y) * math.log(1 - 1 / (1 + math.exp(-z))))


def _ce(z: np.ndarray, y: int) -> float:
    return math.log(sum(math.exp(v) for v in z)) - float(z[y])


X = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
REAL = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
SEVERAL = np.random.default_rng(2).integers(0, 2, (7, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0])
IGNORING = np.array([0, -100, 2, 0, -100, 2, 0])


@pytest.mark.parametrize(
    ("loss", "y", "naive"),
    [
        ("mse", REAL, lambda z, y: sum((a - b) ** 2 for a, b in zip(z, y, strict=True)) / 3),
        ("bce", SEVERAL, lambda z, y: sum(_bce(a, b) for a, b in zip(z, y, strict=True)) / 3),
        ("bce", LABELS, lambda z, y: sum(_bce(a, float(k == y)) for k, a in enumerate(z)) / 3),
        ("ce", LABELS, _ce),
        ("ce", IGNORING, lambda z, y: math.nan if y == -100 else _ce(z, y)),
    ],
)
def test_losses_equal_a_naive_loop(
    opsig: Opsig, linear: Path, tmp_path: Path, loss: str, y: np.ndarray, naive: object
) -> None:
    data, store = tmp_path / "d.npz", tmp_path / "s.h5"
    np.savez(data, x=X, y=y)
    words = ("--model", _model(tmp_path), "--data", f"npz:{data}", "--loss", loss)
    result = opsig("trace", linear, *words, "--store", store, "--json")
    assert result.code == 0, result.err
    assert not [line for line in result.json["warnings"] if "no better than a guess" not in line]
    expected = [[naive(z, t) for z, t in zip(_outputs(linear, s, X), y, strict=True)] for s in range(STEPS)]  # type: ignore[operator]
    with h5py.File(store) as file:
        np.testing.assert_allclose(file["losses"][()], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.json["result"]["mean_losses"], np.nanmean(expected, axis=1), rtol=1e-5)


def _model(folder: Path) -> str:
    code = folder / "net.py"
    code.write_text(
        "from collections import OrderedDict\nfrom torch import nn\n"
        "def make():\n    return nn.Sequential(OrderedDict(head=nn.Linear(4, 3)))\n"
        "def hinge(outputs, targets, margin=1.0):\n"
        "    right = outputs.gather(1, targets[:, None])\n"
        "    return (margin + outputs - right).clamp_min(0).sum(1) - margin\n"
        "def wrong(outputs, targets):\n    return outputs.sum()\n"
    )
    return f"file:{code}:make"


def test_a_loss_of_the_users_is_called_for_every_example(opsig: Opsig, linear: Path, tmp_path: Path) -> None:
    data, store, model = tmp_path / "d.npz", tmp_path / "s.h5", _model(tmp_path)
    np.savez(data, x=X, y=LABELS)
    words = ("--model", model, "--data", f"npz:{data}", "--store", store)
    loss = f"file:{tmp_path / 'net.py'}:hinge?margin=0.5"
    assert opsig("trace", linear, *words, "--loss", loss).code == 0
    for step in range(STEPS):
        z = _outputs(linear, step, X)
        naive = [sum(max(0, 0.5 + v - row[y]) for v in row) - 0.5 for row, y in zip(z, LABELS, strict=True)]
        with h5py.File(store) as file:
            np.testing.assert_allclose(file["losses"][step], naive, rtol=1e-5, atol=1e-5)
    result = opsig("trace", linear, *words, "--loss", loss.replace("hinge?margin=0.5", "wrong"), "--fresh")
    assert result.code == 3
    assert "one loss per example" in result.err


def test_a_loss_named_by_a_strange_store_is_not_run(
    opsig: Opsig, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, store, model = tmp_path / "d.npz", tmp_path / "s.h5", _model(tmp_path)
    np.savez(data, x=X, y=LABELS)
    loss = f"file:{tmp_path / 'net.py'}:hinge"
    words = ("--model", model, "--data", f"npz:{data}", "--store", store, "--loss", loss)
    assert opsig("trace", linear, *words).code == 0
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "somebody-else"))
    result = opsig("sharpness", "--store", store, "--model", model)
    assert result.code == 3
    assert "names code to run" in result.err
    assert "hinge" in result.err


def test_the_gradient_leaves_ignored_examples_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=X, y=IGNORING)
    kept = IGNORING != -100
    np.savez(tmp_path / "kept.npz", x=X[kept], y=IGNORING[kept])
    one, two = (
        build_objective(
            "mlp?hidden=5", open_source(f"npz:{tmp_path / n}.npz"), "ce", device="cpu", batch_size=2
        )
        for n in ("all", "kept")
    )
    assert one.n == two.n == 5
    (loss, gradient), (expected, parts) = one.mean_loss_and_gradient(), two.mean_loss_and_gradient()
    assert loss == pytest.approx(expected, rel=1e-6)
    for a, b in zip(gradient, parts, strict=True):
        torch.testing.assert_close(a, b)


def test_weights_make_the_mean_the_weighted_mean(tmp_path: Path) -> None:
    weights = np.array([1, 2, 0, 4, 1, 1, 3.0])
    np.savez(tmp_path / "plain.npz", x=X, y=LABELS)
    np.savez(tmp_path / "w.npz", x=X, y=LABELS, weights=weights)
    plain, weighted = (
        build_objective(
            "mlp?hidden=5", open_source(f"npz:{tmp_path / n}.npz"), "ce", device="cpu", batch_size=3
        )
        for n in ("plain", "w")
    )
    each = plain.losses().astype(np.float64)
    loss, gradient = weighted.mean_loss_and_gradient()
    assert loss == pytest.approx((weights * each).sum() / weights.sum(), rel=1e-6)
    np.testing.assert_allclose(weighted.losses(), each, rtol=1e-5)
    total = [torch.zeros_like(g) for g in gradient]
    for i, w in enumerate(weights):
        for into, g in zip(total, plain.mean_loss_and_gradient(np.array([i]))[1], strict=True):
            into.add_(g, alpha=float(w / weights.sum()))
    for a, b in zip(gradient, total, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weights", [[1, 2], [-1] * 7, [0] * 7, [np.nan] * 7])
def test_weights_that_make_no_sense_are_refused(opsig: Opsig, tmp_path: Path, weights: list[float]) -> None:
    np.savez(tmp_path / "d.npz", x=X, y=LABELS, weights=np.array(weights, dtype=float))
    result = opsig("train", tmp_path / "r", "--data", f"npz:{tmp_path / 'd.npz'}", "--steps", 1)
    assert result.code == 3
    assert "weights" in result.err


def test_bf16_is_refused_with_numbers_where_it_drowns_the_signal(opsig: Opsig, tmp_path: Path) -> None:
    common = ("--data", "planted?n=300", "--model", "mlp?hidden=16", "--steps", 4)
    for name, lr in (("slow", 1e-4), ("fast", 1.0)):
        assert opsig("train", tmp_path / name, *common, "--lr", lr).code == 0
    refused = opsig("trace", tmp_path / "slow", "--store", tmp_path / "s.h5", "--precision", "bf16")
    assert refused.code == 3
    assert "bf16 would drown the signal" in refused.err
    assert "% of the typical delta" in refused.err
    store = tmp_path / "f.h5"
    taken = opsig("trace", tmp_path / "fast", "--store", store, "--precision", "bf16")
    assert taken.code == 0, taken.err
    mixed = opsig("trace", tmp_path / "fast", "--store", store)
    assert mixed.code == 3
    assert "precision is bf16" in mixed.err
    assert opsig("trace", tmp_path / "fast", "--store", store, "--fresh").code == 0
    words = ("--store", tmp_path / "t.h5", "--precision", "tf32", "--device", "cpu")
    assert opsig("trace", tmp_path / "fast", *words).code == 2
    assert opsig("trace", tmp_path / "fast", "--precision", "fp8").code == 2


def test_the_precision_check_counts_the_error_of_the_delta() -> None:
    exact = np.array([1.0, 2, 3], dtype=np.float32), np.array([1.5, 1, 3.25], dtype=np.float32)
    shifted = check_precision(exact, (exact[0] + 0.25, exact[1] + 0.25))
    assert (shifted.error, shifted.delta, shifted.drowns) == (0.0, 0.5, False)
    off = check_precision(exact, (exact[0], exact[1] + 0.125))
    assert (off.error, off.share, off.drowns) == (0.125, 0.25, True)
    assert check_precision((exact[0], exact[0]), exact).drowns  # nothing changes: any error drowns it
