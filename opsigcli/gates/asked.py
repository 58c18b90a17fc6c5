"""The gates that are asked for: on the command line, and by the project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opsigcli.errors import UsageError
from opsigcli.gates.condition import FAIL_ON, REQUIRE, read_condition
from opsigcli.gates.judge import Gate
from opsigcli.gates.project import read_project

HERE = "command line"


@dataclass(frozen=True)
class Asked:
    """Gates, those of the command line first, and the file that they name as baseline."""

    gates: tuple[Gate, ...]
    baseline: Path | None


def asked(fail_on: Sequence[str], require: Sequence[str], baseline: Path | None, folder: Path) -> Asked:
    """The gates of the command line and those of the project that ``folder`` is in: one more never makes one less.

    Args:
        fail_on: conditions that must not hold.
        require: conditions that must hold.
        baseline: as the command line names it; it goes before the project's.
        folder: where the command runs.

    Raises:
        UsageError: a condition or the project's file is not understood, or one needs a baseline and there is none.
    """
    own = [Gate(read_condition(text, FAIL_ON), HERE) for text in fail_on]
    own += [Gate(read_condition(text, REQUIRE), HERE) for text in require]
    project = read_project(folder)
    gates, file = (*own, *project.gates), baseline or project.baseline
    bare = next((gate for gate in gates if gate.condition.against_baseline), None)
    if bare is not None and file is None:
        raise UsageError(
            f"expected --baseline for {bare.condition.text!r} ({bare.origin}), found none",
            "make one: opsig report --json > baseline.json",
        )
    return Asked(gates, file)


def unheld(asked: Asked, baseline: Path | None) -> list[str]:
    """A warning where the command line names a baseline and no gate is held against it: nobody compared anything."""
    if baseline is None or any(gate.condition.against_baseline for gate in asked.gates):
        return []
    return [
        f"no gate is held against the baseline {baseline}: give a condition that names it, "
        "--require 'loss.last <= baseline * 1.05'"
    ]


def require_gates(gates: Sequence[Gate], what: str) -> None:
    """Refuse to write a result of no gates, which a pipeline would take for one of gates that passed.

    Raises:
        UsageError: there is none.
    """
    if not gates:
        raise UsageError(
            f"expected gates for {what}, found none",
            "give --fail-on or --require, or put them into opsig.toml (man opsig-gates)",
        )
