"""``opsig init``: a manifest for checkpoints that something else made, written after checking that all fits."""

from __future__ import annotations

import math
import re

from opsigcli.checkpoints import atomic
from opsigcli.checkpoints.manifest import Row, document, write_manifest
from opsigcli.checkpoints.series import Series, open_series
from opsigcli.datasets import open_source
from opsigcli.errors import CheckpointError, ObjectiveError, UsageError
from opsigcli.objective.independence import refuse_coupling
from opsigcli.options import MANIFEST, InitOptions
from opsigcli.outcome import Outcome, plain
from opsigcli.progress import Progress
from opsigcli.runs.build_objective import build_objective
from opsigcli.runs.load_weights import Loader
from opsigcli.runs.optimizer_state import recognise
from opsigcli.runs.run_specs import absolute_model, signed_manifest
from opsigcli.runs.suggest_model import model_hint
from opsigcli.usercode import absolute_spec

BATCH = 64  # examples whose loss is computed to see that all fits


def init(options: InitOptions, progress: Progress) -> Outcome:
    """Write ``opsig-run.toml`` into a folder of checkpoints.

    Before that, the weights of the first and the last checkpoint must fit the model, and the loss of one batch must
    be finite at both.

    Raises:
        UsageError: model or data are not named, or there is a manifest already that says something else.
        CheckpointError: checkpoints cannot be read, or there are fewer than two.
        ModelError: the model cannot be built, or the weights do not fit.
        DatasetError: the data cannot be opened.
        ObjectiveError: the loss of a batch is not finite.
    """
    series = open_series(
        options.checkpoints, key=options.key, weights=options.weights or "", order=options.order
    )
    old = None if options.fresh else series.manifest
    taken = UsageError(
        f"there is a {MANIFEST} in {series.folder} already", "read it, or replace it with --fresh"
    )
    if old is not None and not (options.model and options.data):
        raise taken
    if len(series) < 2:
        raise CheckpointError(
            f"expected a folder of two or more checkpoints, found one ({series.checkpoints[0].file}) in "
            f"{series.folder}",
            "point opsig at the folder that holds the whole run",
        )
    if not options.model or not options.data:
        lacking = " and ".join(f"--{name}" for name in ("model", "data") if not getattr(options, name))
        raise UsageError(
            f"expected {lacking} for the manifest",
            (not options.model and model_hint(series))
            or "example: opsig init CKPTS --model torchvision:resnet18 --data folder:images/train",
        )
    warnings = list(series.notes)
    source = open_source(options.data)
    model, loss = absolute_model(options.model), absolute_spec(options.loss)
    objective = build_objective(model, source, loss, device="cpu", batch_size=BATCH)
    loader = Loader(objective.model, options.partial)
    means = {}
    with progress.task("check", 2, "checkpoint") as task:
        for index in (0, len(series) - 1):
            checkpoint = series.checkpoints[index]
            loader.load(series.read(index), checkpoint.file)
            refuse_coupling(objective, checkpoint.file)
            means[checkpoint.file] = objective.mean_loss(objective.counted[:BATCH])
            if not math.isfinite(means[checkpoint.file]):
                raise ObjectiveError(
                    f"expected a finite loss on the first {min(BATCH, objective.n)} examples, found "
                    f"{means[checkpoint.file]} at {checkpoint.file}",
                    "check that --model, --data and --loss belong to these checkpoints",
                )
            task.advance(note=f"{checkpoint.file}: mean loss {means[checkpoint.file]:.4f}")
    warnings += loader.fits
    optimizer = recognise(series)
    if optimizer.reason:
        warnings.append(f"optimizer: {optimizer.reason}")
    manifest = signed_manifest(
        source,
        model=model,
        loss=loss,
        optimizer=optimizer.name,
        hyper=dict(plain(optimizer.hyper)),
        key=series.key,
        weights=series.weights,
        partial=options.partial,
        checkpoints=tuple(_rows(series)),
    )
    if old is not None and document(old) != document(manifest):
        raise taken
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
            "checkpoints": len(series),
            "mean_losses_of_a_batch": means,
            "fit": loader.fits,
        },
        warnings=tuple(warnings),
        messages=(f"wrote {path}", f"next: opsig trace {series.folder}"),
    )


def _rows(series: Series) -> list[Row]:
    return [
        Row(c.file, c.step, None if c.epoch is None else float(c.epoch), c.lr, series.sha256(index))
        for index, c in enumerate(series)
    ]
