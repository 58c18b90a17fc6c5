"""Values of options complete in the shell, from the tables they are in, and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Opsig

from opsigcli.models import MODELS
from opsigcli.options import COMMANDS
from opsigcli.parameters import Argument, parameters
from opsigcli.registry import Entry, Registry

LISTED = {
    (verb, parameter.flag): parameter.declared
    for verb, options in COMMANDS.items()
    for parameter in parameters(options)
    if parameter.declared.values
}
HEAVY = ("torch", "torchvision", "scipy", "h5py", "networkx")
PROGRAM = f"""
import contextlib, io, json, os, sys
from opsigcli.cli.app import run
answers = []
for asked in json.load(sys.stdin):
    os.environ.update(asked)
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        run([])
    answers.append(said.getvalue().split("\\n")[:-1])
print(json.dumps([answers, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def complete(*lines: tuple[str, ...], shell: str = "bash") -> list[list[str]]:
    """What the shell offers for the last word of ``opsig words``, asked for as its script does, for each line."""
    asked = [
        {
            "_OPSIG_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": "\n".join(["opsig", *words]),  # bash joins them with its IFS
            "COMP_CWORD": str(len(words)),
            "_TYPER_COMPLETE_ARGS": " ".join(["opsig", *words]),
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        for words in lines
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, input=json.dumps(asked)
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    answers, heavy = json.loads(done.stdout)
    assert not heavy
    return [[word for word in answer if word] for answer in answers]


def test_the_known_values_of_every_option_are_offered() -> None:
    argument = [isinstance(declared, Argument) for declared in LISTED.values()]
    asked = [
        (verb, "") if bare else (verb, flag, "") for (verb, flag), bare in zip(LISTED, argument, strict=True)
    ]
    offered = complete(*asked)
    for (where, declared), words in zip(LISTED.items(), offered, strict=True):
        assert [word.rstrip(":") for word in words] == list(declared.known), where


def test_the_program_itself_answers_a_shell() -> None:
    asked = {
        "_OPSIG_COMPLETE": "complete_bash",
        "COMP_WORDS": "opsig\ntrain\n--optimizer\nrms",
        "COMP_CWORD": "3",
    }
    words = [sys.executable, "-m", "opsigcli"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | asked)
    assert done.stdout.split() == ["rmsprop", "rmsproptf"]
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "flag",
    ["--optimizer", "--loss", "--method", "--similarity", "--window", "--order", "--weights", "--precision",
     "--batch-norm", "--device", "--model", "--data"],
)  # fmt: skip
def test_an_option_with_a_known_list_says_where_that_is(flag: str) -> None:
    takes = {
        verb
        for verb, options in COMMANDS.items()
        if flag in {parameter.flag for parameter in parameters(options)}
    }
    assert takes
    assert takes == {verb for verb, listed in LISTED if listed == flag}


def test_only_values_that_begin_as_the_word_does_are_offered() -> None:
    model, none = complete(("trace", "ckpts", "--model", "tor"), ("train", "run", "--loss", "x"))
    assert model == ["torchvision:"]
    assert none == []


def test_values_after_an_equals_sign_and_what_help_takes_are_offered() -> None:
    parted, empty, helped, other = complete(  # bash parts words at the sign
        ("trace", "--model", "=", "tor"),
        ("mine", "--window", "="),
        ("help", "tr"),
        ("report", "--fail-on", "loss."),
    )
    assert parted == ["torchvision:"]
    assert empty == ["run", "first"]
    assert helped == ["train", "trace"]
    assert other == ["loss.first", "loss.last", "loss.min", "loss.max", "loss.rise.max"]
    whole, helped = complete(("trace", "--model=tor"), ("help", "rep"), shell="zsh")
    assert "torchvision:" in "".join(whole).replace("\\", "")
    assert "report" in "".join(helped)


def test_what_needs_a_name_is_offered_with_its_colon() -> None:
    (offered,) = complete(("trace", "--data", ""))
    assert {"planted", "folder:", "npz:"} <= set(offered)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_what_a_value_means(shell: str) -> None:
    (offered,) = complete(("mine", "--method", "to"), shell=shell)
    assert "the 20 most risen against the 20 most fallen" in "".join(offered)


def test_values_of_installed_packages_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "plugins", lambda self: {"extra": Entry("a:b", "from elsewhere")})
    assert "extra" in MODELS.forms()


@pytest.mark.parametrize(
    ("words", "close"),
    [
        (("mine", "--method", "ful"), "full"), (("mine", "--similarity", "adjust"), "adjusted"),
        (("mine", "--window", "frist"), "first"), (("sharpness", "--precision", "float46"), "float64"),
        (("sharpness", "--batch-norm", "bacth"), "batch"), (("sharpness", "--optimizer", "adm"), "adam"),
        (("inspect", "CKPTS", "--order", "nam"), "name"), (("inspect", "CKPTS", "--weights", "eam"), "ema"),
        (("train", "NEW", "--optimizer", "addam"), "adam"), (("train", "NEW", "--loss", "mes"), "mse"),
        (("train", "NEW", "--model", "mpl"), "mlp"), (("train", "NEW", "--data", "plantd"), "planted"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_known_is_a_usage_error_with_the_closest(
    opsig: Opsig, finished: Path, tmp_path: Path, words: tuple[str, ...], close: str
) -> None:
    places = {"CKPTS": f"{finished}/run", "NEW": f"{tmp_path}/new"}
    store = ["--store", f"{finished}/opsig.h5"] if words[0] in ("mine", "sharpness") else []
    result = opsig(*(places.get(word, word) for word in words), *store)
    assert result.code == 2
    assert close in result.err.split("hint:")[1]
