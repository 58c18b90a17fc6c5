"""What a point depends on beside the checkpoint, and what can be kept of one when the rule alone is another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.curvature.spectrum import Spectrum
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.options import SharpnessOptions
from opsigcli.records import Provenance
from opsigcli.sharpness_records import SharpnessPoint
from opsigcli.stability.ratio import Stability, plain, stability
from opsigcli.stability.unheld import unheld

if TYPE_CHECKING:
    from opsigcli.stability.measure import Meter

OF_RULE = ("optimizer", "lr", "momentum", "weight_decay", "betas", "eps", "lr_groups")
OF_SPECTRUM = (
    *("top", "tolerance", "max_matvecs", "precision", "seed", "model", "data", "examples", "minibatch"),
    *("all_parameters", "layers", "per_example", "groups", "secant", "spectrum"),
)


def numerics(options: SharpnessOptions, batch_norm: str, mining: Mining | None) -> dict[str, Any]:
    """The options that a point depends on, with statistics of BatchNorm and the groups that are looked at."""
    found: dict[str, Any] = {name: getattr(options, name) for name in (*OF_SPECTRUM, *OF_RULE)}
    found["batch_norm"] = batch_norm
    if mining is not None:
        found["mining"] = mining.digest
    return found


def without_rule(made: Provenance) -> Provenance:
    """What is left of the options without those of the rule: points that share it have the same eigenvalues."""
    return replace(made, options={name: v for name, v in made.options.items() if name not in OF_RULE})


def held_against_rule(meter: Meter, row: int, old: SharpnessPoint) -> SharpnessPoint | None:
    """A point with the threshold of another rule, or of other hyper-parameters; None where it must be solved again.

    λ₁ of the Hessian itself depends on no rule. P⁻¹H does, with its learning rates by group, its second moments and its
    L2 penalty; so do gradients taken elsewhere than at the weights, and another set of weights that train.

    Args:
        meter: with the new rule.
        row: of the trace.
        old: measured there, with all else equal.
    """
    if not old.converged or old.preconditioned is not None or old.partial:
        return None
    meter.settle_rates()
    meter.run.load(row)
    tuning = meter.tuned.at(row)
    rules = [part.rule for part in tuning.parts]
    if (
        not plain(tuning)
        or tuning.clip is not None
        or any(rule.needs_gradient or rule.gradient_at is not None for rule in rules)
    ):
        return None
    meter.train(tuning, meter.movement.moved())
    objective = meter.run.objective
    if old.parameters != sum(p.numel() for p in objective.parameters) or meter.options.all_parameters:
        return None
    values = np.array(old.eigenvalues)
    vectors = objective.parameters[0].new_empty(0)
    spectrum = Spectrum(values, np.array(old.residuals), old.converged, 0, vectors=vectors)
    why = unheld(meter.run.run, objective.model)
    found = Stability(reason=why) if why else stability(tuning, spectrum, None, None)
    batch = old.batch_sharpness
    return replace(
        old,
        threshold=found.threshold,
        ratio=found.ratio,
        reason=found.reason,
        lr=tuning.lr,
        optimizer=", ".join(dict.fromkeys(part.name for part in tuning.parts)),
        notes=tuning.notes,
        settings=tuning.settings,
        batch_ratio=batch / found.threshold if batch is not None and found.threshold else None,
        step_check=meter.step_check(row),
    )
