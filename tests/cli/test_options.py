"""The contract of options: what a field declares is in the signature, the help, the manual and the repeated command."""

from __future__ import annotations

import dataclasses
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from conftest import Opsig
from typer.testing import CliRunner

from opsigcli.cli.app import app
from opsigcli.cli.signature import function_of
from opsigcli.cli.verbs import VERBS
from opsigcli.command_line import command_line
from opsigcli.errors import UsageError
from opsigcli.options import COMMANDS, MineOptions, TerminalOptions, TraceOptions, TrainOptions
from opsigcli.parameters import Argument, Option, Parameter, parameters, require
from opsigcli.records import Provenance
from opsigcli.registry import Entry

MAN = Path(__file__).parents[2] / "man"
EVERY = [
    pytest.param(verb, parameter, id=f"{verb} {parameter.flag}")
    for verb, options in COMMANDS.items()
    for parameter in [*parameters(options), *parameters(TerminalOptions)]
]


@dataclasses.dataclass(frozen=True)
class Extended(MineOptions):
    """Mining with one option more."""

    patience: Annotated[int, Option("Steps to wait.", "N", min=1, short="-p")] = 7


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("verb", "parameter"), EVERY)
def test_a_field_is_in_the_help_and_in_the_manual_as_it_is_declared(
    opsig: Opsig, verb: str, parameter: Parameter
) -> None:
    page = _words((MAN / f"opsig-{verb}.1").read_text().replace("\\-", "-").replace("\\e", "\\"))
    shown = _words(opsig(verb, "--help").out)
    declared = parameter.declared
    if isinstance(declared, Argument):
        assert re.search(rf"{declared.metavar} +{re.escape(declared.help)}", shown)
        assert f"\\fI{declared.metavar}\\fR {declared.help}" in page
        return
    assert declared.help[-1] in ".…"
    entry = f"{parameter.flag} {declared.metavar or ''}".rstrip()
    # Hyphenated words may be broken at the end of a line.
    assert f"{entry} {_words(declared.text)}".replace("- ", "-") in shown.replace("- ", "-")
    assert f"\\fB{parameter.flag}\\fR" in page
    assert _words(declared.text) in page
    if parameter.default not in (None, False, ()):
        assert re.search(rf"{entry} .*?default:\s+{re.escape(str(parameter.default))}[;\]]", shown)
        assert f"Default: {parameter.default}." in page


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_has_options_words_and_a_verb(verb: str) -> None:
    assert dataclasses.is_dataclass(COMMANDS[verb])
    assert VERBS[verb].summary.endswith(".")
    assert f"opsig {verb}" in VERBS[verb].examples
    module = import_module(f"opsigcli.commands.{verb}")
    assert (module.__doc__ or "").startswith(f"``opsig {verb}``")
    first, second = inspect.signature(getattr(module, verb)).parameters.values()
    assert first.annotation == COMMANDS[verb].__name__
    assert second.annotation == "Progress"


def test_every_command_is_in_both_tables_in_the_order_of_the_help() -> None:
    assert list(VERBS) == list(COMMANDS)
    assert [command.name for command in app.registered_commands] == list(COMMANDS)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_called_with_no_option_has_the_defaults_of_its_dataclass(verb: str) -> None:
    required = [parameter for parameter in parameters(COMMANDS[verb]) if parameter.required]
    places = ["PLACE"] * len(required)
    assert _called(COMMANDS[verb], *places) == COMMANDS[verb](*(p.type("PLACE") for p in required))


def _called(options: type, *words: str) -> Any:
    """The options that these words fill in."""
    taken: list[Any] = []
    one = typer.Typer(add_completion=False)
    one.command()(function_of(options, lambda _how, chosen: taken.append(chosen)))
    result = CliRunner().invoke(one, list(words))
    assert result.exit_code == 0, result.output
    return taken[0]


def test_an_option_is_one_edit() -> None:
    """A field more, and nothing else: it is parsed, bounded, helped and repeated."""
    function = function_of(Extended, lambda how, chosen: None)
    assert inspect.signature(function).parameters["patience"].default == 7
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    taken: list[Any] = []
    one.command()(function_of(Extended, lambda _how, chosen: taken.append(chosen)))
    assert CliRunner().invoke(one, ["-p", "3", "--top", "5"]).exit_code == 0
    assert taken == [Extended(top=5, patience=3)]
    assert CliRunner().invoke(one, ["--patience", "0"]).exit_code == 2
    assert "-p, --patience N" in CliRunner().invoke(one, ["--help"]).output


def test_an_option_more_is_repeated_by_the_command_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "mine", Extended)
    provenance = Provenance("mine", {"patience": 3, "top": 20}, "0.1.0")
    assert command_line("mine", provenance) == "opsig mine --patience 3"


def test_a_new_optimizer_stands_in_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    from opsigcli.optimizers import OPTIMIZERS

    monkeypatch.setitem(OPTIMIZERS.entries, "lion", Entry("a:b", "sign of momentum"))
    (declared,) = (p.declared for p in parameters(TrainOptions) if p.name == "optimizer")
    assert isinstance(declared, Option)
    assert " or lion; options as sam?rho=0.1" in declared.text


def test_a_field_that_declares_nothing_is_refused() -> None:
    silent = dataclasses.make_dataclass("Silent", [("top", int, 3)])
    with pytest.raises(TypeError, match=r"Silent\.top to be Annotated"):
        parameters(silent)


def test_a_word_can_stand_for_none() -> None:
    assert _called(TrainOptions, "run").batch_size is None
    assert _called(TrainOptions, "run", "--batch-size", "full").batch_size is None
    assert _called(TrainOptions, "run", "--batch-size", "20").batch_size == 20


@pytest.mark.parametrize("given", ["0", "-1", "half", "1.5", ""])
def test_another_word_than_the_one_for_none_is_a_usage_error(opsig: Opsig, given: str) -> None:
    result = opsig("train", "run", f"--batch-size={given}")
    assert result.code == 2
    assert f"in --batch-size: expected 'full' or a number of at least 1, found {given!r}" in result.err


def test_batches_of_virtual_steps_ask_for_virtual_steps() -> None:
    assert _called(TraceOptions, "run", "--virtual-batches", "3").virtual_step
    assert TraceOptions(Path("run"), virtual_batches=3).virtual_step
    assert not TraceOptions(Path("run")).virtual_step


def test_a_variable_of_the_environment_is_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSIG_STORE", "elsewhere.h5")
    assert _called(MineOptions).store == Path("elsewhere.h5")
    assert _called(MineOptions, "--store", "here.h5").store == Path("here.h5")


def test_values_outside_a_known_list_are_refused_with_the_closest() -> None:
    require(MineOptions(), "window", "similarity")
    with pytest.raises(UsageError) as caught:
        require(MineOptions(window="frist"), "window")
    assert caught.value.message == "expected --window to be one of run, first; found 'frist'"
    assert caught.value.hint == "did you mean first?"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trace", "ckpts", "--lr", 0.1), "expected --virtual-step with --lr"),
        (("trace", "ckpts", "--optimizer", "foo", "--betas", 0.9), "with --optimizer, --betas"),
        (("trace", "ckpts", "--idle", 3), "expected --watch with --idle"),
        (("mine", "--eigenvectors", 5), "expected --method eigen with --eigenvectors"),
        (("mine", "--method", "losses", "--similarity", "raw"), "with --similarity"),
        (("mine", "--method", "top", "--sketch-dimensions", 64, "--screening-space", 1), "with --sketch-dim"),
        (("train", "run", "--weight", 0.5), "expected --downweight with --weight"),
    ],
)
def test_an_option_that_would_have_no_part_is_refused(
    opsig: Opsig, words: tuple[str, ...], said: str
) -> None:
    done = opsig(*words)
    assert (done.code, said in " ".join(done.err.split())) == (2, True), done.err
    assert "leave out" in done.err
