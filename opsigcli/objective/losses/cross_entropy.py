"""``ce``, ``nll``, ``focal`` and ``gce``: losses of labels, with weights of classes and a label that is ignored."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from opsigcli.errors import ObjectiveError, UsageError
from opsigcli.examples import IGNORED
from opsigcli.objective.losses.base import Configurable, Loss, constants, mean_of_labelled
from opsigcli.query import choice, integer, numbers
from opsigcli.specs import Spec

# Outputs (B, C, …), targets (B, …), weights of the classes or None -> weighted losses (B, …), 0 where ignored.
Entries = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class OfLabels:
    """A loss of labels, whose mean is torch's: ``L = Σ_p w_{y_p} ℓ_p / Σ_p w_{y_p}`` over labelled entries p.

    An example's own loss is the same over its own entries, and it counts by its own ``Σ_p w_{y_p}``; one whose
    entries all have classes of weight 0 has the plain mean as its loss, and does not count.

    Args:
        entries: the losses of entries.
        weight: (C,) of each class; () = all alike.
    """

    entries: Entries
    weight: tuple[float, ...] = ()

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example, (B,); NaN where its label is ignored."""
        outputs = per_label(outputs, targets)
        if targets.is_floating_point() or not self.weight:
            weight = constants(self.weight)(outputs) if self.weight else None
            return mean_of_labelled(self.entries(outputs, targets, weight), targets)
        counted = self._by_class(targets, outputs).flatten(1 if targets.ndim > 1 else 0)
        whole = counted.sum(1) if targets.ndim > 1 else counted
        weighted = self.entries(outputs, targets, constants(self.weight)(outputs))
        weighted = weighted.flatten(1).sum(1) if targets.ndim > 1 else weighted
        plain = mean_of_labelled(self.entries(outputs, targets, None), targets)
        own = torch.where(whole > 0, weighted / torch.where(whole > 0, whole, 1), plain)
        return own.masked_fill((targets == IGNORED).reshape(len(targets), -1).all(1), torch.nan)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The own loss of each entry, (B, …), 0 where it is ignored."""
        if not self.weight:
            return self.entries(outputs, targets, None)
        counted = self._by_class(targets, outputs)
        weighted = self.entries(outputs, targets, constants(self.weight)(outputs))
        plain = self.entries(outputs, targets, None)
        return torch.where(counted > 0, weighted / torch.where(counted > 0, counted, 1), plain)

    def counts(self, targets: Tensor) -> Tensor | None:
        """``Σ_p w_{y_p}`` of each example, (B,) float64."""
        if targets.is_floating_point() or (targets.ndim == 1 and not self.weight):
            return None
        each = self._by_class(targets, targets.double()) if self.weight else (targets != IGNORED).double()
        return each.reshape(len(targets), -1).sum(1)

    def _by_class(self, targets: Tensor, like: Tensor) -> Tensor:
        """w of each label, 0 where it is ignored."""
        found = constants(self.weight)(like)[targets.clamp(0, len(self.weight) - 1)]
        return found * (targets != IGNORED)

    @property
    def words(self) -> str:
        """What examples count by."""
        if not self.weight:
            return "its labelled entries"
        return f"the weight of its class ({', '.join(f'{w:g}' for w in self.weight)}), summed over its labels"


def per_label(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs (B, C, 1, …) as (B, C) where each example has one label.

    Raises:
        ObjectiveError: there are outputs for several places, and one label.
    """
    if targets.ndim == 1 and outputs.ndim > 2 and not targets.is_floating_point():
        if math.prod(outputs.shape[2:]) != 1:
            raise ObjectiveError(
                f"expected outputs (B, C) for labels (B,), found {tuple(outputs.shape)}",
                "let the model put out one row of classes for each example; for outputs (B, L, C), labels are (B, L)",
            )
        return outputs.flatten(1)
    return outputs


def class_weights(spec: Spec) -> tuple[float, ...]:
    """``weight=0.2,1,5``: one number for each class.

    Raises:
        UsageError: one is negative, or all are 0.
    """
    weight = numbers(spec, "weight", ())
    if any(w < 0 for w in weight) or (weight and not any(weight)):
        raise UsageError(
            f"in {str(spec)!r}: expected weight to be numbers of at least 0, not all 0, one for each class",
            "change weight=…",
        )
    return weight


def fraction(spec: Spec, key: str, default: float) -> float:
    """A number from 0 to 1.

    Raises:
        UsageError: it is another one.
    """
    found = numbers(spec, key, (default,))
    if len(found) != 1 or not 0 <= found[0] <= 1:
        raise UsageError(f"in {str(spec)!r}: expected {key} to be a number from 0 to 1", f"change {key}=…")
    return found[0]


def ignored(spec: Spec) -> int:
    """``ignore_index=255``: the label that says to ignore, beside -100."""
    return integer(spec, "ignore_index", IGNORED, minimum=-(1 << 31))


def smoothed(spec: Spec, weight: tuple[float, ...]) -> float:
    """``label_smoothing=0.1``.

    Raises:
        UsageError: it is no number from 0 to 1, or meets a class of weight 0, whose smoothed loss has no weight.
    """
    smoothing = fraction(spec, "label_smoothing", 0.0)
    if smoothing and 0 in weight:
        raise UsageError(
            f"in {str(spec)!r}: expected no class of weight 0 beside label_smoothing: torch then adds losses to the "
            "mean that count for nothing in its denominator",
            "give such a class a small weight, or leave its examples out",
        )
    return smoothing


def entries_of_logits(smoothing: float) -> Entries:
    """Cross-entropy of each entry as ``torch.nn.functional.cross_entropy`` has it."""

    def entries(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        return F.cross_entropy(outputs, targets, weight, reduction="none", label_smoothing=smoothing)

    return entries


def cross_entropy(spec: Spec) -> Loss:
    """Cross-entropy of each example in nats, ``log Σ_c exp z_c − z_y``.

    Outputs are logits (B, C, …), targets class labels (B, …), or class probabilities (B, C, …). With
    ``label_smoothing=ε`` the label's one-hot vector is mixed with ε/C of every class. ``of=probabilities`` takes
    outputs p that a softmax made, ``−log p_y``; ``of=logits`` says that what looks like those are logits.
    """
    weight, of = class_weights(spec), choice(spec, "of", "", ("logits", "probabilities"))
    smoothing = smoothed(spec, weight)
    entries = entries_of_logits(smoothing)
    if of == "probabilities":
        # log p are logits of the same p, whose log-sum-exp is 0.
        return replace(
            _loss(spec, lambda p, y, w: entries(p.log(), y, w), weight), takes="probabilities of classes"
        )
    return replace(_loss(spec, entries, weight), takes="" if of else "logits")


def negative_log_likelihood(spec: Spec) -> Loss:
    """``−z_y`` for outputs (B, C, …) that are log-probabilities already, as of a model that ends in log_softmax."""

    def entries(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        return F.nll_loss(outputs, targets, weight, reduction="none")

    return replace(_loss(spec, entries, class_weights(spec)), takes="log-probabilities", dense="")


def focal(spec: Spec) -> Loss:
    """``(1 − p_y)^γ (−log p_y)`` with softmax probabilities p.

    Raises:
        UsageError: an option has a wrong value.

    Reference: Lin et al. 2017, arXiv 1708.02002, equation 4; weights of classes enter the mean as those of ``ce``.
    """
    gamma = numbers(spec, "gamma", (2.0,))
    if len(gamma) != 1 or gamma[0] < 0:
        raise UsageError(f"in {str(spec)!r}: expected gamma to be a number of at least 0", "change gamma=…")

    def entries(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        log_p = F.log_softmax(outputs, 1)
        surprise = F.nll_loss(log_p, targets, reduction="none")
        # 1 − p from log p keeps its digits near p = 1; powers of 0 would have no derivatives.
        rest = -torch.expm1(-surprise).clamp_max(-torch.finfo(surprise.dtype).tiny)
        found = rest ** gamma[0] * surprise if gamma[0] else surprise
        return found if weight is None else found * weight[targets.clamp(0, len(weight) - 1)]

    return replace(_loss(spec, entries, class_weights(spec)), dense="")


def generalised(spec: Spec) -> Loss:
    """``(1 − p_y^q) / q`` with softmax probabilities p: at most 1/q; cross-entropy as q → 0, ``1 − p_y`` at q = 1.

    Raises:
        UsageError: an option has a wrong value.

    Reference: Zhang & Sabuncu 2018, arXiv 1805.07836, equation 6; weights of classes enter the mean as those of ``ce``.
    """
    q = fraction(spec, "q", 0.7)
    if not q:
        raise UsageError(
            f"in {str(spec)!r}: expected q above 0, up to 1", "q=0 is cross-entropy: use --loss ce"
        )

    def entries(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        surprise = F.nll_loss(F.log_softmax(outputs, 1), targets, reduction="none")
        found = -torch.expm1(-q * surprise) / q  # 0 with 0 derivatives where the label is ignored
        return found if weight is None else found * weight[targets.clamp(0, len(weight) - 1)]

    return replace(_loss(spec, entries, class_weights(spec)), dense="")


def _loss(spec: Spec, entries: Entries, weight: tuple[float, ...]) -> Loss:
    found = OfLabels(entries, weight)
    return Loss(
        found,
        classes=lambda outputs: outputs.shape[1] if outputs.ndim > 1 else 1,
        of_maps=True,
        dense="of classes",
        counts=found.counts,
        counts_by=found.words,
        ignores=True,
        ignore_index=ignored(spec),
    )


CROSS_ENTROPY = Configurable(cross_entropy, ("label_smoothing", "weight", "ignore_index", "of"))
NLL = Configurable(negative_log_likelihood, ("weight", "ignore_index"))
FOCAL = Configurable(focal, ("gamma", "weight", "ignore_index"))
GCE = Configurable(generalised, ("q", "weight", "ignore_index"))
