"""Optimizers as PyTorch and trainers spell them are the rules of the table."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from opsigcli.errors import UsageError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.recognise import from_state_dict
from opsigcli.optimizers.spelling import meant

SPELT: list[tuple[str, dict[str, Any], str]] = [
    ("SGD", {}, "sgd"),
    ("sgd", {"momentum": 0.0}, "sgd"),
    ("sgd", {"momentum": 0.9}, "momentum"),
    ("torch.optim.SGD", {"momentum": 0.9, "nesterov": True}, "nesterov"),
    ("SGD", {"momentum": 0.9, "dampening": 0.1}, "dampened"),
    ("Adam", {}, "adam"),
    ("AdamW", {}, "adamw"),
    ("optim.AdamW", {}, "adamw"),
    ("adamw_torch_fused", {}, "adamw"),
    ("RMSprop", {}, "rmsprop"),
    ("NAdam", {}, "nadam"),
    ("RAdam", {}, "radam"),
    ("Adagrad", {}, "adagrad"),
    ("Adamax", {}, "adamax"),
    ("momentum", {"momentum": 0.5}, "momentum"),
    ("Lion", {}, "lion"),
]


@pytest.mark.parametrize(("name", "hyper", "rule"), SPELT)
def test_a_spelling_is_a_rule(name: str, hyper: dict[str, Any], rule: str) -> None:
    found, kept = meant(name, {"lr": 0.1, "eps": None} | hyper)
    assert found == rule
    assert "eps" not in kept
    assert kept["lr"] == 0.1


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop"])
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_a_class_of_torch_is_the_rule_that_its_state_shows(name: str, momentum: float | None) -> None:
    more = {"momentum": momentum} if momentum is not None and name in ("SGD", "RMSprop") else {}
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = getattr(torch.optim, name)([parameter], lr=0.1, **more)
    parameter.square().sum().backward()
    optimizer.step()
    assert meant(name, more)[0] == from_state_dict(optimizer.state_dict()).rule


@pytest.mark.parametrize("name", [*OPTIMIZERS, *OPTIMIZERS.unlisted])
def test_every_rule_has_its_own_name(name: str) -> None:
    assert meant(name, {})[0] == name


def test_another_name_lists_the_closest_ones() -> None:
    with pytest.raises(UsageError, match="unknown optimizer 'AdamV'") as caught:
        meant("AdamV", {})
    assert "adam" in caught.value.hint
