"""(m) Other networks: a ViT and a tanh MLP. ``--data`` takes CIFAR-100, or any folder of classes.

Sharpness is measured at the last step alone; what the losses do is told of the second half of the run.
"""

import numpy as np
from claims import Lab, at_least, between

lab = Lab("m", "the edge and the half of examples that rise are seen across architectures and data sets")
NETS = {
    "ViT": ("vit", "vit?patch=4&width=16", 0.1, 60),  # the runs of (e)
    "tanh MLP": ("tanh", "mlp?hidden=64,64&activation=tanh", 0.1, 100),
}
if lab.gpu:
    NETS = {
        "ViT": ("other-vit", "vit", 0.05, 400),
        "VGG-11": ("other-vgg", "vgg11", 0.05, 400),
        "ResNet-18": ("other-resnet", "torchvision:resnet18", 0.05, 400),
    }
top, up, cancel = ({name: [] for name in NETS} for _ in range(3))
for seed in lab.seeds:
    for name, (folder, model, lr, steps) in NETS.items():
        data = lab.pictures(seed=seed, each=20, limit=200)
        run = lab.trained(folder, seed, data=data, model=model, lr=lr, steps=steps)
        (point,) = lab.opsig("sharpness", store=run.path, steps=f"{steps}:{steps}", layers=True).points[-1:]
        top[name].append(point.ratio)
        deltas = np.asarray(run.deltas[steps // 2 :], dtype=float)
        up[name].append(np.median((deltas > 0).mean(axis=1)))
        cancel[name].append(np.median(1 - np.abs(deltas.sum(axis=1)) / np.abs(deltas).sum(axis=1)))

for name in NETS:
    why = "a CNN was among the networks until a first run; its numbers were not kept"
    lab.expect(f"{name}: sharpness over 2/η at the last step", top[name], at_least(0.8), at_least(0.8), why)
    half = between(0.35, 0.65)
    lab.expect(f"{name}: median share of examples that rise, second half", up[name], half, half)
    what = f"{name}: median part of the loss changes that cancel, second half"
    lab.expect(what, cancel[name], at_least(0.7))
lab.end()
