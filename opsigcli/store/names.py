"""Names of results: the command that makes them, with those of its choices on which the numbers depend."""

from __future__ import annotations

import shlex

from opsigcli.options import COMMANDS
from opsigcli.parameters import parameters
from opsigcli.records import Provenance
from opsigcli.result_records import VIRTUAL

MINE, SHARPNESS, QUICK = "mine", "sharpness", "sharpness --quick"
_RULE = ("optimizer", "lr", "momentum", "weight_decay", "betas", "eps", "lr_groups")
_MEASURED = ("precision", "seed", "model", "data", "examples", "batch_norm", *_RULE)
# Results that differ in one of these are other results. What else a command was asked for joins the same one.
CHOICES: dict[str, tuple[str, ...]] = {
    MINE: (
        *("method", "similarity", "window", "surrogates", "top", "candidates", "gradient_checkpoints"),
        *(
            "sketch_dimensions",
            "eigenvectors",
            "false_discovery_rate",
            "batch_norm",
            "model",
            "data",
            "test_data",
            "seed",
        ),
    ),
    SHARPNESS: (*_MEASURED, "minibatch", "all_parameters"),
    QUICK: _MEASURED,
    VIRTUAL: ("virtual_batches", *_RULE),
}


def name_of(command: str, made: Provenance, batch_norm: str = "") -> str:
    """The name of a result: ``sharpness --precision float64``. Choices at their default are left out.

    Args:
        command: of ``CHOICES``.
        made: how it was made.
        batch_norm: statistics of BatchNorm of the trace, which are the default.
    """
    words = [command]
    for parameter in parameters(COMMANDS[command.partition(" ")[0]]):
        value = made.options.get(parameter.name)
        usual = (
            (parameter.default, batch_norm or None)
            if parameter.name == "batch_norm"
            else (parameter.default,)
        )
        if parameter.name not in CHOICES[command] or value is None or str(value) in map(str, usual):
            continue
        words.append(parameter.flag if value is True else f"{parameter.flag} {shlex.quote(str(value))}")
    return " ".join(words)
