"""Schedule-Free SGD and AdamW, which take gradients between a sequence of weights and its average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opsigcli.optimizers.base import NO_RATE, Hyper, Optimizer, StateKeys, plain_value
from opsigcli.optimizers.layout import Layout

if TYPE_CHECKING:
    from torch import Tensor

SECOND_MOMENT = "exp_avg_sq"
_GROUP = frozenset({"lr", "r", "k", "weight_sum", "lr_max", "weight_lr_power", "weight_decay", "train_mode"})
_SOME = frozenset({"warmup_steps", "scheduled_lr"})


def schedule_free_threshold(hyper: Hyper) -> float:
    """``(4 − 2c) / (((1 − β)(2 − c) + βc) η) − w``, with c the weight of the newest iterate in the average.

    With ``y = (1 − β)z + βx, z ← z − η(g(y) + wy), x ← (1 − c)x + cz`` on a quadratic, z and x have determinant
    ``(1 − a(1 − β))(1 − c)`` and trace ``2 − c − a(1 − β) − acβ``, where ``a = η(λ + w)``; they are stable while
    ``−trace < 1 + determinant``. c is taken to stay as it is: it falls like 1/t, and the threshold rises from 2/η at
    the first update to ``2 / ((1 − β)η)``.

    Reference: Defazio et al. 2024, The Road Less Scheduled, equations 3–5.
    """
    beta, newest = _beta(hyper), hyper["newest"]
    limit = (4 - 2 * newest) / (((1 - beta) * (2 - newest) + beta * newest) * hyper["lr"])
    return float(limit - hyper["weight_decay"])


def schedule_free_weights(state: Mapping[str, Any], hyper: Hyper) -> Tensor | None:
    """``p = √(v / (1 − β₂ᵗ)) + ε`` after update t."""
    second, step = state.get(SECOND_MOMENT), hyper["updates"]
    if second is None or step < 1:
        return None
    unbiased: Tensor = second / (1 - hyper["betas"][1] ** step)
    return unbiased.sqrt().add(hyper["eps"])


def place_of_gradient(weights: Tensor, state: Mapping[str, Any], hyper: Hyper) -> Tensor:
    """``y = (1 − β)z + βx`` where the checkpoint holds x, for evaluation; the weights themselves where it holds y."""
    if not hyper["averaged"] or "z" not in state:
        return weights
    return weights.lerp(state["z"].to(weights), 1 - _beta(hyper))


def _beta(hyper: Hyper) -> float:
    return float(hyper["betas"][0] if "betas" in hyper else hyper["momentum"])


def _read(group: Hyper) -> dict[str, Any]:
    """The group with the learning rate after warm-up, the weight c of the next update, and which weights are saved."""
    lr, done, warm = (plain_value(group.get(key, 0)) for key in ("lr", "k", "warmup_steps"))
    own = {**group, "updates": done, "averaged": not group["train_mode"], "newest": 1.0}
    if lr is None:
        return own
    own["lr"] = lr * (done + 1) / warm if done < warm else lr
    largest = max(own["lr"], plain_value(group["lr_max"]))
    weight = (done + 1) ** plain_value(group["r"]) * largest ** plain_value(group["weight_lr_power"])
    if total := plain_value(group["weight_sum"]) + weight:
        own["newest"] = weight / total
    return own


def _recognise(group: Hyper, state_keys: StateKeys) -> str | None:
    return ""


SGD_SCHEDULE_FREE = Optimizer(
    "schedulefree_sgd",
    defaults={"lr": NO_RATE, "momentum": 0.9, "weight_decay": 0.0, "newest": 0.0, "averaged": False},
    make=None,
    limit=schedule_free_threshold,
    recognise=_recognise,
    layout=Layout(group=_GROUP | {"momentum"}, some=_SOME, state=frozenset({"z"})),
    read=_read,
    gradient_at=place_of_gradient,
    up_to_one=("newest",),
)
ADAMW_SCHEDULE_FREE = Optimizer(
    "schedulefree_adamw",
    defaults={
        "lr": NO_RATE,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "newest": 0.0,
        "updates": 0,
        "averaged": False,
    },
    make=None,
    limit=schedule_free_threshold,
    recognise=_recognise,
    layout=Layout(
        group=_GROUP | {"betas", "eps"},
        some=_SOME,
        state=frozenset({"z", SECOND_MOMENT}),
        needs=frozenset({SECOND_MOMENT}),
    ),
    weigh=schedule_free_weights,
    second_moment=SECOND_MOMENT,
    read=_read,
    gradient_at=place_of_gradient,
    up_to_one=("newest",),
)
