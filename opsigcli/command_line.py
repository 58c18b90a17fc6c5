"""The command that makes a stored part again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from opsigcli.options import COMMANDS
from opsigcli.parameters import Argument, parameters

if TYPE_CHECKING:
    from opsigcli.records import Provenance


def command_line(name: str, provenance: Provenance) -> str:
    """The command that makes this part again.

    Options at their default, of no command line, or given for one run alone (``--fresh``) are left out.
    """
    if provenance.command.startswith("opsig "):
        return provenance.command
    known = (
        {parameter.name: parameter for parameter in parameters(COMMANDS[name])} if name in COMMANDS else {}
    )
    words, flags = ["opsig", name], []
    for key, value in provenance.options.items():
        parameter = known.get(key)
        if parameter is None or value is None or value is False or str(value) == str(parameter.default):
            continue
        if isinstance(parameter.declared, Argument):
            words.append(str(value))
        elif not parameter.declared.consent:
            flags += [parameter.flag] if value is True else [parameter.flag, str(value)]
    return shlex.join(words + flags)
