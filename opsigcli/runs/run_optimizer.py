"""The optimizer of a run, with its hyper-parameters and its state at a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.errors import CheckpointError
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.optimizers.base import Optimizer, plain_value
from opsigcli.optimizers.recognise import Recognised, common_keys, recognise
from opsigcli.optimizers.spelling import meant
from opsigcli.options import MANIFEST
from opsigcli.records import Run
from opsigcli.runs.given_hyper import changes, hyper_text, rate_of, rates_of, require_rates, settings_of
from opsigcli.runs.optimizer_state import saved_optimizer, state_by_parameter
from opsigcli.runs.parameter_groups import Assignment, Evidence, Group, Moving, assign, parameter_groups
from opsigcli.runs.state_values import require_numbers
from opsigcli.runs.tuning import Part, Tuning
from opsigcli.runs.what_trains import nothing, what_trains

if TYPE_CHECKING:
    from torch import Tensor, nn

    from opsigcli.objective.base import Objective

NO_OPTIMIZER = "no threshold: the optimizer is not known; give --optimizer and --lr"
OF_ANOTHER = "the checkpoint has no optimizer, and is judged by the settings that another one has"
NO_RATE = "no threshold: the learning rate is not known; give --lr"


def undecided(candidates: list[Assignment]) -> int | None:
    """No evidence."""
    return None


class RunOptimizer:
    """The optimizer that a run was made with, or the one that is given instead.

    Args:
        run: its optimizer and hyper-parameters, for checkpoints that say nothing themselves.
        name: of another optimizer; None is the run's.
        given: hyper-parameters that are used whatever run and checkpoints say; None where nothing is given.
        lr_groups: learning rates by group (``0.1,0.01``) or by parameter (``body=0.1,head=0.01``).
        lrs: at the checkpoints of the run, NaN where unknown: a run whose lr changes tells nothing about a
            checkpoint that does not.

    Raises:
        UsageError: there is no optimizer of that name, or ``lr_groups`` is not understood.
    """

    def __init__(
        self,
        run: Run,
        name: str | None,
        given: Mapping[str, Any],
        lr_groups: str | None = None,
        lrs: Sequence[float] = (),
    ) -> None:
        self.asked = name
        self._given = {key: value for key, value in given.items() if value is not None}
        self.name = meant(name or run.optimizer, run.hyper | self._given)[0] if name or run.optimizer else ""
        self.rule: Optimizer | None = OPTIMIZERS.load(self.name) if self.name else None  # None when not known
        self.unusable = ""  # why the state of a checkpoint cannot be used
        self._of_run = dict(run.hyper) if self.name == run.optimizer else {}
        self._lr_groups = rates_of(lr_groups) if lr_groups else {}
        # Where nobody wrote the run's settings down, they are those of whichever checkpoint has some.
        folder = Path(run.checkpoints)
        self._borrowed = bool(self._of_run) and folder.is_dir() and not (folder / MANIFEST).exists()
        self._scheduled = changes(lrs)
        self._run, self._lrs = run, lrs

    @property
    def rate_given(self) -> bool:
        """Learning rates are given, and those of checkpoints do not count."""
        return "lr" in self._given or bool(self._lr_groups)

    @property
    def given_rates(self) -> dict[str, Any]:
        """Learning rates by group as they are given, for what a result depends on; {} where none are."""
        return {"lr_groups": self._lr_groups} if self._lr_groups else {}

    def hyper(self, lr: float | None = None) -> dict[str, Any]:
        """The hyper-parameters at a checkpoint: given ones before those of the checkpoint and of the run.

        Args:
            lr: the checkpoint's; None or not finite when it is not known.
        """
        known = {"lr": lr} if lr is not None and math.isfinite(lr) else {}
        return _of_rule(self.rule, self._of_run | known | self._given)

    def state(self, checkpoint: Path, objective: Objective) -> dict[str, dict[str, Tensor]]:
        """The state at a checkpoint by the name of each parameter; {} where there is none that can be used."""
        shapes = [tuple(p.shape) for p in objective.parameters]
        try:
            return state_by_parameter(checkpoint, objective.parameter_names, shapes)
        except CheckpointError as error:
            self.unusable = error.message
            return {}

    def at(
        self,
        checkpoint: Path,
        model: nn.Module,
        lr: float,
        moved: Collection[str] | None = None,
        evidence: Evidence = undecided,
        with_state: bool = False,
        moving: Moving = nothing,
    ) -> Tuning:
        """What the checkpoint itself says of every parameter; the run and its manifest where it says nothing.

        Args:
            checkpoint: a file.
            model: its parameters.
            lr: as stored for it; NaN when unknown.
            moved: names of the parameters that changed along the run; None where that cannot be told.
            evidence: for parameters that the groups do not tell apart (see ``assign``).
            with_state: the state is needed though no rule preconditions with it.
            moving: names of the parameters that change to the next checkpoint; asked where it matters.

        Raises:
            UsageError: a hyper-parameter does not fit the optimizer, or a learning rate is of no group or parameter.
        """
        everything = dict(model.named_parameters())
        trainable = [name for name, p in everything.items() if p.requires_grad]
        try:
            groups = parameter_groups(saved_optimizer(checkpoint, tensors=False))
        except CheckpointError as error:
            groups, self.unusable = [], error.message
        require_rates(self._lr_groups, len(groups), everything)
        if not groups:
            train = [name for name in everything if moved and name in moved] or trainable
            tuning = self._without_groups(checkpoint, everything, train, lr)
            return replace(tuning, settings=settings_of(self._run, lr, self._lrs))
        found = list(map(self._recognised, groups))
        rules = [OPTIMIZERS.load(one.rule) if one.rule else None for one in found]
        with_state = with_state or any(rule is None or rule.reads_state for rule in rules)
        shapes = {name: tuple(p.shape) for name, p in everything.items()}
        try:
            # Of several optimizers, the averages of gradients tell which one trained these weights.
            read = with_state or len({group.optimizer for group in groups}) > 1
            if read:
                groups = parameter_groups(saved_optimizer(checkpoint, tensors=True))
            fitting = self._meant(groups, found)
            places = assign(groups, shapes, trainable, moved, evidence, read, fitting, moving)
            if with_state:
                require_numbers({name: slot.entry for name, slot in places.items()}, shapes)
        except CheckpointError as error:
            return self._unassigned(groups, found, trainable, error.message, with_state)
        used = {slot.group for slot in places.values()}
        pairs = list(zip(groups, found, strict=True))
        of_model = [pair for number, pair in enumerate(pairs) if number in used]
        if reason := self._refused(of_model):
            return Tuning(reason=reason)
        hypers = {n: self._hyper(groups[n], rule, n) for n in used if (rule := rules[n]) is not None}
        trained = what_trains(groups, rules, hypers, places, moved, moving)
        parts = [
            Part(groups[n].label, found[n].rule, rule, hypers[n], own)
            for n in sorted(used)
            if (rule := rules[n]) is not None and (own := tuple(x for x in trained if places[x].group == n))
        ]
        return Tuning(
            tuple(piece for part in parts for piece in self._by_rate(part)),
            # What was read without its numbers says which parameter it is of, and nothing more.
            {name: places[name].entry for name in trained if with_state and places[name].entry},
            named=all(slot.name for slot in places.values()),
            notes=tuple(dict.fromkeys((*self._contradictions(of_model), *_assumed(of_model)))),
        )

    def _unassigned(
        self,
        groups: Sequence[Group],
        found: Sequence[Recognised],
        trainable: Sequence[str],
        why: str,
        with_state: bool,
    ) -> Tuning:
        """Where the groups do not tell their parameters: one rule for all still has a threshold."""
        self.unusable = why
        if reason := self._refused(list(zip(groups, found, strict=True))):
            return Tuning(reason=reason)
        rules = [OPTIMIZERS.load(one.rule) for one in found]
        hypers = [
            self._hyper(group, rule, n) for n, (group, rule) in enumerate(zip(groups, rules, strict=True))
        ]
        whole = with_state and sum(len(group.slots) for group in groups) == len(trainable)
        elsewhere = any(rule.gradient_at is not None for rule in rules)
        if any(hyper != hypers[0] for hyper in hypers) or elsewhere or not (rules[0].preconditions or whole):
            return Tuning(reason=f"no threshold: {why}")
        part = Part("all groups", found[0].rule, rules[0], hypers[0], tuple(trainable))
        return Tuning((part,), unusable=why)

    def _refused(self, groups: Sequence[tuple[Group, Recognised]]) -> str:
        """Why there is no threshold for these groups; "" where there can be one."""
        if unknown := next(((group, one) for group, one in groups if not one.rule), None):
            group, one = unknown
            where = f"{group.label}: " if len(groups) > 1 else ""
            advice = "" if "--optimizer" in one.reason else "; give --optimizer and --lr"
            return f"no threshold: {where}{one.reason}{advice}"
        if reason := next((r for group, one in groups if (r := OPTIMIZERS.load(one.rule).refusal)), ""):
            return f"no threshold: {reason}"
        rates = {hyper_text(plain_value(group.hyper.get("lr"))) for group, _ in groups}
        if len(rates) > 1 and "lr" in self._given and not self._lr_groups:
            return (
                f"no threshold: the parameter groups differ in lr ({', '.join(sorted(rates))}), and --lr is one for "
                "all; leave it out, or give one for each with --lr-groups"
            )
        return ""

    def _by_rate(self, part: Part) -> Iterator[Part]:
        """The part, by the learning rates that are given for its parameters by name."""
        rates: dict[float, list[str]] = {}
        for name in part.parameters:
            rates.setdefault(rate_of(self._lr_groups, name, part.hyper["lr"]), []).append(name)
        for rate, names in rates.items():
            yield replace(part, hyper=part.hyper | {"lr": rate}, parameters=tuple(names))

    def _recognised(self, group: Group) -> Recognised:
        """The rule that is asked for, or that of the group."""
        keys = common_keys(slot.entry for slot in group.slots if slot.entry)
        found = recognise([group.hyper], keys)
        return Recognised(rule=self._asked(group), name=found.rule) if self.asked else found

    def _asked(self, group: Group) -> str:
        """The rule that is asked for; of SGD, the one that the group's and the given hyper-parameters make of it."""
        own = {key: plain_value(value) for key, value in group.hyper.items()}
        return meant(self.asked or "", own | self._given)[0]

    def _hyper(self, group: Group, rule: Optimizer, number: int) -> dict[str, Any]:
        """A group's own hyper-parameters, with the given ones in place of some."""
        found = rule.of_group(group.hyper) | self._given
        if str(number) in self._lr_groups:
            found["lr"] = self._lr_groups[str(number)]
        return rule.settle(_of_rule(rule, found))

    def _contradictions(self, groups: Sequence[tuple[Group, Recognised]]) -> Iterator[str]:
        """Where options say something else than the checkpoint."""
        for group, one in groups:
            if self.asked and one.name and {one.rule, one.name} != {"gd", "sgd"} and one.name != one.rule:
                yield f"--optimizer {one.rule} is used, but the checkpoint has the state of {one.name}"
            for key, value in self._given.items():
                own = plain_value(group.hyper.get(key))
                if own is not None and hyper_text(own) != hyper_text(value):
                    option = f"--{key.replace('_', '-')}"
                    where = f"the checkpoint has {hyper_text(own)} in {group.label}"
                    yield f"{option} {hyper_text(value)} is used, but {where}"

    def _meant(self, groups: Sequence[Group], found: Sequence[Recognised]) -> set[int]:
        """The optimizers of a checkpoint that have the rule and the numbers that were given; none where none were."""
        if not self.asked and not self._given:
            return set()
        both = zip(groups, found, strict=True)
        unlike = {group.optimizer for group, one in both if any(self._contradictions([(group, one)]))}
        return {group.optimizer for group in groups} - unlike

    def _without_groups(
        self, checkpoint: Path, everything: Mapping[str, Any], train: Sequence[str], lr: float
    ) -> Tuning:
        """What the run says of a checkpoint that says nothing."""
        if self.rule is None:
            return Tuning(reason=NO_OPTIMIZER)
        refused = "" if self.rule.limit else f"no threshold: {self.rule.refusal}"
        if self.rule.make is None and refused:
            return Tuning(reason=refused)
        hyper = self.hyper(lr)
        if self._scheduled and not math.isfinite(lr) and "lr" not in self._given:
            hyper.pop("lr", None)
        if hyper.get("lr") is None:
            return Tuning(reason=NO_RATE)
        try:
            state = state_by_parameter(checkpoint, train, [tuple(everything[name].shape) for name in train])
        except CheckpointError as error:
            state, self.unusable = {}, error.message
        part = Part("all parameters", self.name, self.rule, self.rule.settle(hyper), tuple(train))
        notes = (OF_ANOTHER,) if self._borrowed and not self.asked else ()
        return Tuning(tuple(self._by_rate(part)), state, refused, unusable=self.unusable, notes=notes)


def _of_rule(rule: Optimizer | None, hyper: dict[str, Any]) -> dict[str, Any]:
    """Hyper-parameters without a momentum of 0, which a rule that has none does not know."""
    none = rule is not None and "momentum" not in rule.defaults and hyper.get("momentum") == 0
    return {key: value for key, value in hyper.items() if not (none and key == "momentum")}


def _assumed(groups: Sequence[tuple[Group, Recognised]]) -> Iterator[str]:
    """What was assumed to tell a rule from others."""
    return (one.reason for _, one in groups if one.name and one.reason)
