"""A run that goes on from a checkpoint of another one: what it takes over, what differs, and how far it is moved."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli.checkpoints.digest import sha256
from opsigcli.checkpoints.example_weights import read_example_weights
from opsigcli.checkpoints.formats.safetensors_file import SafetensorsFile
from opsigcli.checkpoints.manifest import Manifest, Row, read_manifest
from opsigcli.checkpoints.writer import state_path
from opsigcli.errors import CheckpointError, DatasetError, UsageError
from opsigcli.optimizers.base import norm_of
from opsigcli.options import MANIFEST, TrainOptions
from opsigcli.outcome import plain
from opsigcli.query import integer
from opsigcli.runs.run_specs import SPECS, specs
from opsigcli.specs import Spec, parse
from opsigcli.trust import require_trust

if TYPE_CHECKING:
    from torch import Tensor

    from opsigcli.optimizers.base import Optimizer
    from opsigcli.runs.trainer import Trainer

FLAGS = ("lr", "momentum", "weight_decay")  # hyper-parameters that are options of their own
MOVES = ("step", "gradient")  # lengths of a perturbation that are measured
COMPARED = (*SPECS, "optimizer", "batch_size", "schedule", "clip", "augment", "seed", "fingerprint")


@dataclass(frozen=True)
class Fork:
    """The checkpoint that a run goes on from, and the run that made it."""

    path: Path  # of its weights
    manifest: Manifest  # of its run
    row: Row
    less: Mapping[int, float]  # example id -> how much it counts there, where that is less than 1

    def options(self, chosen: TrainOptions) -> TrainOptions:
        """The options of that run, but for those that were given.

        Raises:
            UsageError: no update is left to make.
        """
        manifest, given = self.manifest, chosen.given
        own = {key: value for key, value in manifest.hyper.items() if key not in FLAGS}
        before: dict[str, Any] = {
            **{name: getattr(manifest, name) for name in ("model", "data", "loss", "batch_size", "clip")},
            **{name: getattr(manifest, name) for name in ("steps", "save_every", "seed")},
            "lr": manifest.hyper["lr"],
            "schedule": manifest.schedule or "constant",
            "augment": manifest.augment or None,
            "save_steps": manifest.save_steps or None,
        }
        if "optimizer" not in given:  # else its momentum and decay belong to another rule
            before["optimizer"] = str(Spec("", manifest.optimizer, own))
            before |= {key: manifest.hyper.get(key) for key in FLAGS[1:]}
        for one, other in (("save_every", "save_steps"), ("save_steps", "save_every")):
            if one in given:
                before.pop(other)
        found = replace(chosen, **{key: value for key, value in before.items() if key not in given})
        if found.steps <= self.row.step:
            raise UsageError(
                f"expected --steps above {self.row.step}, where {self.path.name} is; found {found.steps}",
                f"example: --steps {self.row.step + 100}",
            )
        return found

    def state(self, rule: Optimizer, hyper: Mapping[str, Any], reset: bool) -> dict[str, Tensor]:
        """The optimizer's state that the run goes on with; {} for a rule without memory.

        Raises:
            CheckpointError: the rule has a memory, and the checkpoint none of that kind.
        """
        needed = memory(rule, hyper).keys()
        if reset or not needed or self.row.step == 0:
            return {}
        path = state_path(self.path)
        found = SafetensorsFile().read(path) if path.exists() else {}
        if {place.rpartition("/")[2] for place in found} != needed:
            held = f"that of {self.manifest.optimizer}" if found else "none"
            raise CheckpointError(
                f"expected the state of {rule.name} ({', '.join(sorted(needed))}) in {path}, found {held}",
                "add --reset-state to begin with none, or name a checkpoint that has it",
            )
        return found

    def require_same_data(self, fingerprint: str, given: Collection[str]) -> None:
        """Refuse data that have changed since.

        Raises:
            DatasetError: they have, and were not given anew.
        """
        if "data" not in given and fingerprint != self.manifest.fingerprint:
            raise DatasetError(
                f"{self.manifest.data} has other examples than the run of {self.path} was trained on",
                "bring them back, or say with --data that the fork is to have others",
            )

    def differs(self, now: Manifest, less: Mapping[int, float]) -> tuple[str, ...]:
        """What a run that goes on from here has otherwise, as ``name before -> now``."""
        pairs = [(name, getattr(self.manifest, name), getattr(now, name)) for name in COMPARED]
        before = self.manifest.hyper
        keys = (
            before | now.hyper
            if self.manifest.optimizer == now.optimizer
            else before.keys() & now.hyper.keys()
        )
        pairs += [(key, before.get(key), now.hyper.get(key)) for key in keys]
        found = [f"{name} {_said(a)} -> {_said(b)}" for name, a, b in pairs if plain(a) != plain(b)]
        if dict(self.less) != dict(less):
            found.append(f"examples that count less {len(self.less)} -> {len(less)}")
        return tuple(found)


def open_fork(options: TrainOptions) -> Fork | None:
    """The checkpoint that ``--from`` names; None without it.

    Raises:
        UsageError: an option goes with ``--from`` alone, or the checkpoint is of the folder that is to be written.
        CheckpointError: there is none, or ``opsig train`` did not make it.
        TrustError: its manifest names code and this user did not write it.
    """
    if options.from_ is None:
        if alone := [name for name in ("perturb", "reset_state") if getattr(options, name)]:
            flag = alone[0].replace("_", "-")
            raise UsageError(f"--{flag} is for a run that goes on from another one", "add --from CKPT")
        return None
    path = options.from_.resolve()
    if path.is_dir():
        last = max(path.glob("step-*[0-9].safetensors"), default=path / "step-000100.safetensors")
        raise UsageError(f"expected a checkpoint, found the folder {path}", f"example: --from {last}")
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint, found nothing at {path}", "look at opsig inspect RUN")
    folder = path.parent
    if folder == options.directory.resolve():
        raise UsageError(
            f"expected another folder for the fork, found that of its checkpoint, {folder}",
            "name a new folder for DIR",
        )
    manifest = read_manifest(folder)
    row = next((row for row in manifest.checkpoints if row.file == path.name), None) if manifest else None
    if manifest is None or row is None or not manifest.steps or "lr" not in manifest.hyper:
        raise CheckpointError(
            f"expected a checkpoint that opsig train made, with its row in {MANIFEST}; found none such in {path}",
            "the manifest says how to go on; checkpoints of other programs do not have all of it",
        )
    if row.sha256 and sha256(path) != row.sha256:
        raise CheckpointError(
            f"expected the weights that {folder / MANIFEST} tells of, found others in {path}",
            "name another checkpoint, or train that run anew",
        )
    inherited = [getattr(manifest, name) for name in SPECS if name not in options.given]
    where = str(folder / MANIFEST)
    require_trust(inherited, specs(manifest), manifest.signature, where, trusted=options.trust_manifest)
    return Fork(path, manifest, row, read_example_weights(folder)[1])


def forked_words(manifest: Manifest | None) -> str:
    """Of which checkpoint a run is a fork, and what differs, in words; "" of a run that is none."""
    if manifest is None or not manifest.forked_from:
        return ""
    parent = Path(manifest.forked_from)
    moved = (f"moved by {manifest.perturb}",) if manifest.perturb else ()
    reset = ("optimizer's state left behind",) if manifest.reset_state else ()
    what = ", ".join((*manifest.differs, *moved, *reset)) or "nothing differs"
    return f"{parent.parent.name}/{parent.name}: {what}"


def read_move(text: str | None) -> Spec | None:
    """What ``--perturb`` says; None where nothing is moved.

    Raises:
        UsageError: it is neither a length above 0 nor a word for one.
    """
    if text is None:
        return None
    spec = parse(text).only("seed")
    integer(spec, "seed", 0, minimum=0)
    try:
        fine = spec.name in MOVES or 0 < float(spec.name) < float("inf")
    except ValueError:
        fine = False
    if spec.scheme or not fine:
        raise UsageError(
            f"expected a length above 0, {' or '.join(MOVES)} for --perturb, found {text!r}",
            "examples: --perturb 0.5, --perturb step?seed=1",
        )
    return spec


def move(trainer: Trainer, spec: Spec) -> float:
    """Move the weights of a trainer at random, and say how far.

    ``θ ← θ + r z/‖z‖`` with z normal over all parameters that are trained, drawn in their order.

    Args:
        trainer: at the checkpoint, with the optimizer's state.
        spec: r: a number, ``step``: as long as the first update, or ``gradient``: as the gradient of its batch.

    Returns:
        r, in the unit of the weights.

    Raises:
        UsageError: what r is measured by is 0 or not finite there.
    """
    import torch

    length = _length(trainer, spec.name)
    if not 0 < length < float("inf"):
        raise UsageError(
            f"expected a length above 0 for --perturb, found that of the {spec.name}, {length}",
            "give a number: --perturb 0.5",
        )
    generator = torch.Generator().manual_seed(integer(spec, "seed", 0, minimum=0))
    drawn = [torch.randn(p.shape, generator=generator) for p in trainer.objective.parameters]
    scale = length / norm_of(drawn)
    with torch.no_grad():
        for parameter, direction in zip(trainer.objective.parameters, drawn, strict=True):
            parameter.add_(direction.to(parameter), alpha=scale)
    return length


def _length(trainer: Trainer, name: str) -> float:
    """How far to move; the trainer is left as it was."""
    import torch

    if name not in MOVES:
        return float(name)
    if name == "gradient":
        return norm_of(trainer.gradient())
    model, optimizer = trainer.objective.model, trainer.optimizer
    assert isinstance(optimizer, torch.optim.Optimizer)  # a fork has one for all parameters
    kept, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    before = [p.detach().clone() for p in trainer.objective.parameters]
    trainer.update()
    length = norm_of(p.detach() - b for p, b in zip(trainer.objective.parameters, before, strict=True))
    model.load_state_dict(kept)
    optimizer.load_state_dict(state)
    trainer.step -= 1
    return length


def memory(rule: Optimizer, hyper: Mapping[str, Any]) -> dict[str, int]:
    """What a rule keeps of each parameter: name -> numbers of it for four of the parameter, seen at an update."""
    import torch

    parameter = torch.ones(2, 2, requires_grad=True)
    optimizer = rule.build([parameter], hyper)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = optimizer.state.get(parameter, {})
    return {key: value.numel() for key, value in kept.items() if isinstance(value, torch.Tensor)}


def _said(value: Any) -> str:
    return (
        "none" if value in (None, "") else f"{value:.6g}" if isinstance(value, float) else str(plain(value))
    )
