"""The check of second derivatives refuses small errors, and nothing that only kinks or rounding explain."""

from __future__ import annotations

import pytest
import torch
from problems import Rows
from torch import Tensor, nn

from opsigcli.derivatives.check_hvp import check_second_derivatives
from opsigcli.errors import CurvatureError
from opsigcli.objective.base import Objective


class PartlyDetached(torch.autograd.Function):
    """A square whose backward hides a share of how its factor depends on x."""

    @staticmethod
    def forward(ctx: object, x: Tensor, share: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.share = share
        return x * x

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * 2 * ((1 - ctx.share) * x + ctx.share * x.detach()), None


class Squared(nn.Module):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.linear, self.share = nn.Linear(4, 3), share

    def forward(self, x: Tensor) -> Tensor:
        return PartlyDetached.apply(self.linear(x), self.share)


def checked(model: nn.Module) -> None:
    check_second_derivatives(Objective(model, Rows((4,)), "ce", batch_size=4))


@pytest.mark.parametrize("share", [1.0, 0.3, 0.1])
def test_second_derivatives_that_leave_out_a_tenth_are_refused(share: float) -> None:
    torch.manual_seed(0)
    with pytest.raises(CurvatureError, match="second derivatives are wrong"):
        checked(Squared(share))


def test_what_is_whole_passes() -> None:
    torch.manual_seed(0)
    checked(Squared(0.0))


class Rare(nn.Module):
    """Wrong second derivatives, for one output in many."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.last = nn.Linear(4, 40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x)
        return self.last(torch.cat([PartlyDetached.apply(h[:, :4], 1.0), h[:, 4:] ** 2], dim=1))


def test_an_operation_on_a_tenth_of_the_units_is_refused() -> None:
    torch.manual_seed(0)
    with pytest.raises(CurvatureError, match="second derivatives are wrong"):
        checked(Rare())


class Noisy(torch.autograd.Function):
    """A square whose gradient is noisy in its last digits, and whose second derivatives are right."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (2 * x + 1e-6 * torch.randn_like(x))


class Rounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return Noisy.apply(self.linear(x))


def test_differences_that_do_not_agree_with_each_other_prove_nothing() -> None:
    torch.manual_seed(0)
    checked(Rounded())
