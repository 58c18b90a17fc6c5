"""Curvature attribution: which layers, examples and groups hold the sharpness of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from opsigcli.curvature.spectrum import Spectrum
from opsigcli.derivatives.data_parallel import DataParallel
from opsigcli.derivatives.hvp import HessianOperator
from opsigcli.derivatives.layers import Layer, kinds, layers
from opsigcli.derivatives.per_example_curvature import directional_derivatives
from opsigcli.errors import UsageError
from opsigcli.mining.class_matched import class_matched
from opsigcli.mining_records import (
    SIDES,
    Evidence,
    GroupKey,
    Mining,
)
from opsigcli.runs.stored_run import StoredRun
from opsigcli.sharpness_records import GroupCurvature, LayerCurvature

SHARE_DRAWS = 199  # class-matched random groups that a group's share is held against
ALIGNMENT_DRAWS = 5  # of these, for the alignment
TOP_SHARE = 0.05  # of the examples, for the concentration

Solve = Callable[[HessianOperator, str], Spectrum]  # of a block, with a word about which it is


@dataclass(frozen=True)
class CurvatureAttribution:
    """Attributes the curvature at the checkpoint that is loaded to layers, examples, groups, and the step made.

    Args:
        run: the run, with weights loaded.
        positions: (n,) the examples that the Hessian is a mean over.
        parallel: the processes that share them.
        seed: of the random groups.
    """

    run: StoredRun
    positions: NDArray[np.int64]
    parallel: DataParallel
    seed: int

    def layers(
        self, operator: HessianOperator, spectrum: Spectrum, solve: Solve
    ) -> tuple[tuple[LayerCurvature, ...], tuple[LayerCurvature, ...]]:
        """Shares of the top eigenvectors and block eigenvalues, by layer and by kind of layer."""
        single = layers(self.run.objective)
        grouped = kinds(single)
        blocks = list(dict.fromkeys(layer.places for layer in (*single, *grouped)))
        measured = {
            places: solve(operator.block(places), f"block {number} of {len(blocks)}")
            for number, places in enumerate(blocks, 1)
        }

        def record(layer: Layer) -> LayerCurvature:
            block = measured[layer.places]
            return LayerCurvature(
                name=layer.name or "the model itself",
                kind=layer.kind,
                parameters=sum(self.run.objective.parameters[i].numel() for i in layer.places),
                shares=self._shares(layer, spectrum),
                eigenvalue=float(block.eigenvalues[0]),
                residual=float(block.residuals[0]),
                converged=block.converged,
            )

        return tuple(map(record, single)), tuple(map(record, grouped))

    def shares(self, spectrum: Spectrum) -> tuple[tuple[LayerCurvature, ...], tuple[LayerCurvature, ...]]:
        """Shares of the top eigenvectors alone, which cost nothing."""
        single = layers(self.run.objective)

        def record(layer: Layer) -> LayerCurvature:
            parameters = sum(self.run.objective.parameters[i].numel() for i in layer.places)
            name = layer.name or "the model itself"
            return LayerCurvature(name, layer.kind, parameters, self._shares(layer, spectrum))

        return tuple(map(record, single)), tuple(map(record, kinds(single)))

    def _shares(self, layer: Layer, spectrum: Spectrum) -> tuple[float, ...]:
        sizes = [p.numel() for p in self.run.objective.parameters]
        pieces = torch.split(spectrum.vectors, sizes, dim=1)
        squares = torch.stack([pieces[i].double().square().sum(1) for i in layer.places]).sum(0)
        return tuple(squares.tolist())

    def examples(self, spectrum: Spectrum) -> NDArray[np.float32]:
        """v₁ᵀH_i v₁ of each example, (n,)."""
        objective, v = self.run.objective, spectrum.vectors[0]
        return directional_derivatives(objective, v, self.positions, self.parallel).curvatures

    def groups(
        self, mining: Mining, spectrum: Spectrum, curvatures: NDArray[np.float32]
    ) -> tuple[GroupCurvature, ...]:
        """Each mined group's share of λ₁, and how far its mean gradient lies in the top eigenvectors.

        Both are held against class-matched random groups (``class_matched``): the mean over 199 draws for the
        share, over the first 5 of them for the alignment, which costs a gradient each.
        """
        places = {int(example): i for i, example in enumerate(self.run.source.ids[self.positions])}
        pairs = [
            tuple(
                np.array([places[int(i)] for i in group.ids if int(i) in places], dtype=np.int64)
                for group in (pair.first, pair.second)
            )
            for pair in mining.pairs
        ]
        members = np.concatenate([rows for sides in pairs for rows in sides]) if pairs else np.zeros(0, int)
        labels, held = self.run.source.labels[self.positions], curvatures.astype(np.float64)
        found = []
        for number, sides in enumerate(pairs, 1):
            random = class_matched(labels, sides, members, np.random.default_rng(self.seed), SHARE_DRAWS)
            for side, rows, nulls in zip(SIDES, sides, random, strict=True):
                if len(rows):
                    found.append(self._group(GroupKey(number, side), rows, nulls, spectrum, held))
        return tuple(found)

    def _group(
        self,
        name: GroupKey,
        members: NDArray[np.int64],
        nulls: NDArray[np.int64],
        spectrum: Spectrum,
        curvatures: NDArray[np.float64],
    ) -> GroupCurvature:
        """One group against its class-matched random groups (draws, n)."""
        total = curvatures.sum()
        alignment, cosine = self._alignment(members, spectrum)
        by_chance = [self._alignment(np.sort(rows), spectrum)[0] for rows in nulls[:ALIGNMENT_DRAWS]]
        return GroupCurvature(
            name=name,
            fraction=len(members) / len(self.positions),
            share=Evidence(
                float(curvatures[members].sum() / total),
                float(curvatures[nulls].sum(axis=1).mean() / total),
            ),
            alignment=Evidence(alignment, float(np.mean(by_chance))),
            cosine=cosine,
        )

    def _alignment(self, members: NDArray[np.int64], spectrum: Spectrum) -> tuple[float, float]:
        """``‖Vᵀg‖² / ‖g‖²`` and ``v₁·g / ‖g‖`` for the mean gradient g of some examples."""
        gradient = self._gradient(self.positions[members]).to(spectrum.vectors)
        length = float(gradient.norm())
        if length == 0:
            return 0.0, 0.0
        parts = (spectrum.vectors @ gradient).double() / length
        return float(parts.square().sum()), float(parts[0])

    def secant(self, row: int) -> float | None:
        """``(g' − g)·d / ‖d‖²`` from checkpoint ``row`` to the next; leaves that one loaded.

        The mean curvature on the way. Networks with kinks (ReLU) oscillate at 2/η by this measure, while their
        Hessian, which does not see the kinks, stays below. None where the weights did not move.
        """
        before, start = self._gradient(self.positions), self._weights()
        self.run.load(row + 1)
        step = self._weights() - start
        change = self._gradient(self.positions) - before
        squares = float(step.double().square().sum())
        value = float((change.double() * step.double()).sum()) / squares if squares else math.nan
        return value if math.isfinite(value) else None

    def _weights(self) -> torch.Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.run.objective.parameters]).clone()

    def _gradient(self, positions: NDArray[np.int64]) -> torch.Tensor:
        """The mean loss's gradient over ``positions``, flat, (P,)."""
        own = self.parallel.shard(positions)
        objective = self.run.objective
        if not len(own):
            return self.parallel.all_reduce(torch.zeros_like(self._weights()))
        _, parts = objective.mean_loss_and_gradient(own)
        flat = torch.cat([part.reshape(-1) for part in parts])
        return self.parallel.all_reduce(flat.mul_(objective.mass(own) / (objective.mass(positions) or 1.0)))


def concentration(curvatures: NDArray[np.float32]) -> float:
    """Share of ``Σ_i h_i`` held by the 5 % of examples with the largest h_i = v₁ᵀH_i v₁."""
    ordered = np.sort(curvatures.astype(np.float64))[::-1]
    count = max(1, round(TOP_SHARE * len(ordered)))
    return float(ordered[:count].sum() / ordered.sum())


def require_so_many(total: int, asked: Mapping[str, int | None]) -> None:
    """Refuse more examples than there are.

    Args:
        total: examples.
        asked: how many each option asks for; None for one that is not given.

    Raises:
        UsageError: there are not as many.
    """
    for flag, amount in asked.items():
        if amount is not None and amount > total:
            raise UsageError(
                f"expected {flag} of at most {total:,} examples, as there are, found {amount:,}",
                f"leave out {flag}",
            )


def subset(count: int, total: int, seed: int) -> NDArray[np.int64]:
    """A random subset of positions, sorted."""
    chosen = np.random.default_rng([seed, count]).choice(total, min(count, total), replace=False)
    return np.sort(chosen).astype(np.int64)


def spread_rows(rows: Sequence[int]) -> set[int]:
    """The rows at which other subsets are tried: first, middle and last."""
    return {rows[0], rows[len(rows) // 2], rows[-1]} if rows else set()
