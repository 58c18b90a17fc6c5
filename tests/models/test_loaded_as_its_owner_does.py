"""A state is loaded as torch, or the library of the model, loads it itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Opsig
from torch import Tensor, nn

from opsigcli.checkpoints.formats import named
from opsigcli.errors import ModelError
from opsigcli.models.weights import fit_weights
from opsigcli.state_dict import StateDict, moved

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))


def plain(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


class Scaled(nn.Module):
    """A module whose first version kept the logarithm of its scale, under the same name and shape."""

    _version = 2

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([value]))

    def _load_from_state_dict(self, state: Any, prefix: str, local: Any, *rest: Any) -> None:
        if local.get("version", 1) < 2:
            state[f"{prefix}scale"] = state[f"{prefix}scale"].exp()
        super()._load_from_state_dict(state, prefix, local, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def older(module: nn.Module) -> Any:
    """A state as the module's first version saved it."""
    state: Any = module.state_dict()
    for name, value in state.items():
        if name.endswith("scale"):
            state[name] = value.log()
    for said in state._metadata.values():
        said["version"] = 1
    return state


def prefixed(state: Any, prefix: str) -> Any:
    """The state of a module that holds the other one under a name."""
    found: Any = type(state)((f"{prefix}.{name}", value) for name, value in state.items())
    inside = {f"{prefix}.{name}".strip("."): said for name, said in state._metadata.items()}
    found._metadata = inside | {"": {"version": 1}}
    return found


@pytest.mark.parametrize(
    "saved",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: prefixed(state, "module"),
        lambda state: prefixed(state, "net"),
        lambda state: prefixed(state, "net._orig_mod"),
    ],
)
@pytest.mark.parametrize("written", [older, lambda module: module.state_dict()])
def test_modules_are_told_the_version_that_the_file_states(
    tmp_path: Path, saved: Callable[[Any], Any], written: Callable[[nn.Module], Any]
) -> None:
    truth, model = nn.Sequential(Scaled(3.0), nn.Linear(4, 2)), nn.Sequential(Scaled(), nn.Linear(4, 2))
    torch.save(saved(written(truth)), tmp_path / "step_1.pt")
    fit_weights(model, named("torch").read(tmp_path / "step_1.pt"), where="here")
    torch.testing.assert_close(model(X), truth(X))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_names_that_a_hook_of_the_module_knows_fit() -> None:
    truth = nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2))
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2))
    assert fit_weights(model, truth.state_dict(), where="here") == ""
    torch.testing.assert_close(model(X), truth(X))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError, match="1 missing"):
        fit_weights(model, {k: v + 1 for k, v in truth.state_dict().items() if k != "1.bias"}, where="here")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "old",
    ["_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "module.", "module._orig_mod."],
)
@pytest.mark.parametrize("place", ["0.{}", "2.{}", "{}"])
def test_what_wrappers_put_into_names_is_taken_out_wherever_it_stands(old: str, place: str) -> None:
    truth, model = plain(1), plain(2)
    start = place.format("")
    weights = {
        name.replace(start, start + old, 1) if name.startswith(start) else name: value
        for name, value in truth.state_dict().items()
    }
    assert "taken" in fit_weights(model, weights, where="here")
    torch.testing.assert_close(model(X), truth(X))


class Holds(nn.Module):
    """An attribute that is called as DataParallel's is."""

    def __init__(self) -> None:
        super().__init__()
        self.module, self.weight = plain(), nn.Parameter(torch.ones(1))


def test_an_attribute_that_is_called_as_a_wrapper_keeps_its_name() -> None:
    model, weights = Holds(), {name: value + 1 for name, value in Holds().state_dict().items()}
    assert fit_weights(model, weights, where="here") == ""
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_numbers_of_another_kind_are_refused_by_their_name(dtype: torch.dtype) -> None:
    model = plain()
    weights = dict(plain(1).state_dict())
    weights["2.weight"] = (weights["2.weight"] * 50).to(dtype)
    for partial in (False, True):
        with pytest.raises(
            ModelError, match=f"float32 for '2.weight', found {str(dtype).removeprefix('torch.')}"
        ):
            fit_weights(model, weights, where="here", partial=partial)


def test_every_part_that_fits_is_named() -> None:
    weights = {f"{part}.{k}": v for part in ("teacher", "student") for k, v in plain().state_dict().items()}
    with pytest.raises(ModelError) as caught:
        fit_weights(plain(), weights, where="here")
    assert "--key teacher or --key student" in caught.value.hint


class Positions(nn.Module):
    """A buffer that older versions saved."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = plain()
        self.register_buffer("position_ids", torch.arange(6), persistent=False)


def test_a_buffer_that_is_not_saved_any_more_is_left_out_if_it_has_the_same_numbers() -> None:
    weights = Positions().state_dict()
    assert "position_ids" in fit_weights(
        Positions(), weights | {"position_ids": torch.arange(6)}, where="here"
    )
    with pytest.raises(ModelError, match="1 unexpected"):
        fit_weights(Positions(), weights | {"position_ids": torch.arange(6) + 1}, where="here")


def test_versions_follow_the_names_of_the_tensors() -> None:
    versions = {"": {"version": 1}, "module": {"version": 2}, "module.layer": {"version": 3}}
    assert moved(versions, {"layer.weight": "module.layer.weight"}) == {
        "layer": {"version": 3},
        "": {"version": 2},
    }
    assert StateDict({"a.b": 1}).renamed({"b": "a.b"}).versions is None


def test_a_model_of_an_earlier_version_gets_its_own_layers(opsig: Opsig, tmp_path: Path) -> None:
    import torchvision

    model = torchvision.models.mnasnet0_5(num_classes=3)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    again = torchvision.models.mnasnet0_5(num_classes=3)
    assert fit_weights(again, named("torch").read(tmp_path / "a.pt"), where="here") == ""
    # safetensors has no place for versions
    assert "version" in fit_weights(again, StateDict(dict(model.state_dict())), where="here")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_of_weights_and_their_average_under_lightnings_names_the_average_is_called_one(
    opsig: Opsig, tmp_path: Path
) -> None:
    trained, average = plain(1).state_dict(), plain(2).state_dict()
    for step in (10, 20):
        content = {
            "global_step": step, "pytorch-lightning_version": "2.6.0", "state_dict": average,
            "current_model_state": trained, "averaging_state": {"n_averaged": torch.tensor(3)},
        }  # fmt: skip
        torch.save(content, tmp_path / f"step={step}.ckpt")
    rows = opsig("inspect", tmp_path, "--json").json["result"]["checkpoints"]
    assert {key: row["average"] for key, row in rows[0]["weights"].items()} == {
        "state_dict": True, "current_model_state": False,
    }  # fmt: skip
    read = named("torch").read
    path = tmp_path / "step=10.ckpt"
    for weights, expected in (("model", trained), ("ema", average), ("", trained)):
        found = read(path, None, weights)
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_trained_weights_that_mmengine_keeps_under_the_name_of_the_average_are_not_called_one(
    opsig: Opsig, tmp_path: Path
) -> None:
    trained, average = plain(1).state_dict(), plain(2).state_dict()
    kept = {"steps": torch.tensor(3), **{f"module.{name}": value for name, value in trained.items()}}
    for step in (10, 20):
        content = {
            "meta": {"epoch": step // 10, "iter": step}, "state_dict": average, "ema_state_dict": kept,
            "message_hub": {},
        }  # fmt: skip
        torch.save(content, tmp_path / f"iter_{step}.pth")
    rows = opsig("inspect", tmp_path, "--json").json["result"]["checkpoints"]
    assert {key: row["average"] for key, row in rows[0]["weights"].items()} == {
        "state_dict": True, "ema_state_dict": False,
    }  # fmt: skip
    for weights, expected in (("model", trained), ("ema", average), ("", trained)):
        found = named("torch").read(tmp_path / "iter_10.pth", None, weights)
        assert found.keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_an_average_under_its_own_name_stays_one(tmp_path: Path) -> None:
    trained, average = plain(1).state_dict(), plain(2).state_dict()
    torch.save({"state_dict": trained, "ema_state_dict": average}, tmp_path / "a.pt")
    for weights, expected in (("model", trained), ("ema", average)):
        found = named("torch").read(tmp_path / "a.pt", None, weights)
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.parametrize("average", [False, True])
def test_settings_among_the_weights_are_left_out_and_named(
    opsig: Opsig, tmp_path: Path, average: bool
) -> None:
    state = {**plain(1).state_dict(), "mode": "relu", "none": None, "temperature": 0.5}
    (tmp_path / "ck").mkdir()
    for epoch in (1, 2):
        content = {"state_dict": state, "epoch": epoch} | ({"ema": plain(2).state_dict()} if average else {})
        torch.save(content, tmp_path / "ck" / f"epoch_{epoch}.pt")
    found = named("torch").read(tmp_path / "ck" / "epoch_1.pt")
    assert all(torch.equal(value, plain(1).state_dict()[name]) for name, value in found.items())
    assert len(found) == 4
    row = opsig("inspect", tmp_path / "ck", "--json").json["result"]["checkpoints"][0]
    assert row["notes"] == ["no tensors, and left out: mode, none, temperature"]
