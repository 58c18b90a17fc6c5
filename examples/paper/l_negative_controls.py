"""(l) Where nothing opposes, nothing is found: white noise, a small learning rate, classes without groups."""

import numpy as np
from claims import Lab, at_most

lab = Lab("l", "opposing signals come with structure in the inputs and with the edge of stability")
noise, sharp, small, rose, spikes, classes = [], [], [], [], [], []
for seed in lab.seeds:
    data, model = f"noise?n=400&shape=3,8,8&classes=6&seed={seed}", "mlp?hidden=64,64&activation=tanh"
    lab.data_words |= {"white noise"}
    run = lab.trained("noise", seed, data=data, model=model, lr=0.1, steps=100)
    noise.append(len(lab.opsig("mine", store=run.path).findings))
    sharp.append(max(point.ratio for point in lab.opsig("sharpness", store=run.path, every=25).points))
    small_lr = {"model": "mlp?hidden=64,64&activation=relu", "lr": 0.005, "steps": 100}
    run = lab.trained("small", seed, data=lab.pictures(seed=seed, each=50), **small_lr)
    small.append(max(point.ratio for point in lab.opsig("sharpness", store=run.path, every=25).points))
    rose.append(np.median((np.asarray(run.deltas[:]) > 0).mean(axis=1)))
    spikes.append(len(run.spikes))
    data = lab.planted("null-gauss", seed, n=400)
    run = lab.trained("classes", seed, data=data, model=model, lr=0.4, steps=100)
    classes.append(len(lab.opsig("mine", store=run.path).findings))

lab.expect("white noise: findings", noise, at_most(0), at_most(0))
lab.expect("white noise: largest sharpness over 2/η", sharp, at_most(1), at_most(1))
lab.expect("a twentieth of the learning rate: largest sharpness over 2/η", small, at_most(1), at_most(1))
lab.expect("the same: median share of examples that rise", rose, at_most(0.35), at_most(0.5))
lab.expect("the same: spikes", spikes, at_most(0), at_most(0))
lab.expect("Gaussian classes without groups: findings", classes, at_most(0), at_most(0))
lab.end()
