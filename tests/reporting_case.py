"""A made-up case for the tests of reports: two groups of a pair swap losses at every step, and one spike."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console, RenderableType

from opsigcli.mining_records import (
    REST,
    SIDES,
    Evidence,
    Group,
    GroupKey,
    Mining,
    Pair,
    Spike,
    TopDeltas,
)
from opsigcli.records import (
    Case,
    LossTrace,
    Provenance,
    Run,
    Thumbnails,
)
from opsigcli.sharpness_records import SharpnessPoint

SPIKE_AT = 20  # index of the checkpoint before the rise
HOSTILE = "<img src=x onerror=alert(1)>&\"'[bold]"


def with_losses(case: Case, losses: Any) -> Case:
    """The same case with other losses."""
    return replace(case, trace=replace(case.trace, losses=losses))


def make_case(
    *,
    checkpoints: int = 41,
    examples: int = 24,
    every: int = 1,
    classes: tuple[str, ...] = ("cat", "dog", "frog"),
    images: bool = True,
    pairs: int = 1,
    names: tuple[str, ...] = (),
) -> Case:
    """A case of T checkpoints and N examples; groups of a sixth of the examples or less, ids 100, 107, 114, …"""
    rng = np.random.default_rng(3)
    steps = np.arange(checkpoints, dtype=np.int64) * every
    ids = np.arange(examples, dtype=np.int64) * 7 + 100
    labels = np.arange(examples, dtype=np.int64) % len(classes)
    losses = np.repeat(2.0 * np.exp(-np.arange(checkpoints) / 30)[:, None], examples, axis=1)
    losses += rng.uniform(0, 0.05, losses.shape)
    size = examples // max(6, 2 * pairs)
    sides = [
        (np.arange(2 * k * size, (2 * k + 1) * size), np.arange((2 * k + 1) * size, (2 * k + 2) * size))
        for k in range(pairs)
    ]
    swing = 0.2 * (-1.0) ** np.arange(checkpoints)
    for first, second in sides:
        losses[:, first] += 0.3 + swing[:, None]
        losses[:, second] += 0.3 - swing[:, None]
    if checkpoints > SPIKE_AT + 1:
        losses[SPIKE_AT + 1] += 1.0
        for first, _ in sides:
            losses[SPIKE_AT + 1, first] += 1.0
    losses = losses.astype(np.float32)
    trace = LossTrace(
        steps,
        ids,
        labels,
        losses,
        np.ones(checkpoints, dtype=bool),
        names=names or tuple(f"{i}.png" for i in ids),
    )
    run = Run(
        checkpoints="/data/runs/demo",
        model="mlp?hidden=8",
        data="planted",
        loss="ce",
        optimizer="gd",
        hyper={"lr": 0.08},
        classes=classes,
        fingerprint="ab" * 32,
        transform={"standardize": "channel"},
    )
    mining = _mining(trace, sides, classes)
    pictures = tuple(np.full((4, 6, 3), i % 256, dtype=np.uint8) for i in range(examples))
    return Case(
        run=run,
        trace=trace,
        mining=mining,
        spikes=mining.spikes,
        sharpness=tuple(_point(int(step), 10.0 + int(step) / every) for step in steps[::4]),
        thumbnails=Thumbnails(ids, pictures) if images else None,
        provenance={
            "trace": Provenance("trace", {"checkpoints": "runs/my demo", "store": "opsig.h5"}, "0.1.0"),
            "mine": Provenance("mine", {"store": "opsig.h5", "top": 5, "export": None}, "0.1.0"),
        },
    )


def _mining(trace: LossTrace, sides: list[Any], classes: tuple[str, ...]) -> Mining:
    deltas = np.diff(trace.losses, axis=0)
    strongest = min(SPIKE_AT, len(deltas) - 1)

    def group(positions: Any) -> Group:
        counts = Counter(classes[label] for label in trace.labels[positions])
        return Group(trace.example_ids[positions], dict(counts.most_common()))

    evidence = {
        "gradient_cosine": Evidence(-0.92, -0.32, 0.005),
        "share_of_loss_change": Evidence(0.5, 0.3, 0.005),
        "share_ratio": Evidence(2.0, 1.2, 0.005),
        "separation": Evidence(float("nan")),
        "clarity": Evidence(1.5, 0.9, 0.05),
    }
    pairs = tuple(
        Pair(
            group(first),
            group(second),
            Evidence(0.6, 0.1, 0.005),
            evidence,
            "opposing outliers",
            ("their mean gradients point apart",),
            int(trace.steps[strongest]),
        )
        for first, second in sides
    )
    top = []
    for row, delta in enumerate(deltas):
        order = np.argsort(-delta, kind="stable")
        up, down = order[:5], order[::-1][:5]
        ids = trace.example_ids
        span = (int(trace.steps[row]), int(trace.steps[row + 1]))
        top.append(TopDeltas(*span, ids[up], delta[up], ids[down], delta[down]))
    spikes = []
    if len(deltas) > SPIKE_AT:
        rise = float(trace.mean_losses[SPIKE_AT + 1] - trace.mean_losses[SPIKE_AT])
        shares = {GroupKey(i, side): 0.1 for i in range(1, len(sides) + 1) for side in SIDES}
        shares[REST] = 1 - sum(shares.values())
        spikes = [Spike(int(trace.steps[SPIKE_AT]), int(trace.steps[SPIKE_AT + 1]), rise, shares)]
    return Mining(
        "simple", pairs, tuple(top), tuple(spikes), (8, 16), len(trace.labels), ("checkpoints are few",)
    )


def _point(step: int, sharpness: float) -> SharpnessPoint:
    converged = step != 8
    reason = "" if converged else "stopped at 200 matvecs"
    residuals = (1e-4 if converged else 0.02,)
    return SharpnessPoint(step, (sharpness,), residuals, converged, 12, 25.0, sharpness / 25.0, reason=reason)


def show(renderables: list[RenderableType], width: int = 80, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    console = Console(
        file=io.TextIOWrapper(raw, encoding=encoding, errors="replace"), width=width, highlight=False
    )
    for renderable in renderables:
        console.print(renderable)
    console.file.flush()
    return raw.getvalue().decode(encoding)
