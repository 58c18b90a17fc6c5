"""Training runs whose opposing pairs are known, small enough for tests, and the one call of mining that tests make."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import numpy as np
import torch
from torch import nn

from opsigcli.datasets.planted import EVERY, Planted
from opsigcli.derivatives.directional_loss import swing
from opsigcli.derivatives.gradient_sketch import gradient_sketches
from opsigcli.gradients.eigen_steps import eigen_step, flat
from opsigcli.mining.eigen import EigenStep
from opsigcli.mining.inputs import Candidates, Settings, Trace
from opsigcli.mining.methods import NEEDS_GRADIENTS, NEEDS_PARTS, NEEDS_SWINGS
from opsigcli.mining.mine import mine
from opsigcli.mining.oscillation import checkpoints_to_compare, choose_candidates
from opsigcli.mining.similarity import Gradients
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.models.base import build
from opsigcli.objective.base import Objective
from opsigcli.options import MineOptions

Trained = tuple[Planted, nn.Module, np.ndarray, list[dict[str, torch.Tensor]]]
Given = dict[str, object]


@cache
def trained(scenario: str, seed: int = 0, steps: int = 160) -> Trained:
    """Full-batch gradient descent on the network of the scenario, a checkpoint at every step."""
    source, setting = Planted(scenario, 900, seed), EVERY[scenario]
    model = build(setting.model, input_shape=source.input_shape, outputs=len(source.classes), seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), setting.lr)
    inputs, labels = torch.as_tensor(source.read(source.ids)), torch.as_tensor(source.labels)
    rows, weights = [], []
    for _ in range(steps + 1):
        losses = nn.functional.cross_entropy(model(inputs), labels, reduction="none")
        rows.append(losses.detach().numpy().copy())
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
    return source, model, np.array(rows), weights


def given(run: Trained, every: int = 1, *, compare: bool = True) -> Given:
    """What mining is given for a run of which every k-th checkpoint was kept; gradients where they are compared."""
    source, model, losses, weights = run
    losses, weights = losses[::every], weights[::every]
    candidates = choose_candidates(losses, 2000)
    compared = checkpoints_to_compare(losses) if compare else []
    objective, gradients = Objective(model, source, "ce"), []
    for checkpoint in compared:
        objective.load(weights[checkpoint])
        gradients.append(Gradients(checkpoint, *gradient_sketches(objective, candidates, dimensions=256)))

    def probe(first: np.ndarray, second: np.ndarray, watched: np.ndarray) -> np.ndarray:
        swings = []
        for checkpoint in compared:
            objective.load(weights[checkpoint])
            swings.append(swing(objective, first, second, watched))
        return np.stack(swings)

    return {
        "losses": losses,
        "labels": source.labels,
        "ids": source.ids,
        "steps": np.arange(len(losses)) * every,
        "classes": source.classes,
        "gradients": gradients,
        "positions": candidates,
        "known_pairs": source.known_pairs,
        "swings": probe,
    }


@cache
def case(scenario: str, every: int = 1, *, compare: bool = True) -> Given:
    """``given`` for ``trained``, made once."""
    return given(trained(scenario), every, compare=compare)


def mined(inputs: Given, method: str = MineOptions.method, **changes: object) -> Mining:
    """What mining finds, by the method that users get where no other is named, given what the command gives it.

    ``inputs`` and ``changes`` go by the names of the fields of what ``mine`` is given.
    """
    told = {"positions": np.zeros(0, dtype=np.int64), **inputs, **changes, "method": method}
    if method not in NEEDS_GRADIENTS:
        told["gradients"] = ()
    if method not in NEEDS_SWINGS:
        told["swings"] = None
    trace, candidates, settings = (
        kind(
            **{
                field.name: told.pop(field.name)
                for field in fields(kind)
                if field.init and field.name in told
            }
        )
        for kind in (Trace, Candidates, Settings)
    )
    return mine(trace, candidates, settings, **told)  # type: ignore[arg-type]


@cache
def parted(scenario: str, seed: int = 0) -> list[EigenStep]:
    """Parts of the loss deltas of a run along eigenvectors, as the command makes them."""
    source, model, losses, weights = trained(scenario, seed)
    objective, found = Objective(model, source, "ce"), []
    for begin in (row for row in checkpoints_to_compare(losses) if row + 1 < len(losses)):
        objective.load(weights[begin + 1])
        after = flat(objective)
        objective.load(weights[begin])
        found.append(eigen_step(objective, (begin, begin + 1), after, MineOptions.eigenvectors, 0))
    return found


@cache
def mined_case(scenario: str, method: str = MineOptions.method, every: int = 1) -> Mining:
    """What a method finds in a run, mined once."""
    parts = {"eigen": parted(scenario)} if method in NEEDS_PARTS else {}
    return mined(case(scenario, every, compare=method in NEEDS_GRADIENTS), method, **parts)


def white_noise(t: int = 60, n: int = 300) -> Given:
    """Losses and gradients of examples that have nothing to do with one another."""
    rng = np.random.default_rng(0)
    gradients = []
    for checkpoint in (t // 3, t // 2):
        sketch = rng.standard_normal((n, 64)).astype(np.float32)
        residuals = rng.standard_normal((n, 4)).astype(np.float32)
        gradients.append(Gradients(checkpoint, sketch, np.linalg.norm(sketch, axis=1), residuals))
    return {
        "losses": 1 + 0.1 * rng.standard_normal((t, n)),
        "labels": rng.integers(0, 4, n),
        "ids": np.arange(n),
        "steps": np.arange(t),
        "gradients": gradients,
        "positions": np.arange(n),
    }
