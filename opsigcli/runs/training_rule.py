"""The update rule of a run that is to be made, from the options of ``opsig train``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opsigcli.errors import UsageError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.base import Optimizer
from opsigcli.optimizers.spelling import meant
from opsigcli.options import PRESETS, TrainOptions
from opsigcli.outcome import plain
from opsigcli.parameters import require
from opsigcli.specs import parse


def with_preset(options: TrainOptions) -> TrainOptions:
    """The options with those of their preset, as if they had been given, where no others were.

    Raises:
        UsageError: there is no such preset.
    """
    if options.preset is None:
        return options
    require(options, "preset")
    sets = {name: value for name, value in PRESETS[options.preset].items() if name not in options.given}
    return replace(options, given=options.given | sets.keys(), **sets)  # type: ignore[arg-type]


def training_rule(options: TrainOptions) -> tuple[Optimizer, dict[str, Any]]:
    """The rule and its settled hyper-parameters, without those of None.

    ``--optimizer`` is a spec: ``adam?betas=0.9,0.99``; ``--lr``, ``--momentum``, ``--weight-decay`` say three.

    Raises:
        UsageError: there is no such rule, or a hyper-parameter is not its own, out of range, or given twice.
    """
    spec = parse(options.optimizer)
    flags = {"momentum": options.momentum, "weight_decay": options.weight_decay}
    given = {key: value for key, value in flags.items() if value is not None}
    for key in spec.options:
        if key == "lr" or key in given:
            flag = f"--{key.replace('_', '-')}"
            raise UsageError(
                f"expected {key} once, found {flag} and {options.optimizer!r}", f"give {flag} alone"
            )
    named = f"{spec.scheme}:{spec.name}" if spec.scheme else spec.name
    name, hyper = meant(named, {"lr": options.lr} | dict(spec.options) | given)
    rule: Optimizer = OPTIMIZERS.load(name)
    for key in flags:  # a momentum of 0 is none
        if key not in rule.defaults and not hyper.get(key, 1):
            del hyper[key]
    settled = rule.settle({key: tuple(v) if isinstance(v, list) else v for key, v in hyper.items()})
    return rule, {key: value for key, value in plain(settled).items() if value is not None}
