"""(c) What the network says of a picture that is nothing but sky swings with the groups that share the sky."""

import numpy as np
from claims import Lab, at_least, at_most, correlation, edge, period_two, single

lab = Lab("c", "the prediction on a constant image of the shared colour swings with the groups")
swing, alternation, together, control = [], [], [], []
for seed in lab.seeds:
    run = lab.descent(seed, probe=["colour:skyblue"])
    late = run.steps >= edge(lab.opsig("sharpness", store=run.path, every=5).points)
    late &= np.append(single(run), True)
    (probe,) = run.case().probes
    sky = probe.probabilities[late]
    most = np.abs(np.diff(sky, axis=0)).mean(axis=0).argmax()
    name = run.classes[probe.classes[most]]
    print(f"seed {seed}: P({name} | sky) of the last steps: {np.round(sky[-6:, most], 2)}")
    swing.append(np.abs(np.diff(sky[:, most])).mean())
    alternation.append(period_two(sky[:, most]))
    losses = np.asarray(run.losses[:])[late]
    mean = {label: losses[:, run.labels == label].mean(axis=1) for label in np.unique(run.labels)}
    changes = np.diff(sky[:, most])
    together.append(correlation(changes, np.diff(mean[probe.classes[most]])))
    others = [correlation(changes, np.diff(series)) for k, series in mean.items() if k != probe.classes[most]]
    control.append(max(others))

lab.expect("mean change per step of the class that swings most", swing, at_least(0.02), at_least(0.005))
lab.expect("correlation of its changes from one step to the next", alternation, at_most(-0.5), at_most(-0.3))
lab.expect(
    "correlation of its changes with those of that class's loss", together, at_most(-0.5), at_most(-0.3)
)
lab.expect("largest such correlation with another class's loss", control, at_least(0.5), at_least(0.3))
lab.end()
