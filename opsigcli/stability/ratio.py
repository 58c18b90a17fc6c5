"""The stability ratio at a checkpoint: its sharpness over the threshold of the run's optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opsigcli.curvature.spectrum import Spectrum
from opsigcli.derivatives.hvp import HessianOperator
from opsigcli.optimizers.base import norm_of
from opsigcli.runs.tuning import Clip, Part, Tuning
from opsigcli.sharpness_records import NO_STEP

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.objective.base import Objective

UNSEEN = 0.5  # of the squared eigenvector in weights without a gradient, from which a ratio says nothing
GD = 2.0  # the threshold of gradient descent at a learning rate of 1
EQUAL = 1e-9  # relative difference of thresholds that rounding makes
BOUND = 1e-3  # of the threshold, up to which L2 penalties that differ are averaged instead of solved for


@dataclass(frozen=True)
class Stability:
    """Threshold and ratio at one checkpoint, or why there are none."""

    threshold: float | None = None
    ratio: float | None = None
    preconditioned: float | None = None
    matvecs: int = 0
    reason: str = ""
    units: str = ""  # of threshold and preconditioned sharpness, where they are not those of one rule for all


@dataclass(frozen=True)
class _Limit:
    """Where one parameter alone becomes unstable: λ + penalty, over its preconditioner, against threshold."""

    threshold: float
    unit: float  # the threshold at a learning rate of 1, without weight decay
    penalty: float  # what an L2 penalty adds to λ

    @staticmethod
    def of(part: Part) -> _Limit:
        rule, hyper = part.rule, part.hyper
        free = {name: 0.0 if name == "weight_decay" else value for name, value in hyper.items()}
        bare = rule.stability_threshold(free)
        whole, decay = rule.stability_threshold(hyper), float(hyper.get("weight_decay", 0.0))
        unit = rule.stability_threshold({**free, "lr": 1.0})
        if rule.preconditions:
            return _Limit(whole, unit, rule.shift(hyper))
        if math.isclose(bare - whole, decay, rel_tol=1e-6, abs_tol=1e-12 * bare):  # the penalty lowers it
            return _Limit(bare, unit, decay)
        return _Limit(whole, unit, 0.0)


def uniform(tuning: Tuning) -> bool:
    """One rule with one set of hyper-parameters updates all parameters that train."""
    return all(
        part.name == tuning.parts[0].name and part.hyper == tuning.parts[0].hyper for part in tuning.parts
    )


def plain(tuning: Tuning) -> bool:
    """The largest eigenvalue of H itself, or none at all, is what is held against a threshold."""
    return not tuning.parts or (uniform(tuning) and not tuning.parts[0].rule.preconditions)


def stability(
    tuning: Tuning,
    spectrum: Spectrum,
    operator: HessianOperator | None,
    solve: Callable[[HessianOperator], Spectrum] | None,
) -> Stability:
    """``λmax(H) / threshold``, or ``λmax(P⁻¹(H + shift·I)) / threshold`` for a rule that preconditions with P.

    Where rules or hyper-parameters differ by parameter, each parameter i alone has a threshold ``T_i``, and the
    iteration as a whole leaves stability through the eigenvalue −1, where ``λmax(T^-½ P^-½ (H + W) P^-½ T^-½) = 1``:
    for every momentum of a linear rule, ``Im((z − 1)/F_i(z))`` has one sign on the upper half of the unit circle, so
    there is no other way out. Multiplied by c, the common threshold at a learning rate of 1, that is
    ``λmax(D^½ H D^½)`` against c, D the learning rates. W are the L2 penalties; decoupled decay is in ``T_i``.

    Args:
        tuning: of the checkpoint.
        spectrum: of H.
        operator: H at the weights of the checkpoint, over the parameters that train; None where the rule is ``plain``
            and needs no gradient.
        solve: finds the largest eigenvalue; None likewise.

    Raises:
        CurvatureError: the preconditioner is not positive, or memory is too small.
    """
    if not tuning.parts or tuning.reason:
        return Stability(reason=tuning.reason)
    limits = [_Limit.of(part) for part in tuning.parts]
    if all(math.isinf(limit.threshold) for limit in limits):  # a learning rate of 0
        return Stability(reason=NO_STEP)
    for part, limit in zip(tuning.parts, limits, strict=True):
        if limit.threshold - (0 if part.rule.preconditions else limit.penalty) <= 0:
            return Stability(reason=_unstable(part))
    sharpness = float(spectrum.eigenvalues[0])
    needed = tuning.clip is not None or any(part.rule.needs_gradient for part in tuning.parts)
    gradient = operator.objective.mean_loss_and_gradient()[1] if needed and operator else []
    magnified = tuning.parts[0].rule.magnified(sharpness, gradient, tuning.parts[0].hyper)
    shortened, note = _shortened(tuning.clip, gradient)
    magnified *= shortened
    if plain(tuning):
        threshold = tuning.parts[0].rule.stability_threshold(tuning.parts[0].hyper) / magnified
        return Stability(threshold, sharpness / threshold, reason=note)
    assert operator is not None
    assert solve is not None
    reference, units = _reference(tuning, limits)
    weights, unseen, lacking = _weights(tuning, limits, reference, operator.objective, gradient)
    if weights is None:
        why = tuning.unusable or f"the checkpoint has no {lacking}"
        return Stability(reason=f"no ratio: {why}")
    penalty = _by_parameter(tuning, [limit.penalty for limit in limits], operator.objective)
    if not any(part.rule.preconditions for part in tuning.parts) and bool((weights == 1).all()):
        least, most = float(penalty.min()), float(penalty.max())
        if most - least <= BOUND * reference:  # then the top eigenvector hardly changes
            threshold = reference - float((spectrum.vectors[0].cpu().double().square() * penalty.cpu()).sum())
            threshold /= magnified
            return Stability(
                threshold,
                sharpness / threshold,
                reason="; ".join(
                    filter(
                        None,
                        (
                            "weight decay differs by group, which is averaged: an error of at most "
                            f"{(most - least) / reference:.1e} of the ratio",
                            note,
                        ),
                    )
                ),
            )
    if stepping := next((part.name for part in tuning.parts if part.rule.magnify is not None), ""):
        return Stability(reason=f"no threshold: {stepping} is not solved with parameter groups that differ")
    even = bool((penalty == penalty[0]).all())
    shift = float(penalty[0]) if even else penalty.to(operator.objective.device, operator.objective.dtype)
    scaled = operator.preconditioned(weights.to(operator.objective.device, operator.objective.dtype), shift)
    found = solve(scaled)
    value = float(found.eigenvalues[0])
    hidden = float(found.vectors[0].cpu().double().square()[unseen.cpu()].sum())
    if hidden > UNSEEN:
        reason = (
            f"no ratio: {hidden:.0%} of the preconditioned eigenvector is in weights whose second moment is 0; "
            "the run had no gradient there, as if it had not seen such examples, or 8 bits were too few for it"
        )
        return Stability(reference, None, value, found.matvecs, reason, units)
    reasons = (f"preconditioned: {found.reason}" if found.reason else "", note)
    reference /= shortened
    return Stability(
        reference, value / reference, value, found.matvecs, "; ".join(filter(None, reasons)), units
    )


def _shortened(clip: Clip | None, gradient: list[Tensor]) -> tuple[float, str]:
    """``min(1, c/‖g‖)``, by which clipping shortens a step, and curvature as the rule sees it; and what to say of it.

    Across the gradient, whose length is taken to stay as it is, a clipped step is one with a learning rate so much
    smaller. The norms of batches are not known, and are longer than that of all examples.
    """
    if clip is None:
        return 1.0, ""
    if not clip.whole:
        return 1.0, (
            f"gradients of batches were clipped to {clip.norm:g}: where that acted, the threshold is higher"
        )
    norm = norm_of(gradient)
    if norm <= clip.norm or not clip.norm:
        return 1.0, ""
    return clip.norm / norm, (
        f"the gradient is clipped from {norm:.3g} to {clip.norm:g}: the threshold is that of so low a learning rate"
    )


def _unstable(part: Part) -> str:
    lr, decay = part.hyper["lr"], part.hyper.get("weight_decay", 0.0)
    return (
        f"no ratio: unstable at any sharpness: with lr {lr:g} and weight decay {decay:g} ({part.label}) the decay "
        "alone makes weights grow; check --weight-decay"
    )


def _reference(tuning: Tuning, limits: list[_Limit]) -> tuple[float, str]:
    """The threshold that all parameters are brought to, and what it is in units of."""
    if uniform(tuning):
        return limits[0].threshold, ""
    same_unit = all(math.isclose(limit.unit, limits[0].unit, rel_tol=EQUAL) for limit in limits)
    preconditioned = "P^-½ H P^-½" if any(part.rule.preconditions for part in tuning.parts) else "H"
    if same_unit and len({part.hyper["lr"] for part in tuning.parts}) == 1:
        return min(limit.threshold for limit in limits), ""
    if same_unit:
        rates = ", ".join(f"{lr:g}" for lr in sorted({part.hyper["lr"] for part in tuning.parts}))
        return limits[0].unit, (
            f"the parameter groups differ in lr ({rates}): λmax(D^½ {preconditioned} D^½) with D the learning rates, "
            f"against {limits[0].unit:g}"
        )
    names = ", ".join(dict.fromkeys(f"{part.name} ({part.label})" for part in tuning.parts))
    return GD, (
        f"the parameter groups differ in rule or momentum ({names}): λmax(D^½ {preconditioned} D^½) with D = 2 / "
        "threshold of each parameter alone, against 2"
    )


def _by_parameter(tuning: Tuning, values: list[float], objective: Objective) -> Tensor:
    """A value of each part over its parameters, flat (P,)."""
    import torch

    own = {name: value for part, value in zip(tuning.parts, values, strict=True) for name in part.parameters}
    pieces = [
        torch.full((p.numel(),), own[name], dtype=torch.float64)
        for name, p in zip(objective.parameter_names, objective.parameters, strict=True)
    ]
    return torch.cat(pieces)


def _weights(
    tuning: Tuning, limits: list[_Limit], reference: float, objective: Objective, gradient: list[Tensor]
) -> tuple[Tensor | None, Tensor, str]:
    """``p_i T_i / reference`` flat (P,), where a second moment is 0, and the rule that lacks them."""
    import torch

    found: list[Tensor] = []
    unseen: list[Tensor] = []
    place = {name: n for n, part in enumerate(tuning.parts) for name in part.parameters}
    for at, (name, p) in enumerate(zip(objective.parameter_names, objective.parameters, strict=True)):
        part, limit = tuning.parts[place[name]], limits[place[name]]
        own = torch.ones(p.numel(), dtype=torch.float64)
        zero = torch.zeros(p.numel(), dtype=torch.bool)
        by_tensor = part.rule.tensor_preconditioner([p], gradient[at : at + 1], part.hyper)
        if by_tensor is not None:
            own = by_tensor.cpu().double()
        elif part.rule.preconditions:
            entry: Any = tuning.state.get(name)
            made = part.rule.preconditioner({name: entry}, part.hyper, [tuple(p.shape)]) if entry else None
            if made is None:
                return (
                    None,
                    zero,
                    f"{'second moments' if part.rule.second_moment else 'state'} of {part.name}",
                )
            own = made.detach().cpu()
            if part.rule.second_moment in entry:
                zero = entry[part.rule.second_moment].reshape(-1).cpu() == 0
        found.append(own if uniform(tuning) else own * (limit.threshold / reference))
        unseen.append(zero)
    return torch.cat(found), torch.cat(unseen), ""
