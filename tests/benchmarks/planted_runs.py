"""Training runs on the planted scenarios, kept on disk so that mining can be tried again and again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from opsigcli.datasets.planted import Planted
from opsigcli.datasets.planted_scenarios import SCENARIOS
from opsigcli.mining.residual import Gradients
from opsigcli.mining.series import checkpoints_to_compare, choose_candidates
from opsigcli.objective.base import Objective
from opsigcli.objective.probe import swing
from opsigcli.objective.sketch import gradient_sketches

STEPS = 300
ADAM_LR = 3e-3
SGD_BATCH = 100
N = 900


@dataclass
class PlantedRun:
    """One training run: losses at every step, and the weights."""

    source: Planted
    model: nn.Module
    losses: np.ndarray  # (T, N)
    weights: np.ndarray  # (T, P)

    def objective_at(self, step: int) -> Objective:
        """The objective with the weights of a step."""
        if not hasattr(self, "_objective"):
            self._objective = Objective(self.model, self.source, "ce")
        flat = torch.as_tensor(np.array(self.weights[step]))
        nn.utils.vector_to_parameters(flat, self._objective.parameters)
        return self._objective


def network(source: Planted, seed: int) -> nn.Module:
    """The MLP 64-64 of the scenario, with PyTorch's default initialisation."""
    torch.manual_seed(seed)
    act = {"tanh": nn.Tanh, "relu": nn.ReLU}[SCENARIOS[source.scenario].activation]
    width, classes = int(np.prod(source.input_shape)), len(source.classes)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(width, 64), act(), nn.Linear(64, 64), act(), nn.Linear(64, classes)
    )


def trained(scenario: str, seed: int, optimizer: str, cache: Path | None = None, n: int = N) -> PlantedRun:
    """The run of a scenario under gd, sgd (batch 100) or adam; from ``cache`` when it is there."""
    source = Planted(scenario, n, seed)
    model = network(source, seed)
    stem = None if cache is None else cache / f"{scenario}-{n}-{seed}-{optimizer}"
    if stem is not None and Path(f"{stem}-weights.npy").exists():
        losses, weights = np.load(f"{stem}-losses.npy"), np.load(f"{stem}-weights.npy", mmap_mode="r")
        return PlantedRun(source, model, losses, weights)
    losses, weights = _train(source, model, seed, optimizer)
    if stem is not None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        np.save(f"{stem}-losses.npy", losses)
        np.save(f"{stem}-weights.npy", weights)
    return PlantedRun(source, model, losses, weights)


def _train(source: Planted, model: nn.Module, seed: int, optimizer: str) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = torch.as_tensor(source.read(source.ids)), torch.as_tensor(source.labels)
    lr = SCENARIOS[source.scenario].lr
    steps = torch.optim.Adam(model.parameters(), ADAM_LR) if optimizer == "adam" else None
    steps = steps or torch.optim.SGD(model.parameters(), lr)
    order = torch.Generator().manual_seed(seed)
    rows, weights = [], []
    for _ in range(STEPS + 1):
        losses = nn.functional.cross_entropy(model(inputs), labels, reduction="none")
        rows.append(losses.detach().numpy().copy())
        weights.append(nn.utils.parameters_to_vector(model.parameters()).detach().numpy().copy())
        if optimizer == "sgd":
            batch = torch.randperm(len(labels), generator=order)[:SGD_BATCH]
            losses = nn.functional.cross_entropy(model(inputs[batch]), labels[batch], reduction="none")
        steps.zero_grad()
        losses.mean().backward()
        steps.step()
    return np.array(rows), np.array(weights)


@dataclass
class Seen:
    """What mining is given of a run of which every k-th checkpoint was kept."""

    run: PlantedRun
    every: int
    losses: np.ndarray
    candidates: np.ndarray
    gradients: list[Gradients]

    def probe(self, checkpoint: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Loss swings of the candidates across the direction of a pair, given by rows of the candidates."""
        objective = self.run.objective_at(checkpoint * self.every)
        return swing(objective, self.candidates[first], self.candidates[second], self.candidates)


def seen(run: PlantedRun, every: int, dimensions: int = 512) -> Seen:
    """Losses and gradient sketches at the checkpoints mining asks for."""
    losses = run.losses[::every]
    candidates = choose_candidates(losses, 2000)
    gradients = []
    for checkpoint in checkpoints_to_compare(losses):
        objective = run.objective_at(checkpoint * every)
        found = gradient_sketches(objective, candidates, dimensions=dimensions, seed=checkpoint)
        gradients.append(Gradients(checkpoint, *found))
    return Seen(run, every, losses, candidates, gradients)
