"""Virtual steps: the next optimizer update from each checkpoint, taken without saving it.

Checkpoints far apart hide what happens between two updates: at an even distance a loss that goes up and down every
step looks still. One virtual step shows its amplitude at any checkpoint.
"""

from __future__ import annotations

from typing import Any

from opsigcli.checkpoints.series import Series
from opsigcli.errors import UsageError
from opsigcli.models.training_only import drawn_at_random
from opsigcli.objective.base import Objective
from opsigcli.options import TraceOptions
from opsigcli.printable import count
from opsigcli.records import Run
from opsigcli.runs.build_optimizer import build_optimizer, state_of
from opsigcli.runs.given_hyper import given_hyper
from opsigcli.runs.load_weights import Loader
from opsigcli.runs.run_optimizer import NO_RATE, RunOptimizer
from opsigcli.runs.state_values import alien
from opsigcli.runs.trained_run import SeriesRun
from opsigcli.runs.trainer import Trainer
from opsigcli.runs.tuned_run import TunedRun


class VirtualStep:
    """Takes one update of the run's optimizer from the weights that are loaded.

    The gradient is that of the mean loss over all examples, or over as many as ``virtual_batches`` of the run's
    batches hold, chosen as ``opsig train`` chooses the batch of that step. BatchNorm is in train mode for it, as in
    training; what training drops at random is kept, so that the step is the mean loss's own.

    Args:
        series: the checkpoints; optimizer states lie beside them.
        objective: model, loss and data.
        run: its optimizer, hyper-parameters and batch size.
        loader: puts weights into the objective's model.
        options: of ``opsig trace``; its optimizer and hyper-parameters override the run's.

    Raises:
        UsageError: optimizer or learning rate is not known, or no batch size where batches were asked for.
    """

    def __init__(
        self, series: Series, objective: Objective, run: Run, loader: Loader, options: TraceOptions
    ) -> None:
        self.series, self.objective = series, objective
        checkpoints = SeriesRun(series, objective, loader)
        self.optimizer = RunOptimizer(
            run, options.optimizer, given_hyper(options), options.lr_groups, checkpoints.lrs
        )
        self.tuned = TunedRun(checkpoints, self.optimizer)
        if self.optimizer.rule is None and not any(c.header.optimizer.group for c in series):
            raise UsageError(
                "a virtual step needs the run's optimizer, and there is no manifest that names it",
                "add --optimizer sgd --lr 0.1, as the run had them",
            )
        self.fixed_lr = options.lr
        self.batch_size: int | None = None
        if options.virtual_batches is not None:
            if run.batch_size is None or run.batch_size >= objective.n:
                raise UsageError(
                    "--virtual-batches needs the run's batch size, and the run was full-batch or does not tell",
                    "leave it out for a step on all examples, or write batch_size = N under [run] in the folder's "
                    "opsig-run.toml (opsig init makes one)",
                )
            self.batch_size = options.virtual_batches * run.batch_size
        self.seed = (series.manifest.seed if series.manifest else None) or 0
        self.clip = series.manifest.clip if series.manifest else None  # as each tuning has it
        self.drawn = drawn_at_random(objective.model)  # what training draws, and these steps do not
        self.without_state: list[int] = []  # steps

    @property
    def facts(self) -> dict[str, Any]:
        """What the numbers depend on, for the units' configuration and the provenance."""
        off = {"off": list(self.drawn)} if self.drawn else {}
        return off | {
            "optimizer": self.optimizer.name,
            "hyper": self.optimizer.hyper() | self.optimizer.given_rates,
            "lr": self.fixed_lr,
            "batch_size": self.batch_size,
            "seed": self.seed,
            **({} if self.clip is None else {"clip": self.clip}),
        }

    @property
    def notes(self) -> list[str]:
        """What a user should know of the steps taken."""
        found = [
            f"virtual steps are taken without {kind}, which training had ({modules})"
            for kind, modules in self.drawn.items()
        ]
        if not self.without_state:
            return found
        why = self.optimizer.unusable
        bare = count(len(self.without_state), "checkpoint comes", "checkpoints come")
        return [
            *found,
            f"{bare} without the state of {self.optimizer.name}"
            f"{' that can be used' if why else ''}: their virtual steps start it anew"
            + (f" ({why})" if why else ""),
        ]

    def step(self, place: int) -> None:
        """Change the model's weights by one update from the checkpoint at ``place`` of the series, which is loaded.

        Raises:
            UsageError: the learning rate at this checkpoint is not known.
            CheckpointError: the state is one of another rule.
        """
        checkpoint = self.series.checkpoints[place]
        tuning = self.tuned.at(place, with_state=True)
        if tuning.reason == NO_RATE:
            raise UsageError(
                f"a virtual step needs the learning rate, and that of {checkpoint.file} is not known",
                "add --lr",
            )
        if not tuning.parts:
            why = tuning.reason.removeprefix("no ratio: ")
            raise UsageError(
                f"a virtual step needs the optimizer of {checkpoint.file}: {why}",
                "leave out --virtual-step, or give --optimizer and --lr",
            )
        if name := next((part.name for part in tuning.parts if part.rule.make is None), ""):
            raise UsageError(
                f"a virtual step from {checkpoint.file} cannot be taken: opsig takes no steps of {name}",
                "leave out --virtual-step, or give another rule with --optimizer and --lr",
            )
        state = state_of(tuning, self.objective)
        if not state and any(part.rule.keeps_state for part in tuning.parts) and checkpoint.step > 0:
            self.without_state.append(checkpoint.step)
        optimizer = build_optimizer(tuning, self.objective)
        trainer = Trainer(
            self.objective, optimizer, self.batch_size, self.seed, random=False, clip=tuning.largest
        )
        trainer.restore_state(checkpoint.step, state)
        settled = trainer.is_settled()
        try:
            trainer.update()
        except KeyError as error:
            raise alien(tuning.parts[0].name, error) from error
        if settled:  # then the run's next checkpoint is, too
            trainer.settle_statistics()
        for parameter in self.objective.parameters:
            parameter.grad = None
