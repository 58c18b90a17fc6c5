"""What keeps a step from being checked, before one is made."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from opsigcli.checkpoints.manifest import Manifest, read_manifest
from opsigcli.errors import CheckpointError
from opsigcli.objective.base import Objective
from opsigcli.objective.batch_norm import batch_norms
from opsigcli.runs.stored_run import StoredRun
from opsigcli.runs.tuning import Tuning

LAST = "it is the last checkpoint"
HEAVY = ("momentum", "nesterov", "dampened", "sgdw", "sam")  # which keep their momentum alone
BATCH_BYTES = 4 << 30  # that statistics of all examples together may keep


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of a run's folder; None where there is none that can be read."""
    try:
        return read_manifest(folder)
    except CheckpointError:
        return None


def hindrance(run: StoredRun, manifest: Manifest | None, *, whole: bool) -> str:
    """Why no step of this run can be checked, without looking at one; "" where it can.

    Args:
        run: the run, opened.
        manifest: of its folder.
        whole: all examples make each step, as somebody says.
    """
    if manifest is not None and manifest.fingerprint not in ("", run.run.fingerprint):
        return "the examples are not those that the run was trained on, by their fingerprint"
    if manifest is not None and manifest.augment:
        return (
            f"training changed its examples ({manifest.augment}), and its steps are none of the traced loss"
        )
    if "examples" in run.run.transform:
        return f"the trace is of a subset of the examples ({run.run.transform['examples']})"
    if not run.run.axis.counts_updates and not whole:
        by = run.run.axis.one
        return f"checkpoints are told apart by their {by}, and nothing says that they are one update apart"
    if batch_norms(run.objective.model):
        needed = _batch_bytes(run.objective)
        if needed > BATCH_BYTES:
            return f"BatchNorm over all examples at once would keep {needed / (1 << 30):.0f} GiB"
    return ""


def keeps_state(tuning: Tuning) -> bool:
    """Whether the step depends on a state; that of a rule whose only state is its momentum does not without any."""
    return any(
        part.rule.keeps_state
        and (part.rule.settle(part.hyper).get("momentum", 0.0) > 0 or part.name not in HEAVY)
        for part in tuning.parts
    )


def drawing(model: nn.Module) -> str:
    """The kind of a module that draws at random in training; "" where none does."""
    return next((type(module).__name__ for module in model.modules() if _draws(module)), "")


def _draws(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    rate = vars(module).get("drop_prob", vars(module).get("dropout", 0.0))
    return isinstance(rate, float) and rate > 0


def _batch_bytes(objective: Objective) -> float:
    """What a pass of all examples at once keeps for its gradient, from passes of two and of four."""
    kept = []
    for count in (2, 4):
        total = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        inputs, targets = objective.batch(objective.counted[:count])
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            objective.loss_fn(objective.outputs(inputs), targets)
        kept.append(total)
    return (kept[1] - kept[0]) / 2 * objective.n
