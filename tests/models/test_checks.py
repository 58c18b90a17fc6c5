"""Two passes over the same examples may differ by rounding and by nothing more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from opsigcli.errors import ModelError
from opsigcli.models.checks import agree_twice

INPUTS = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))


class Unsteady(nn.Module):
    """Outputs that grow by a share of themselves with each pass, or with the size of the batch."""

    def __init__(self, share: float, by: str) -> None:
        super().__init__()
        self.share, self.by, self.passes = share, by, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        # The third pass is over half of the batch; it is held against the first.
        count = self.passes % 2 if self.by == "pass" else len(x) / 8
        return x * (1 + self.share * count)


@pytest.mark.parametrize(("by", "said"), [("pass", "two passes"), ("batch", "alone and beside others")])
@pytest.mark.parametrize("share", [0.5, 0.02])
def test_passes_that_differ_by_a_fiftieth_are_refused(share: float, by: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        agree_twice(Unsteady(share, by), INPUTS)


@pytest.mark.parametrize("by", ["pass", "batch"])
def test_passes_that_differ_as_kernels_do_agree(by: str) -> None:
    assert agree_twice(Unsteady(3e-5, by), INPUTS).shape == INPUTS.shape


def test_differences_are_held_against_the_largest_output() -> None:
    class Shifted(Unsteady):
        def forward(self, x: Tensor) -> Tensor:
            self.passes += 1
            return torch.cat([x, 1e4 * x], dim=1) + 0.1 * (self.passes % 2)

    assert agree_twice(Shifted(0.0, "pass"), INPUTS).shape == (8, 10)


@pytest.mark.parametrize(
    ("shape", "channels", "said"),
    [
        ((2, 8, 8, 3), 3, "x.transpose(0, 3, 1, 2)"),
        ((2, 8, 8, 1), 1, "x.transpose(0, 3, 1, 2)"),
        ((2, 8, 8, 3), 5, "check that --model fits"),  # wants other channels either way
        ((2, 3, 8, 3), 8, "check that --model fits"),  # first or last, nobody knows
        ((2, 4, 8, 8), 3, "check that --model fits"),
    ],
)
def test_pictures_with_channels_last_are_named_as_such(
    shape: tuple[int, ...], channels: int, said: str
) -> None:
    with pytest.raises(ModelError) as caught:
        agree_twice(nn.Sequential(nn.Conv2d(channels, 2, 1), nn.Flatten()), torch.zeros(shape))
    assert said in caught.value.hint


class Pairs(nn.Module):
    """As many outputs as there are examples in the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Similarities (B, B)."""
        return x @ x.T


def test_outputs_for_each_pair_of_examples_are_refused_in_words() -> None:
    with pytest.raises(ModelError, match=r"\(6,\) in one pass and \(3,\) in another") as caught:
        agree_twice(Pairs(), torch.randn(6, 4))
    assert "contrastive" in caught.value.hint


class Several(nn.Module):
    """Outputs in a container."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> object:
        """Two outputs."""
        return {"color": x, "shape": x[:, :1]} if self.kind is dict else (x, x[:, :1])


@pytest.mark.parametrize(
    ("kind", "said"), [(dict, "dict of color (2, 4), shape (2, 1)"), (tuple, "tuple of (2, 4), (2, 1)")]
)
def test_several_outputs_are_named_with_their_shapes(kind: type, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        agree_twice(Several(kind), torch.randn(6, 4))
    assert said in caught.value.message


def test_whole_numbers_for_a_model_without_an_embedding_are_said_to_be_tokens() -> None:
    with pytest.raises(ModelError) as refused:
        agree_twice(nn.Linear(6, 3), torch.ones(4, 6, dtype=torch.int64))
    assert refused.value.hint == (
        "whole numbers are taken for token numbers: store features as x.astype('float32')"
    )


@pytest.mark.parametrize(("columns", "advised"), [(5, True), (3, False)])
def test_how_many_numbers_the_first_layer_takes_is_said(columns: int, advised: bool) -> None:
    with pytest.raises(ModelError) as caught:
        agree_twice(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(6, columns))
    assert f"first layer takes 4 numbers, and an example of the data has {columns}" in caught.value.hint
    assert ("columns=NAME" in caught.value.hint) is advised


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (lambda x: {"hidden": x, "logits": x}, "['logits']"),
        (lambda x: {"aux": x, "out": x}, "['out']"),
        (lambda x: {"scale": x.mean(), "classes": x}, "['classes']"),
        (lambda x: (x.mean(), x), "[1]"),
        (lambda x: [x], "[0]"),
        (lambda x: None, "[0]"),
    ],
)
def test_the_part_of_outputs_that_is_likeliest_the_logits_is_named(function: Any, part: str) -> None:
    class Parts(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return function(x)

    with pytest.raises(ModelError, match="one row per example") as caught:
        agree_twice(Parts(), torch.ones(4, 3))
    assert f"of(x){part} in the factory" in caught.value.hint


def test_a_model_in_another_dtype_than_its_inputs_is_told_so() -> None:
    with pytest.raises(ModelError, match="same dtype") as caught:
        agree_twice(nn.Linear(3, 2).double(), torch.ones(4, 3))
    assert "computes in float64" in caught.value.hint
    assert "net.float()" in caught.value.hint
