"""Moments in 8 bits against a quantizer of our own, in the formats of bitsandbytes and torchao."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Opsig
from trained_run import Trained

from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.errors import CheckpointError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.eight_bits import plain_state
from opsigcli.optimizers.recognise import from_state_dict

Tensor = torch.Tensor
TABLE = torch.cat([torch.zeros(1), torch.logspace(-7, 0, 255)])  # of values without a sign, sorted
BOX = "__bnb_optimizer_quant_state__"
GROUP = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "params": [0]}


def quantized(values: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes and scales by block, and the numbers that they stand for, one by one."""
    flat, codes, scales, numbers = values.reshape(-1).tolist(), [], [], []
    for start in range(0, len(flat), block):
        piece = flat[start : start + block]
        scales.append(max(map(abs, piece)) or 1.0)
        for value in piece:
            codes.append(int(np.abs(TABLE.numpy() - abs(value) / scales[-1]).argmin()))
            numbers.append(float(TABLE[codes[-1]]) * scales[-1])
    shaped = torch.tensor(codes, dtype=torch.uint8).view(values.shape)
    return shaped, torch.tensor(scales), torch.tensor(numbers).view(values.shape)


def boxed(values: Tensor, block: int = 256, step: int = 3) -> tuple[dict[str, Any], Tensor]:
    """The state of one parameter as bitsandbytes writes it, and its second moments."""
    codes, scales, numbers = quantized(values, block)
    both = {"state": codes, "qmap": TABLE, "absmax": scales}
    own = {f"{key}{number}": value for number in (1, 2) for key, value in both.items()}
    return {"step": step, BOX: own}, numbers


@pytest.mark.parametrize("block", [256, 2048])
@pytest.mark.parametrize("shape", [(3,), (16, 256), (5, 7, 131)])
def test_codes_are_values_of_the_table_times_the_scale_of_their_block(
    shape: tuple[int, ...], block: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    entry, numbers = boxed(torch.randn(shape, generator=generator).square(), block)
    found = plain_state({"step": entry["step"], **entry[BOX]})
    assert set(found) == {"step", "state1", "state2"}
    torch.testing.assert_close(found["state2"], numbers)


def test_moments_in_32_bits_are_left_alone() -> None:
    entry = {"step": 3, "state1": torch.ones(3), "state2": torch.ones(3)}
    assert plain_state(entry) == entry


@pytest.mark.parametrize("wrong", [{"absmax2": torch.ones(7)}, {"qmap2": torch.ones(16)}])
def test_codes_that_do_not_fit_their_scales_are_refused(wrong: dict[str, Tensor]) -> None:
    entry, _ = boxed(torch.ones(600))
    with pytest.raises(CheckpointError, match="8 bits"):
        plain_state({**entry[BOX], **wrong})


@pytest.mark.parametrize(
    ("group", "state", "rule"),
    [
        ({}, {}, "bitsandbytes_adamw"),
        ({"alpha": 0.0, "t_alpha": None, "t_beta3": None}, {}, "bitsandbytes_adamw"),
        ({"alpha": 5.0, "t_alpha": None, "t_beta3": None}, {}, "bitsandbytes"),  # AdEMAMix
        ({"betas": (0.9, 0.99, 0.999)}, {}, "bitsandbytes"),
        ({}, {"unorm_vec": torch.ones(1)}, "bitsandbytes"),  # LAMB
        ({}, {"gnorm_vec": torch.ones(100)}, "bitsandbytes"),  # gradients clipped by percentile
        ({}, {"state2": None}, "bitsandbytes"),  # Lion, RMSprop, SGD
    ],
)
def test_only_adam_is_told_from_the_other_rules_of_bitsandbytes(
    group: dict[str, Any], state: dict[str, Any], rule: str
) -> None:
    entry = {"step": 3, "state1": torch.ones(9), "state2": torch.ones(9)} | state
    kept = {key: value for key, value in entry.items() if value is not None}
    found = from_state_dict({"param_groups": [GROUP | group], "state": {0: kept}})
    assert (found.name, found.rule) == ("", rule)
    assert found.reason


def test_the_ratio_of_a_run_with_moments_in_8_bits_is_that_of_its_rounded_moments(
    tmp_path: Path, opsig: Opsig
) -> None:
    run = Trained(tmp_path, opsig)
    run.train(lambda model: [torch.optim.AdamW(model.parameters(), lr=0.02)])
    moments: dict[int, dict[str, Tensor]] = {}
    for step in (10, 20):
        saved = run.saved(step)
        before = saved["optimizer_0"]
        state, moments[step] = {}, {}
        for (key, entry), name in zip(before["state"].items(), saved["model"], strict=True):
            state[key], moments[step][name] = boxed(entry["exp_avg_sq"], step=step)
        last = {"step": step, "state1": torch.ones(3), "state2": before["state"][3]["exp_avg_sq"]}
        state[3], moments[step]["head.bias"] = last, last["state2"]  # short ones are kept in 32 bits
        group = {key: before["param_groups"][0][key] for key in GROUP}
        saved["optimizer_0"] = {"param_groups": [group], "state": state}
        torch.save(saved, tmp_path / f"ck/step{step}.pt")
    assert opsig("inspect", tmp_path / "ck", "--json").json["result"]["checkpoints"][0]["optimizer"] == (
        "bitsandbytes_adamw"
    )
    for point in run.sharpness():
        step = point["step"]

        def inverse(name: str, step: int = step) -> Tensor:
            root = (moments[step][name].double() / (1 - 0.999**step)).sqrt() + 1e-8
            return 1 / (root.reshape(-1) * (1 - 0.9**step))

        limit = OPTIMIZERS.load("adamw").stability_threshold({"lr": 0.02, "weight_decay": 0.01})
        assert point["threshold"] == pytest.approx(limit)
        assert point["ratio"] == pytest.approx(run.scaled(step, inverse) / limit, rel=1e-4)


class Wrapped(torch.Tensor):
    """A tensor that is made of others, as torchao's are."""

    codes: Tensor

    @staticmethod
    def __new__(cls, codes: Tensor, scale: Tensor, qmap: Tensor) -> Wrapped:
        made: Wrapped = torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32)  # type: ignore[attr-defined]
        made.__dict__ |= {"codes": codes, "scale": scale, "qmap": qmap, "signed": False}
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "Wrapped()"


def write_wrapped(path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> Tensor:
    """A checkpoint whose second moments are a wrapper tensor of that class; the numbers that they stand for."""
    kind = type(name, (Wrapped,), {"__module__": module})
    holder = ModuleType(module)
    setattr(holder, name, kind)
    for end in (*(at for at, c in enumerate(module) if c == "."), len(module)):
        monkeypatch.setitem(sys.modules, module[:end], holder if end == len(module) else ModuleType("x"))
    codes, scales, numbers = quantized(torch.rand(2, 384), 64)
    entry = {
        "step": torch.tensor(3.0),
        "exp_avg": torch.ones(2, 384),
        "exp_avg_sq": kind(codes, scales, TABLE),
    }
    optimizer = {"param_groups": [GROUP | {"amsgrad": False}], "state": {0: entry}}
    torch.save({"model": {"w": torch.ones(2, 384)}, "optimizer": optimizer, "step": 3}, path)
    return numbers


def test_moments_of_torchao_are_read_without_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "3.pt"
    numbers = write_wrapped(path, monkeypatch, "torchao.optim.subclass_8bit", "OptimState8bit")
    assert list(TorchFile().describe(path).candidates) == ["model"]
    saved = TorchFile().optimizer(path, tensors=True)
    torch.testing.assert_close(plain_state(saved["state"][0])["exp_avg_sq"], numbers)
    assert plain_state(TorchFile().optimizer(path, tensors=False)["state"][0])["exp_avg_sq"].shape == (2, 384)
    assert "taken for AdamW" in from_state_dict(saved).reason


def test_other_tensors_of_wrapper_classes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wrapped(tmp_path / "3.pt", monkeypatch, "torchao.quantization.tensors", "Float8Tensor")
    with pytest.raises(CheckpointError, match="wrapper class"):
        TorchFile().describe(tmp_path / "3.pt")
