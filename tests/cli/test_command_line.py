"""The command that makes a stored part again."""

from __future__ import annotations

import pytest
from reporting_case import make_case

from opsigcli.command_line import command_line
from opsigcli.options import COMMANDS
from opsigcli.parameters import Argument, parameters
from opsigcli.records import Provenance


def test_words_are_quoted_and_defaults_left_out() -> None:
    case = make_case()
    assert command_line("trace", case.provenance["trace"]) == "opsig trace 'runs/my demo'"
    assert command_line("mine", case.provenance["mine"]) == "opsig mine --top 5"
    options = {"store": "a.h5", "batch_size": 64, "optimizer": None}
    assert command_line("sharpness", Provenance("sharpness", options, "0.1.0")) == (
        "opsig sharpness --store a.h5 --batch-size 64"
    )


def test_what_no_command_line_has_is_left_out() -> None:
    inner = Provenance("mine", {"configuration": {"a": 1}}, "0.1.0")
    assert command_line("mine", inner) == "opsig mine"
    assert command_line("elsewhere", Provenance("elsewhere", {"top": 3}, "0.1.0")) == "opsig elsewhere"


def test_a_command_that_was_written_down_is_kept() -> None:
    assert command_line("mine", Provenance("opsig mine --top 3", {}, "0.1.0")) == "opsig mine --top 3"


def test_arguments_stand_by_themselves() -> None:
    assert command_line("train", Provenance("train", {"directory": "a", "lr": 0.5}, "0.1.0")) == (
        "opsig train a --lr 0.5"
    )


@pytest.mark.parametrize("verb", COMMANDS)
def test_consent_to_one_run_is_not_repeated(verb: str) -> None:
    given = {p.name: True for p in parameters(COMMANDS[verb]) if not isinstance(p.declared, Argument)}
    line = command_line(verb, Provenance(verb, given, "0.1.0")).split()
    assert not {"--fresh", "--trust-manifest"} & set(line)
    assert "--store" in line or "store" not in given
