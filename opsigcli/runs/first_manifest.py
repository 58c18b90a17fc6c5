"""The manifest of checkpoints that something else made: what the user says of the run, before what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.manifest import Manifest, Row
from opsigcli.checkpoints.series import Series
from opsigcli.errors import UsageError
from opsigcli.examples import ExampleSource
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.spelling import meant
from opsigcli.outcome import plain
from opsigcli.runs.given_hyper import given_hyper
from opsigcli.runs.optimizer_state import lr_of, recognise
from opsigcli.runs.own_config import config_of
from opsigcli.runs.run_specs import signed_manifest

if TYPE_CHECKING:
    from opsigcli.options import InitOptions


def first_manifest(
    options: InitOptions, series: Series, source: ExampleSource, model: str, loss: str, warnings: list[str]
) -> Manifest:
    """The manifest of a series.

    Raises:
        UsageError: there is no such optimizer, or its hyper-parameters do not fit it.
        CheckpointError: a checkpoint cannot be read.
    """
    optimizer, hyper = _optimizer(options, series, warnings)
    rows = [
        Row(c.file, c.step, None if c.epoch is None else float(c.epoch), lr_of(c), series.sha256(index))
        for index, c in enumerate(series)
    ]
    return signed_manifest(
        source,
        model=model,
        config=config_of(model, series, warnings),
        loss=loss,
        optimizer=optimizer,
        hyper=hyper,
        batch_size=options.batch_size,
        unit=series.unit,
        key=series.key,
        weights=series.weights,
        partial=options.partial,
        checkpoints=tuple(rows),
    )


def _optimizer(options: InitOptions, series: Series, warnings: list[str]) -> tuple[str, dict[str, Any]]:
    """The rule and its hyper-parameters: those given, those of the checkpoints where they are of the same rule.

    Raises:
        UsageError: hyper-parameters are given and no rule is known, or they do not fit it.
    """
    found = recognise(series)
    given = {key: value for key, value in given_hyper(options).items() if value is not None}
    asked = options.optimizer or found.name
    if not asked:
        if given:
            words = " and ".join(f"--{key.replace('_', '-')}" for key in given)
            raise UsageError(
                f"expected --optimizer with {words}: the checkpoints do not say which it is",
                "example: --optimizer sgd --lr 0.1 --momentum 0.9",
            )
        if found.reason:
            warnings.append(f"optimizer: {found.reason}")
        return "", {}
    name, _ = meant(asked, found.hyper | given)
    name, hyper = meant(asked, (found.hyper if name == found.name else {}) | given)
    OPTIMIZERS.load(name).settle({"lr": 1.0} | hyper)  # refuses what the rule does not have
    if found.name and name != found.name:
        warnings.append(f"--optimizer {name} is used, but the checkpoints have the state of {found.name}")
    elif found.reason:
        warnings.append(f"optimizer: {found.reason}")
    rate = hyper.get("lr") or max((c.lr for c in series if c.lr is not None), default=None)
    if rate is None:
        warnings.append("the learning rate is not known: without --lr there is no stability threshold")
    return name, {key: value for key, value in plain(hyper).items() if value is not None}
