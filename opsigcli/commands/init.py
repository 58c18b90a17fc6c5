"""``opsig init``: a manifest for checkpoints that something else made, written after a look at whether all fits."""

from __future__ import annotations

import re

from opsigcli.checkpoints import atomic
from opsigcli.checkpoints.manifest import document, write_manifest
from opsigcli.checkpoints.series import open_series
from opsigcli.command_line import next_command
from opsigcli.datasets import open_source
from opsigcli.errors import CheckpointError, UsageError
from opsigcli.options import MANIFEST, InitOptions
from opsigcli.outcome import Outcome
from opsigcli.progress import Progress
from opsigcli.runs.first_manifest import first_manifest
from opsigcli.runs.look import look
from opsigcli.runs.own_config import in_full
from opsigcli.runs.preparation_beside import preparation_beside
from opsigcli.runs.run_specs import absolute_model
from opsigcli.runs.suggest_model import model_hint
from opsigcli.usercode import absolute_spec


def init(options: InitOptions, progress: Progress) -> Outcome:
    """Write ``opsig-run.toml`` into a folder of checkpoints.

    Before that, the weights of the first and the last checkpoint must fit the model, and a sample of the data must
    come out better at the last one than by a guess, where inputs prepared otherwise do.

    Raises:
        UsageError: model or data are not named, there is a manifest already that says something else, or the
            optimizer is not known.
        CheckpointError: checkpoints cannot be read, or there are fewer than two.
        ModelError: the model cannot be built, or the weights do not fit.
        DatasetError: the data cannot be opened.
        ObjectiveError: the losses are not finite, or the data are not those of the run.
    """
    series = open_series(
        options.checkpoints,
        key=options.key,
        weights=options.weights or "",
        order=options.order,
        steps_per_epoch=options.steps_per_epoch,
    )
    old = None if options.fresh else series.manifest
    taken = UsageError(
        f"there is an {MANIFEST} in {series.folder} already", "read it, or replace it with --fresh"
    )
    if old is not None and not (options.model and options.data):
        raise taken
    if len(series) < 2:
        raise CheckpointError(
            f"expected a folder of two or more checkpoints, found one ({series.checkpoints[0].file}) in "
            f"{series.folder}",
            "point opsig at the folder that holds the whole run",
        )
    named = in_full(options.model, series)
    if not named or not options.data:
        lacking = " and ".join(f"--{name}" for name in ("model", "data") if not getattr(options, name))
        raise UsageError(
            f"expected {lacking} for the manifest",
            (not options.model and model_hint(series))
            or "example: opsig init CKPTS --model torchvision:resnet18 --data folder:images/train",
        )
    warnings = list(series.notes)
    source = open_source(options.data)
    model, loss = absolute_model(named), absolute_spec(options.loss)
    manifest = first_manifest(options, series, source, model, loss, warnings)
    if old is not None and document(old) != document(manifest):
        raise taken
    seen = look(series, source, manifest, progress)
    warnings += preparation_beside(series, source)
    seen.require()
    atomic.sweep(series.folder, re.escape(MANIFEST))
    write_manifest(series.folder, manifest)
    path = series.folder / MANIFEST
    return Outcome(
        schema="opsig/init",
        inputs={"options": vars(options) | {"checkpoints": str(options.checkpoints)}},
        result={
            "manifest": str(path),
            "model": manifest.model,
            "data": manifest.data,
            "loss": manifest.loss,
            "optimizer": manifest.optimizer,
            "hyper": manifest.hyper,
            "batch_size": manifest.batch_size,
            "checkpoints": len(series),
            "unit": series.unit,
            "look": seen,
            "fit": list(seen.fits),
        },
        warnings=(*warnings, *seen.fits, *seen.warnings),
        messages=(*seen.messages, f"wrote {path}", next_command("trace", series.folder)),
    )
