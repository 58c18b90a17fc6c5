"""The verdict on a step by the optimizer's own states, which does not need to know the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from opsigcli.runs.tuning import Tuning
from opsigcli.sharpness_records import CONFIRMED, CONTRADICTED, UNTOLD, StepCheck
from opsigcli.stability.clipped_values import limit_of, limit_told
from opsigcli.stability.state_fits import told
from opsigcli.stability.state_replay import BUFFER, Replay, replay, updates_between
from opsigcli.stability.step_causes import cosine, dot, least_squares, norm, possible
from opsigcli.stability.step_null import FAR, LEAST, OFF, StepNull
from opsigcli.stability.updates import Updates
from opsigcli.stability.weighed import BROADCAST, EVERY, parts_of, possible_weights, weights_told

LESS = 0.9  # of the momentum assumed is another one
NARROW = 0.05  # standard deviation of a momentum that counts as told
SAME = 3.0  # standard deviations
BIAS = 0.5  # of the gradient along the buffer may come of augmentation, dropout and their like
UNLIKE = 0.05  # relative error of a step, above which no arithmetic makes it
GRADIENT = 1e-3  # relative error of a gradient that is explained
WORD = "the optimizer's own states confirm rule, learning rate and averages"
WORD_BLIND = "the optimizer's own states confirm rule and learning rate, not the momentum"


@dataclass(frozen=True)
class StateCheck:
    """What two neighbouring states say of the step between them.

    Attributes:
        updates: of the run.
        row: of the checkpoint.
        tuning: rule, hyper-parameters and state there.
        start: θ (P,).
        step: Δ (P,).
        gradient: of the mean loss over all examples (P,).
        found: the verdict so far, with the bound.
    """

    updates: Updates
    row: int
    tuning: Tuning
    start: Tensor
    step: Tensor
    gradient: Tensor
    found: StepCheck

    def of_rule(self, after: Tuning) -> tuple[StepCheck | None, Replay | None]:
        """A verdict against the rule, or the step made again by it, or neither where the states do not tell.

        Args:
            after: of the next checkpoint.

        Raises:
            CheckpointError: the state is one of another rule.
        """
        between = updates_between(self.tuning, after)
        if between not in (None, 1):
            reason = (
                f"by the optimizer's own count {between:,} updates lie between this checkpoint and the next"
            )
            return replace(self.found, verdict=UNTOLD, reason=reason), None
        again = replay(self.updates, self.tuning, after, self.start, self.step)
        if again is None:
            return None, None
        bound = self.found.bound or 0.0
        if again.fits(bound):
            return None, again
        words = self._told(after, again)
        if words:
            reason = f"weights and states of the optimizer are those of {', '.join(words)}"
            return replace(self.found, verdict=CONTRADICTED, reason=reason), None
        if again.error <= UNLIKE:  # the states may have been kept in fewer bits
            return None, None
        reason = f"the rule does not make the step of the gradient that its own states imply (off by {again.error:.2g})"
        return replace(self.found, verdict=CONTRADICTED, reason=reason), None

    def _told(self, after: Tuning, again: Replay) -> list[str]:
        """The hyper-parameters that would make the step, by group where there are several."""
        names, sizes = self.updates.objective.parameter_names, self.updates.sizes()
        starts = dict(zip(names, torch.split(self.start, sizes), strict=True))
        steps = dict(zip(names, torch.split(self.step, sizes), strict=True))
        bound = self.found.bound or 0.0
        groups: dict[str, list[str]] = {}  # of which each word holds
        for part in self.tuning.parts:
            own = [name for name in part.parameters if name in starts]
            words = told(
                part,
                [self.tuning.state.get(name, {}) for name in own],
                [after.state.get(name, {}) for name in own],
                torch.cat([starts[name] for name in own]),
                torch.cat([steps[name] for name in own]),
                bound,
            )
            for word in words:
                groups.setdefault(word, []).append(part.label)
        count = len(self.tuning.parts)
        found = [word if len(of) == count else f"{word} ({', '.join(of)})" for word, of in groups.items()]
        if found or again.odd:
            return found
        (scale,), error = least_squares(self.step, [again.step])
        if error > bound or not possible(lr=scale):
            return []
        lr = self.tuning.lr
        return [f"learning rates {scale:.4g} times those assumed" if lr is None
                else f"a learning rate of {scale * lr:.4g} instead of {lr:.4g}"]  # fmt: skip

    def of_gradient(self, again: Replay, extra: Mapping[str, Tensor]) -> str:
        """What makes the gradient that the states imply of that of all examples; "" where nothing does.

        Args:
            again: the step made again.
            extra: directions ``matrices`` and ``smoothing``, and parts of the gradient, as for ``find_cause``.
        """
        decay, coupled = self._decay()
        for name, word in (("weights", ""), ("matrices", " of the matrices alone"), ("smoothing", "")):
            column = self.start if name == "weights" else extra.get(name)
            if column is None:
                continue
            (scale, along), error = least_squares(again.gradient, [self.gradient, column])
            share = along / scale if scale else math.nan
            if error > GRADIENT or abs(along) * norm(column) <= GRADIENT * norm(again.gradient):
                continue
            if name == "smoothing" and possible(lr=scale, share=share):
                return f"label smoothing of {share:.3g}"
            seen = decay + along
            if name != "smoothing" and possible(lr=scale, weight_decay=seen):
                return (
                    f"a weight decay{word} of {seen:.3g} instead of {decay:.3g}" if coupled
                    else f"an L2 penalty{word} of {seen:.3g} in the loss, beside the decoupled decay"
                )  # fmt: skip
        if EVERY in extra and least_squares(again.gradient, [extra[EVERY]])[1] <= GRADIENT:
            return BROADCAST
        limit = limit_of(again.gradient, self.gradient)
        if norm(again.gradient - self.gradient.clamp(-limit, limit)) <= GRADIENT * norm(again.gradient):
            return limit_told(limit)
        parts = parts_of(extra)
        if parts:
            weights, error = least_squares(again.gradient, [extra[name] for name in parts])
            if error <= GRADIENT and possible_weights(weights):
                return weights_told(parts, weights)
        return ""

    def of_quiet(self, again: Replay) -> str:
        """Weight decay other than assumed, seen on weights that have no gradient; "" where none is."""
        quiet = (self.gradient == 0) & (self.start != 0)
        count = int(quiet.sum())
        decay, coupled = self._decay()
        if count < LEAST or not coupled:
            return ""
        made, start = again.gradient[quiet].double(), self.start[quiet].double()
        along = float(made @ start) / float(start @ start)
        seen = decay + along
        if float((made - along * start).norm()) > OFF * float(made.norm()) or abs(along) <= OFF * max(
            decay, seen
        ):
            return ""
        return f"{count:,} weights without gradient show a weight decay of {max(seen, 0):.3g} instead of {decay:.3g}"

    def blind(self, after: Tuning) -> bool:
        """Whether the states would fit another momentum as well."""
        parts = tuple(
            replace(part, hyper=part.hyper | {"momentum": LESS * settled["momentum"]})
            for part in self.tuning.parts
            if (settled := part.rule.settle(part.hyper)).get("momentum")
        )
        if len(parts) < len(self.tuning.parts):
            return False
        again = replay(self.updates, replace(self.tuning, parts=parts), after, self.start, self.step)
        return again is not None and again.fits(self.found.bound or 0.0)

    def unseen(self, *, blind: bool) -> str:
        """What is given other than the checkpoint has it and shows in the gradient alone; "" where nothing is."""
        words = (*(["--momentum"] if blind else []), *(["--weight-decay"] if self._decay()[1] else []))
        return next((note for note in self.tuning.notes if note.startswith(words)), "") if words else ""

    def of_batches(self, again: Replay, batch: int, seed: int, *, blind: bool) -> StepCheck:
        """The verdict on a rule that the states confirm, by the gradients of random batches.

        Args:
            again: the step made again.
            batch: examples in one.
            seed: of the batches.
            blind: the momentum is not told by the states.
        """
        names, sizes = self.updates.objective.parameter_names, self.updates.sizes()
        null = StepNull(again.gradient, self.gradient, self.gradient, self.start, sizes, names)
        drawn = []
        buffer = self._buffer() if blind else None
        for draw in range(null.draws):
            self.updates.run.load(self.row)
            one = self.updates.make(self.row, None, {}, batch, seed + 1 + draw).gradient
            null.add(one)
            drawn.append(dot(one, buffer) if buffer is not None else 0.0)
        word = f"{WORD_BLIND if blind else WORD} (the step is off by {again.error:.1g} from that of their gradient)"
        close = bool((null.far() <= FAR).all())
        said = (
            f"that gradient's cosine with that of all examples is {null.found[1]:.3f}, its length along it "
            f"{null.found[0]:.2f}; {null.draws} random batches of {batch:,} have "
            f"{min(n[1] for n in null.null):.3f} to {max(n[1] for n in null.null):.3f} and "
            f"{min(n[0] for n in null.null):.2f} to {max(n[0] for n in null.null):.2f}"
        )
        found = replace(self.found, relative_error=again.error, cosine=cosine(self.step, again.step))
        if blind:
            return self._of_momentum(again, buffer, np.array(drawn), found, f"{word}; {said}", close=close)
        if close and (note := self.unseen(blind=False)):
            return replace(self.found, verdict=UNTOLD, reason=f"{word}; {said}; they do not tell all: {note}")
        if close:
            return replace(found, verdict=CONFIRMED, reason=f"{word}; {said}")
        causes = "gradient clipping, another batch size, augmentation, dropout, another loss or other data"
        return replace(self.found, verdict=UNTOLD, reason=f"{word}, but {said}: likely {causes}")

    def _of_momentum(
        self,
        again: Replay,
        buffer: Tensor | None,
        drawn: np.ndarray,
        found: StepCheck,
        word: str,
        *,
        close: bool,
    ) -> StepCheck:
        """The verdict where the momentum β shows in the gradient alone: ``m(t+1) − k g = β m(t)``, g of any batch."""
        settled = self.tuning.parts[0].rule.settle(self.tuning.parts[0].hyper)
        beta, dampening = settled["momentum"], settled.get("dampening", 0.0)
        newest = 1 - (beta if dampening is None else dampening)
        squares = dot(buffer, buffer) if buffer is not None else 0.0
        if buffer is None or not squares:
            return replace(self.found, verdict=UNTOLD, reason=f"{word}; the momentum cannot be told")
        seen = beta + newest * (dot(again.gradient, buffer) - dot(self.gradient, buffer)) / squares
        spread = newest * float(drawn.std(ddof=1)) / squares
        allowed = BIAS * newest * abs(dot(self.gradient, buffer)) / squares
        text = f"the momentum seems to be {seen:.3f} ± {spread:.3f}, {beta:.3g} is assumed"
        if abs(seen - beta) > FAR * spread + allowed:
            return replace(self.found, verdict=CONTRADICTED, reason=f"{text}; {word}")
        if close and spread <= NARROW and abs(seen - beta) <= SAME * spread:
            return replace(found, verdict=CONFIRMED, reason=f"{word}; {text}")
        return replace(self.found, verdict=UNTOLD, reason=f"{word}; {text}, which is not told well enough")

    def _buffer(self) -> Tensor | None:
        names = self.updates.objective.parameter_names
        found = [b for name in names if (b := self.tuning.state.get(name, {}).get(BUFFER)) is not None]
        return torch.cat([b.reshape(-1).to(self.start) for b in found]) if len(found) == len(names) else None

    def _decay(self) -> tuple[float, bool]:
        """The weight decay that is assumed for all, and whether it is a penalty in the gradient."""
        settled = [(part.rule, part.rule.settle(part.hyper)) for part in self.tuning.parts]
        decays = {values.get("weight_decay", 0.0) for _, values in settled}
        bare = all(
            rule.name not in ("adamw", "sgdw") and not values.get("decoupled_weight_decay")
            for rule, values in settled
        )
        return (decays.pop() if len(decays) == 1 else math.nan), bare
