"""The best constant guess is the best one under every loss, by closed forms and by SciPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from scipy.optimize import minimize
from torch import Tensor, nn

RNG = np.random.default_rng(0)
LABELS = torch.as_tensor(RNG.choice(4, p=(0.5, 0.1, 0.3, 0.1), size=60))
YES = torch.as_tensor(RNG.random((60, 4)) < (0.1, 0.3, 0.5, 0.9)).double()
NUMBERS = torch.as_tensor(RNG.lognormal(size=(60, 4)))
WEIGHTS = torch.tensor([0.2, 1.0, 5.0, 0.7], dtype=torch.float64)
TWO = torch.tensor(2.5, dtype=torch.float64)


def truth(outputs: Tensor) -> Tensor:
    return outputs.softmax(1).gather(1, LABELS[:, None])[:, 0]


CASES: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
    "ce": (LABELS, lambda z: F.cross_entropy(z, LABELS)),
    "ce?label_smoothing=0.2&weight=0.2,1,5,0.7&ignore_index=2": (
        LABELS,
        lambda z: F.cross_entropy(z, LABELS, WEIGHTS, label_smoothing=0.2, ignore_index=2),
    ),
    "focal?gamma=3": (LABELS, lambda z: ((1 - truth(z)) ** 3 * -truth(z).log()).mean()),
    "gce?q=0.5": (LABELS, lambda z: ((1 - truth(z) ** 0.5) / 0.5).mean()),
    "bce?pos_weight=2.5": (YES, lambda z: F.binary_cross_entropy_with_logits(z, YES, pos_weight=TWO)),
    "mse": (NUMBERS, lambda z: F.mse_loss(z, NUMBERS)),
    "l1": (NUMBERS, lambda z: F.l1_loss(z, NUMBERS)),
    "huber?delta=0.3": (NUMBERS, lambda z: F.huber_loss(z, NUMBERS, delta=0.3)),
}


@pytest.mark.parametrize("loss", CASES)
def test_no_constant_is_better(opsig: Opsig, tmp_path: Path, loss: str) -> None:
    targets, mean_loss = CASES[loss]
    (tmp_path / "net.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(3, 4)\n")
    np.savez(tmp_path / "d.npz", x=RNG.normal(size=(60, 3)).astype("f4"), y=targets.numpy())
    (tmp_path / "run").mkdir()
    for step in (0, 1):  # all outputs are 9 and -9: worse than any guess
        state = {"weight": torch.zeros(4, 3), "bias": torch.tensor([-9.0, 9.0, -9.0, 9.0])}
        nn.Linear(3, 4).load_state_dict(state)
        torch.save(state, tmp_path / "run" / f"step_{step}.pt")
    of = ("--model", f"file:{tmp_path}/net.py:net", "--data", f"npz:{tmp_path}/d.npz", "--loss", loss)
    traced = opsig("trace", tmp_path / "run", "--store", tmp_path / "s.h5", *of, "--json")
    assert traced.code == 0, traced.err

    def value(z: np.ndarray) -> float:
        return float(mean_loss(torch.as_tensor(z).expand(60, 4)))

    exact = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-9, "fatol": 1e-12}
    starts = (np.zeros(4), np.log(np.bincount(LABELS, minlength=4) / 60), np.ones(4))
    best = min(minimize(value, z, method="Nelder-Mead", options=exact).fun for z in starts)
    assert traced.json["result"]["look"]["prior"]["mean_loss"] == pytest.approx(best, rel=1e-4)
    assert any("no better than a guess" in text for text in traced.json["warnings"])
