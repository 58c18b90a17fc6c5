"""The command that makes a stored part again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from opsigcli.options import COMMANDS, STORE, STORE_VARIABLE
from opsigcli.parameters import Argument, parameters

if TYPE_CHECKING:
    from opsigcli.records import Provenance


def command_line(name: str, provenance: Provenance) -> str:
    """The command that makes this part again.

    Options at their default, of no command line, or given for one run alone (``--fresh``) are left out.
    """
    if provenance.command.startswith("opsig "):
        return provenance.command
    verb = name.partition(" ")[0]  # what else a result is named by stands among its options
    known = (
        {parameter.name: parameter for parameter in parameters(COMMANDS[verb])} if verb in COMMANDS else {}
    )
    words, flags = ["opsig", verb], []
    for key, value in provenance.options.items():
        parameter = known.get(key)
        if parameter is None or value in (None, False, []) or str(value) == str(parameter.default):
            continue
        if isinstance(parameter.declared, Argument):
            words.append(str(value))
        elif not parameter.declared.consent:
            each = value if isinstance(value, list) else [value]
            flags += (
                [parameter.flag] if value is True else [w for v in each for w in (parameter.flag, str(v))]
            )
    return shlex.join(words + flags)


def next_command(name: str, *places: Path, store: Path = STORE, more: str = "") -> str:
    """The line that says what to do next: ``next: opsig trace 'my runs'``.

    Args:
        name: of the command.
        places: its arguments.
        store: its case file.
        more: options that the user has to fill in, as they are.
    """
    return "next: " + command(name, *places, store=store) + (f" {more}" if more else "")


def command(name: str, *places: Path, store: Path = STORE, options: Sequence[str] = ()) -> str:
    """A command to type, quoted for the shell: ``opsig mine --store 'my run.h5'``.

    The store is named where the command would take another one.
    """
    words = ["opsig", name, *options]
    if store != STORE or STORE_VARIABLE in os.environ:
        words += ["--store", str(store)]
    # A path that begins like an option is given another beginning.
    return shlex.join(
        [*words, *(f"./{place}" if str(place).startswith("-") else str(place) for place in places)]
    )
