"""(b) Sharpness rises to 2/η and hovers there; groups swing and the loss spikes from then on: one figure."""

import numpy as np
from claims import Lab, at_least, at_most, between, edge, means, single

lab = Lab("b", "sharpness grows to 2/η and hovers there, while groups oscillate and the loss spikes")
start, later, before, spikes = [], [], [], []
for seed in lab.seeds:
    run = lab.descent(seed)
    pair = lab.mined(run)
    points = lab.opsig("sharpness", store=run.path, every=5).points
    onset = edge(points)
    ratios = np.array([point.ratio for point in points])
    reached = np.array([point.step >= onset for point in points])
    start.append(ratios[0])
    later.append(np.median(ratios[reached]))
    first, second = means(run, pair)
    swing, early, kept = np.abs(np.diff(first - second)), run.steps[:-1] < onset, single(run)
    before.append(np.median(swing[~early & kept]) / np.median(swing[early & kept]))
    spikes.append(sum(spike.next_step < onset for spike in run.spikes))
    if run.spikes and not lab.quick:
        lab.opsig("report", stores=[run.path], figure=str(run.path.with_name("edge.pdf")))

lab.expect("sharpness over 2/η at step 0", start, at_most(0.7), at_most(1))
lab.expect(
    "median of sharpness over 2/η from where it reaches it on", later, between(0.9, 1.6), between(0.8, 1.5)
)
lab.expect("swing of the groups from there on, over that before", before, at_least(3), at_least(1))
lab.expect("spikes of the mean loss that end before", spikes, at_most(0), at_most(0))
lab.end()
