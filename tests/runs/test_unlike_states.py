"""An optimizer's state or settings of another kind than the known rules write: no bug, and no ratio made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Opsig
from short_runs import NET

from opsigcli.optimizers.recognise import recognise

STATE: dict[str, Any] = {
    "nothing": None,
    "several buffers": {},
    "one number": 2.0,
    "one number in a tensor": torch.tensor(2.0),
    "codes": torch.ones(16, 12, dtype=torch.int64),
    "complex": torch.ones(16, 12, dtype=torch.complex64),
    "another shape": torch.ones(2, 2),
    "not finite": torch.full((16, 12), torch.nan),
}
RULES = {
    "momentum_buffer": lambda p: torch.optim.SGD(p, 0.3, momentum=0.9),
    "exp_avg_sq": lambda p: torch.optim.Adam(p, 0.01),
}


def write(folder: Path, rule: str, key: str, value: Any, place: str) -> tuple[str, ...]:
    """A run of which one value of the optimizer is replaced in every checkpoint; the options that it is traced with."""
    inputs = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    np.savez(folder / "data.npz", x=inputs, y=np.arange(40) % 4)
    (folder / "net.py").write_text(NET)
    scope: dict[str, Any] = {}
    exec(NET, scope)
    torch.manual_seed(0)
    net = scope["Tanh"]()
    own = RULES[rule](net.parameters())
    (folder / "run").mkdir()
    for step in range(4):
        saved = own.state_dict()
        if place == "group":
            saved["param_groups"][0][key] = value
        elif saved["state"]:
            saved["state"] = {**saved["state"], 0: {**saved["state"][0], key: value}}
        torch.save({"step": step, "net": net.state_dict(), "opt": saved}, folder / "run" / f"s_{step}.pt")
        own.zero_grad()
        F.cross_entropy(net(torch.tensor(inputs)), torch.arange(40) % 4).backward()
        own.step()
    return ("--data", f"npz:{folder}/data.npz", "--model", f"file:{folder}/net.py:Tanh")


@pytest.mark.parametrize("count", [None, {}, "1", -1.0, float("nan"), torch.ones(2)])
def test_a_number_of_updates_that_is_none_is_said(opsig: Opsig, tmp_path: Path, count: Any) -> None:
    options = write(tmp_path, "exp_avg_sq", "step", count, "state")
    opsig("trace", tmp_path / "run", "--store", tmp_path / "s.h5", *options)
    done = opsig("sharpness", "--store", tmp_path / "s.h5", "--tolerance", 0.05, "--json")
    assert (done.code, [point["ratio"] for point in done.json["result"]["points"]]) == (0, [None] * 4)
    assert "expected step of first.weight in the optimizer's state to be a count" in done.out


def test_groups_that_list_no_parameters_are_none(opsig: Opsig, tmp_path: Path) -> None:
    options = write(tmp_path, "momentum_buffer", "params", 3, "group")
    opsig("trace", tmp_path / "run", "--store", tmp_path / "s.h5", *options)
    done = opsig("sharpness", "--store", tmp_path / "s.h5", "--tolerance", 0.05, "--json")
    assert done.code == 0
    assert len(done.json["result"]["points"]) == 4


@pytest.mark.parametrize("kind", STATE)
@pytest.mark.parametrize("rule", RULES)
def test_what_is_no_average_of_gradients_is_not_taken_for_one(
    opsig: Opsig, tmp_path: Path, rule: str, kind: str
) -> None:
    options = write(tmp_path, rule, rule, STATE[kind], "state")
    opsig("trace", tmp_path / "run", "--store", tmp_path / "s.h5", *options)
    done = opsig("sharpness", "--store", tmp_path / "s.h5", "--tolerance", 0.05, "--json")
    assert done.code == 0
    thresholds = [point["threshold"] for point in done.json["result"]["points"][1:]]
    known = (
        [] if rule == "exp_avg_sq" else [pytest.approx(3.8 / 0.3)]
    )  # momentum's own does not hang on its state
    assert len(thresholds) == 3
    assert all(threshold in [None, *known] for threshold in thresholds)
    assert all(point["ratio"] is None for point in done.json["result"]["points"]) or known
    virtual = opsig("trace", tmp_path / "run", "--store", tmp_path / "v.h5", *options, "--virtual-step")
    assert virtual.code in (0, 3)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("momentum", {}, "momentum of sgd is no number in the checkpoint, but of type dict"),
        ("lr", (0.1,), "expected lr of momentum to be at least 0 and finite, found (0.1,)"),
        ("lr", torch.ones(2), "lr of momentum is no number in the checkpoint, but of type"),
        ("lr", 1e300, "expected lr of momentum to be at least 0 and finite, found 1e+300"),
        ("nesterov", "yes", "is no number in the checkpoint, but of type str"),
        (
            "weight_decay",
            [0.1],
            "expected weight_decay of momentum to be at least 0 and finite, found (0.1,)",
        ),
    ],
)
def test_settings_that_are_no_numbers_are_named(
    opsig: Opsig, tmp_path: Path, key: str, value: Any, said: str
) -> None:
    options = write(tmp_path, "momentum_buffer", key, value, "group")
    opsig("trace", tmp_path / "run", "--store", tmp_path / "s.h5", *options)
    done = opsig("sharpness", "--store", tmp_path / "s.h5", "--tolerance", 0.05, "--json")
    assert done.code == 0
    points = done.json["result"]["points"]
    assert all(point["ratio"] is None for point in points)
    assert said in done.err + str(done.json["warnings"])


def test_a_state_without_what_its_settings_ask_for_is_refused(opsig: Opsig, tmp_path: Path) -> None:
    options = write(tmp_path, "exp_avg_sq", "amsgrad", True, "group")
    virtual = opsig("trace", tmp_path / "run", "--store", tmp_path / "v.h5", *options, "--virtual-step")
    opsig("trace", tmp_path / "run", "--store", tmp_path / "s.h5", *options)
    done = opsig("sharpness", "--store", tmp_path / "s.h5", "--tolerance", 0.05, "--json")
    quick = opsig("sharpness", "--store", tmp_path / "s.h5", "--quick", "--json")
    assert {virtual.code, done.code, quick.code} <= {0, 3, 4}
    assert "not one of adam ('max_exp_avg_sq')" in virtual.err


def test_a_decay_that_is_switched_off_is_none() -> None:
    group = torch.optim.SGD([torch.zeros(1)], 0.1).param_groups[0] | {"weight_decay": False}
    found = recognise([group], None)
    assert (found.name, found.hyper["weight_decay"]) == ("sgd", 0.0)
