"""(f) Once the oscillation runs, about half of all examples rise in loss at each step."""

import numpy as np
from claims import Lab, at_most, between, edge, single

lab = Lab("f", "about half of all examples rise in loss at a step once the oscillation runs")
up, before, cancel = [], [], []
for seed in lab.seeds:
    run = lab.descent(seed)
    points = lab.opsig("sharpness", store=run.path, every=5).points
    kept = single(run)
    deltas = np.asarray(run.deltas[:], dtype=float)[kept]
    rising = (deltas > 0).mean(axis=1)
    late = run.steps[:-1][kept] >= edge(points)
    up.append(np.median(rising[late]))
    before.append(np.median(rising[: late.argmax()]))
    sums = 1 - np.abs(deltas.sum(axis=1)) / np.abs(deltas).sum(axis=1)
    cancel.append(np.median(sums[late]))

lab.expect("median share of examples that rise, from the edge on", up, between(0.4, 0.6), between(0.4, 0.6))
lab.expect("the same before the edge", before, at_most(0.35), why="below the edge nearly all should fall")
lab.expect("median part of the loss changes that cancel, from the edge on", cancel, between(0.8, 1))
lab.end()
