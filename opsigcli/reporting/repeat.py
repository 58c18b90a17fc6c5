"""What somebody else needs to repeat a case: the things, by names without folders, and the commands on them."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING

from opsigcli.command_line import command_line
from opsigcli.printable import count, without_folders
from opsigcli.reporting.summary import origins

if TYPE_CHECKING:
    from opsigcli.records import Case

SHOWN = 12  # digits of a digest


def needed(case: Case) -> list[str]:
    """What has to lie in one folder, and how to know that it is the same."""
    run, trace = case.run, case.trace
    made = case.provenance.get("trace")
    names = {str(case.provenance[name].opsig_version) for name in case.provenance}
    lines = [
        f"{PurePath(run.checkpoints).name or 'checkpoints'}: the folder of {count(len(trace.steps), 'checkpoint')}, "
        "whose sha256 are in the store",
        f"{without_folders(run.data)}: {count(len(trace.example_ids), 'example')}"
        + (f", fingerprint {run.fingerprint[:SHOWN]}" if run.fingerprint else ""),
    ]
    if re.match(r"(py|file|hf):", run.model):
        lines.append(f"{without_folders(run.model)}: the model")
    torch = f", torch {made.torch_version} on {made.device or 'cpu'}" if made and made.torch_version else ""
    return [*lines, f"opsig {' and '.join(sorted(names))}{torch}"] if names else lines


def commands(case: Case) -> list[str]:
    """The commands that make the case again there, in the order in which they are run."""
    return list(dict.fromkeys(_named(case, name, command_line(name, made)) for name, made in origins(case)))


def _named(case: Case, name: str, line: str) -> str:
    """A command with names for paths; that of the trace says model, data and probes, whatever lay beside."""
    line = without_folders(line)
    if name.partition(" ")[0] != "trace":
        return line
    words = shlex.split(line)
    said = [("--model", case.run.model), ("--data", case.run.data), ("--loss", case.run.loss)]
    for flag, spec in said:
        words += [] if flag in words else [flag, without_folders(spec)]
    for traced in case.probes:
        spec = without_folders(traced.probe.spec)
        words += [] if spec in words else ["--probe", spec]
    return shlex.join(words)
