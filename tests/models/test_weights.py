"""Weights into models, and models against their data."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.models.base import build
from opsigcli.models.checks import agree_twice
from opsigcli.models.weights import fit_weights


def net(seed: int = 0, spec: str = "cnn?widths=2,3&norm=batch") -> nn.Module:
    return build(spec, input_shape=(3, 8, 8), outputs=4, seed=seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_floating_dtype_are_copied_into_the_models_own(dtype: torch.dtype) -> None:
    source, model = net(1), net(2)
    weights = {k: v.to(dtype) if v.is_floating_point() else v for k, v in source.state_dict().items()}
    weights["head.bias"] = torch.tensor([float("nan"), float("inf"), 0.0, 1.0], dtype=dtype)
    before = [p.data_ptr() for p in model.parameters()]
    fit_weights(model, weights, where="a.pt")
    assert [p.data_ptr() for p in model.parameters()] == before
    for key, value in model.state_dict().items():
        assert value.dtype in (torch.float32, torch.int64)
        torch.testing.assert_close(value, weights[key].to(value.dtype), rtol=0, atol=0, equal_nan=True)


def test_keys_that_do_not_fit_are_named_with_the_nearest_ones() -> None:
    weights = dict(net().state_dict())
    weights["fc.weight"] = weights.pop("head.weight")
    weights["conv1.weights"] = weights.pop("conv1.weight")
    weights["head.bias"] = torch.zeros(10)
    with pytest.raises(ModelError) as caught:
        fit_weights(net(), weights, where="step_3.pt")
    message = caught.value.message
    assert "weights in step_3.pt do not fit the model: 2 missing, 2 unexpected, 1 of another shape" in message
    assert "missing 'conv1.weight' (2, 3, 3, 3); nearest in the checkpoint: 'conv1.weights'" in message
    assert "missing 'head.weight' (4, 3); nearest in the checkpoint: 'fc.weight'" in message
    assert "unexpected 'conv1.weights' (2, 3, 3, 3); nearest in the model: 'conv1.weight'" in message
    assert "'head.bias': expected (4,), found (10,)" in message
    assert "--model" in caught.value.hint


def test_an_average_beside_the_weights_as_mmcv_keeps_it_is_named() -> None:
    weights = dict(net().state_dict())
    weights |= {f"ema_{name.replace('.', '_')}": value for name, value in net(1).named_parameters()}
    with pytest.raises(ModelError, match="unexpected 'ema_conv1_weight'") as caught:
        fit_weights(net(), weights, where="epoch_3.pth")
    assert "EMAHook" in caught.value.hint
    assert "--partial" not in caught.value.hint


def test_two_tensors_for_one_that_the_model_shares_are_refused() -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    apart = dict(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).state_dict())
    model = tied()
    before = model[0].weight.clone()  # type: ignore[index]
    with pytest.raises(ModelError, match=r"one tensor for '0\.weight' and '1\.weight'") as caught:
        fit_weights(model, apart, where="a.pt")
    assert "without sharing" in caught.value.hint
    assert torch.equal(model[0].weight, before)  # type: ignore[index]
    fit_weights(model, tied().state_dict(), where="a.pt")
    fit_weights(model, {key: value for key, value in apart.items() if key != "1.weight"}, where="a.pt")


def test_many_keys_are_counted_and_only_the_first_named() -> None:
    weights = {f"{key}.part": value for key, value in net().state_dict().items()}
    with pytest.raises(ModelError) as caught:
        fit_weights(net(), weights, where="a.pt")
    count = len([key for key in net().state_dict() if "num_batches" not in key])
    assert f"{count} missing, {len(weights)} unexpected" in caught.value.message
    assert f"and {count - 3} more missing" in caught.value.message
    assert "'conv1.weight.part'" in caught.value.message


def test_weights_that_do_not_fit_leave_the_model_as_it_was() -> None:
    model = net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for weights in ({}, dict(net(1).state_dict()) | {"head.bias": torch.zeros(9)}):
        with pytest.raises(ModelError):
            fit_weights(model, weights, where="a.pt")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_tensor_shared_under_two_names_may_be_saved_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.head.weight = self.embedding.weight

    model, value = Tied(), torch.randn(3, 3)
    fit_weights(model, {"embedding.weight": value}, where="a.safetensors")
    torch.testing.assert_close(model.head.weight.data, value, rtol=0, atol=0)
    untied = Tied()
    untied.head = nn.Linear(3, 3, bias=False)
    with pytest.raises(ModelError, match=r"missing 'head.weight'"):
        fit_weights(untied, {"embedding.weight": value}, where="a.safetensors")


def test_the_batch_counter_of_batchnorm_may_be_missing_and_nothing_else_of_it() -> None:
    weights = dict(net(1).state_dict())
    del weights["norm1.num_batches_tracked"]
    fit_weights(net(), weights, where="a.pt")
    del weights["norm1.running_var"]
    with pytest.raises(ModelError, match=r"missing 'norm1.running_var'"):
        fit_weights(net(), weights, where="a.pt")


INPUTS = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("spec", ["mlp", "cnn?norm=none", "cnn?norm=batch", "cnn?norm=group"])
def test_the_built_in_models_agree_with_themselves_and_keep_their_mode(spec: str) -> None:
    model = net(spec=spec)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert agree_twice(model, INPUTS).shape == (8, 4)
    assert model.training
    assert agree_twice(model.eval().double(), INPUTS.double()).shape == (8, 4)
    assert not model.training
    assert all(torch.equal(value, before[key].to(value.dtype)) for key, value in model.state_dict().items())


class Forward(nn.Module):
    """A model from a function, with one parameter."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x.flatten(1)[:, :6] * self.scale)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: {"logits": x}, r"one row per example, \(2, …\); found dict"),
        (lambda x: (x, x), "found tuple"),
        (lambda x: x.mean(), r"found a tensor of shape \(\)"),
        (lambda x: x[:, :0], r"at least one output for each example, found outputs of shape \(2, 0\)"),
        (lambda x: x.T, r"found a tensor of shape \(6, 2\)"),
        (lambda x: x @ torch.zeros(5, 5), r"inputs of shape \(2, 3, 8, 8\) failed: RuntimeError: .*6"),
        (lambda x: F.dropout(x, 0.5), "two passes over the same examples differ by"),
        (lambda x: x + 0.1 * torch.randn_like(x), "two passes"),
        (lambda x: (x - x.mean(0)) / x.std(0), "alone and beside others, differ by"),
    ],
)
def test_a_model_without_one_output_per_example_is_refused_in_words(function: object, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        agree_twice(Forward(function), INPUTS)


def test_batchnorm_without_running_statistics_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4, track_running_stats=False))
    with pytest.raises(ModelError, match="alone and beside others") as caught:
        agree_twice(model, INPUTS)
    assert "BatchNorm" in caught.value.hint


def test_outputs_that_are_not_finite_are_no_disagreement() -> None:
    x = torch.randn(5, 6)
    outputs = agree_twice(Forward(lambda x: x / 0 * 0 + x), x)
    assert outputs.isnan().all()
    constant = agree_twice(Forward(lambda x: x * 0), x)
    assert not constant.any()
