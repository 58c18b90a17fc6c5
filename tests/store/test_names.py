"""A result is named by all choices that its numbers depend on."""

from __future__ import annotations

from dataclasses import fields

from opsigcli.gradients.mined_before import CHOICES as MINED
from opsigcli.options import MineOptions, SharpnessOptions, TraceOptions
from opsigcli.records import Provenance
from opsigcli.stability.configuration import OF_RULE
from opsigcli.store.names import CHOICES, MINE, QUICK, SHARPNESS, name_of


def test_what_mining_depends_on_is_in_its_name() -> None:
    assert set(MINED) <= set(CHOICES[MINE])
    assert set(OF_RULE) <= set(CHOICES[SHARPNESS]) & set(CHOICES[QUICK])


def test_every_choice_is_an_option() -> None:
    known = {field.name for kind in (MineOptions, SharpnessOptions, TraceOptions) for field in fields(kind)}
    assert {name for names in CHOICES.values() for name in names} <= known


def test_a_name_is_the_command_with_what_is_not_usual() -> None:
    made = Provenance("sharpness", {"precision": "float64", "top": 5, "seed": 0, "batch_norm": "batch"}, "0")
    assert name_of(SHARPNESS, made, "batch") == "sharpness --precision float64"
    assert name_of(SHARPNESS, made, "stored") == "sharpness --precision float64 --batch-norm batch"
    assert name_of(MINE, Provenance("mine", {"model": "mlp?hidden=4"}, "0")) == "mine --model 'mlp?hidden=4'"
