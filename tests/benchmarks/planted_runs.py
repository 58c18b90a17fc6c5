"""Training runs on the planted scenarios, kept on disk so that mining can be tried again and again."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from opsigcli.datasets import open_source
from opsigcli.datasets.planted import EVERY, Planted
from opsigcli.datasets.planted_draft import GROUP, Scenario
from opsigcli.datasets.planted_scenarios import vectors
from opsigcli.derivatives.directional_loss import swing
from opsigcli.derivatives.gradient_sketch import gradient_sketches
from opsigcli.examples import ExampleSource
from opsigcli.gradients.candidate_screening import looked_at, width
from opsigcli.gradients.eigen_steps import eigen_step, flat
from opsigcli.mining.eigen import EigenStep
from opsigcli.mining.opposition import all_degrees, either
from opsigcli.mining.oscillation import checkpoints_to_compare, choose_candidates
from opsigcli.mining.similarity import Gradients
from opsigcli.mining.usual_gradient import per_residual
from opsigcli.models.base import build
from opsigcli.objective.base import Objective
from opsigcli.options import MineOptions

STEPS = 300
ADAM_LR = 3e-3
SGD_BATCH = 100
AUGMENTED = 0.25  # half of the noise of the scenarios of vectors
WARM_UP = 20  # steps
TINT = 2.0  # standard deviations of the photographs' own colours
TINTED = {
    "tint": Scenario("photographs, 2 pairs of one tint", vectors, 0.05),
    "tint-bn": Scenario("the same, a ResNet with BatchNorm", vectors, 0.05, "resnet?norm=batch"),
}
ALL = EVERY | TINTED


class Tinted(ExampleSource):
    """Photographs, of which two pairs of groups share a red or a blue tint: 25 of one class against 25 of another.

    Args:
        scenario: a name in ``TINTED``.
        n: number of photographs.
        seed: draws them, the classes and the members.
    """

    alternatives: tuple[()] = ()
    axis = None

    def __init__(self, scenario: str, n: int, seed: int) -> None:
        folder = os.environ.get("OPSIG_TEST_CIFAR")
        if folder is None:
            raise SystemExit("name the folder that holds train/CLASS/*.jpg in OPSIG_TEST_CIFAR")
        whole = open_source(f"folder:{folder}/train?size=16&standardize=channel")
        rng = np.random.default_rng(seed)
        rows = rng.permutation(len(whole))[:n]
        self.scenario, self.spec = scenario, f"tinted?n={n}&seed={seed}"
        self.classes, self.input_shape = whole.classes, whole.input_shape
        self.ids = np.arange(n)
        self.labels = np.asarray(whole.labels)[rows]
        self._inputs = np.array(whole.read(rows))
        labels = rng.permutation(len(self.classes))[:4]
        pairs = []
        for colour, two in zip(([1, -0.6, -0.6], [-0.6, -0.6, 1]), (labels[:2], labels[2:]), strict=True):
            sides = [np.sort(rng.permutation(np.flatnonzero(self.labels == c))[:GROUP]) for c in two]
            for side in sides:
                size = TINT * rng.uniform(0.85, 1.15, (len(side), 1, 1, 1))
                self._inputs[side] += size * np.reshape(colour, (1, 3, 1, 1))
            pairs.append((sides[0], sides[1]))
        self.known_pairs = tuple(pairs)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Standardised and tinted, (B, 3, 16, 16) float32."""
        return self._inputs[positions].astype(np.float32)


@dataclass
class PlantedRun:
    """One training run: losses at every step, and the weights."""

    source: Planted | Tinted
    model: nn.Module
    losses: np.ndarray  # (T, N)
    weights: np.ndarray  # (T, P) with the running statistics

    def objective_at(self, step: int) -> Objective:
        """The objective with the weights of a step."""
        if not hasattr(self, "_objective"):
            self._objective = Objective(self.model, self.source, "ce")
        flat, at = torch.as_tensor(np.array(self.weights[step])), 0
        for value in self.model.state_dict().values():
            if value.is_floating_point():
                value.copy_(flat[at : at + value.numel()].view_as(value))
                at += value.numel()
        return self._objective


def network(source: Planted | Tinted, seed: int) -> nn.Module:
    """The network of the scenario, with PyTorch's default initialisation."""
    setting = ALL[source.scenario]
    return build(setting.model, input_shape=source.input_shape, outputs=len(source.classes), seed=seed)


def trained(
    scenario: str, seed: int, optimizer: str, cache: Path | None = None, n: int | None = None
) -> PlantedRun:
    """The run of a scenario under gd, sgd (batch 100) or adam; from ``cache`` when it is there."""
    made = Tinted if scenario in TINTED else Planted
    source = made(scenario, n or ALL[scenario].n, seed)
    model = network(source, seed)
    stem = None if cache is None else cache / f"{scenario}-{len(source)}-{seed}-{optimizer}"
    if stem is not None and Path(f"{stem}-weights.npy").exists():
        losses, weights = np.load(f"{stem}-losses.npy"), np.load(f"{stem}-weights.npy", mmap_mode="r")
        return PlantedRun(source, model, losses, weights)
    losses, weights = train(source, model, seed, optimizer)
    if stem is not None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        np.save(f"{stem}-losses.npy", losses)
        np.save(f"{stem}-weights.npy", weights)
    return PlantedRun(source, model, losses, weights)


def train(
    source: Planted | Tinted, model: nn.Module, seed: int, optimizer: str, without: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Losses of all in eval mode and weights before every step; steps are taken in train mode, ``without`` some."""
    inputs, labels = torch.as_tensor(source.read(source.ids)), torch.as_tensor(source.labels)
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[torch.as_tensor(() if without is None else without, dtype=torch.int64)] = False
    setting = ALL[source.scenario]
    steps = torch.optim.Adam(model.parameters(), ADAM_LR) if optimizer == "adam" else None
    steps = steps or torch.optim.SGD(model.parameters(), setting.lr)
    order = torch.Generator().manual_seed(seed)
    peak = steps.param_groups[0]["lr"]
    frozen = any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    rows, weights = [], []
    for step in range(STEPS + 1):
        losses = nn.functional.cross_entropy(model.eval()(inputs), labels, reduction="none")
        rows.append(losses.detach().numpy().copy())
        weights.append(_flat(model).numpy().copy())
        batch = torch.arange(len(labels))
        if optimizer == "sgd":
            batch = torch.randperm(len(labels), generator=order)[:SGD_BATCH]
        batch = batch[kept[batch]]
        if optimizer == "sgd" or frozen or setting.training == "augmented":
            seen = inputs[batch]
            if setting.training == "augmented":
                seen = seen + AUGMENTED * torch.randn(seen.shape, generator=order)
            losses = nn.functional.cross_entropy(model.train()(seen), labels[batch], reduction="none")
        elif without is not None:
            losses = losses[batch]
        if setting.training == "cosine":
            warm = min(1.0, (step + 1) / WARM_UP)
            steps.param_groups[0]["lr"] = peak * warm * (1 + math.cos(math.pi * step / STEPS)) / 2
        steps.zero_grad()
        losses.mean().backward()
        steps.step()
    return np.array(rows), np.array(weights)


def _flat(model: nn.Module) -> torch.Tensor:
    """All weights and running statistics in a row."""
    return torch.cat([v.detach().reshape(-1) for v in model.state_dict().values() if v.is_floating_point()])


@dataclass
class Seen:
    """What mining is given of a run of which every k-th checkpoint was kept."""

    run: PlantedRun
    every: int
    losses: np.ndarray
    candidates: np.ndarray
    weights: np.ndarray | None
    gradients: list[Gradients]

    @cached_property
    def eigen(self) -> list[EigenStep]:
        """Parts of the loss deltas along eigenvectors, in a step at each checkpoint compared."""
        found = []
        for begin in sorted({min(at.checkpoint, len(self.losses) - 2) for at in self.gradients}):
            after = flat(self.run.objective_at((begin + 1) * self.every))
            objective = self.run.objective_at(begin * self.every)
            found.append(eigen_step(objective, (begin, begin + 1), after, MineOptions.eigenvectors, 0))
        return found

    def swings(self, first: np.ndarray, second: np.ndarray, watched: np.ndarray) -> np.ndarray:
        """Loss swings across the direction of a pair at every checkpoint compared; all are positions."""
        return np.stack(
            [
                swing(self.run.objective_at(at.checkpoint * self.every), first, second, watched)
                for at in self.gradients
            ]
        )


def _candidates(
    run: PlantedRun, losses: np.ndarray, every: int, dimensions: int, most: int = 2000
) -> tuple[np.ndarray, np.ndarray | None]:
    """All examples where they are few; otherwise those of the highest opposition degree, a quarter drawn for the rest.

    And how many each of them stands for.
    """
    if len(run.source) <= most:
        return choose_candidates(losses, most), None
    order = np.random.default_rng(0).permutation(len(run.source))
    rows = looked_at(checkpoints_to_compare(losses), len(losses))
    there = []
    for row in rows:
        found = gradient_sketches(
            run.objective_at(row * every), run.source.ids, dimensions=dimensions, seed=row
        )
        at = Gradients(row, *found).folded(width(dimensions, len(rows))).only(order)
        residuals, gradients = per_residual(at)
        there.append(Gradients(row, gradients, at.norms, residuals))
    degree = either(np.stack([kind.degree(there, np.arange(len(order))) for kind in all_degrees(there)]))
    chosen = order[np.argsort(-degree, kind="stable")]
    drawn = np.random.default_rng(1).permutation(chosen[most - most // 4 :])[: most // 4]
    candidates = np.sort(np.concatenate([chosen[: most - most // 4], drawn]))
    each = (len(chosen) - (most - most // 4)) / len(drawn)
    return candidates, np.where(np.isin(candidates, drawn), each, 1.0)


def seen(run: PlantedRun, every: int, dimensions: int = 512) -> Seen:
    """Losses and gradient sketches at the checkpoints mining asks for."""
    losses = run.losses[::every]
    candidates, weights = _candidates(run, losses, every, dimensions)
    gradients = []
    for checkpoint in checkpoints_to_compare(losses):
        objective = run.objective_at(checkpoint * every)
        found = gradient_sketches(objective, candidates, dimensions=dimensions, seed=checkpoint)
        gradients.append(Gradients(checkpoint, *found))
    return Seen(run, every, losses, candidates, weights, gradients)
