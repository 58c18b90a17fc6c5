"""(m) Other networks: a ViT and a tanh MLP. ``--data`` takes CIFAR-100, or any folder of classes."""

import numpy as np
from claims import Lab, at_least, between, edge

lab = Lab(
    "m", "the edge, the swings and the half of examples that rise are seen across architectures and data sets"
)
NETS = {
    "ViT": ("vit?patch=4&width=16", 0.1, 60),
    "tanh MLP": ("mlp?hidden=64,64&activation=tanh", 0.1, 100),
}
if lab.gpu:
    NETS = {
        "ViT": ("vit", 0.05, 400),
        "VGG-11": ("vgg11", 0.05, 400),
        "ResNet-18": ("torchvision:resnet18", 0.05, 400),
    }
top, up, cancel = ({name: [] for name in NETS} for _ in range(3))
for seed in lab.seeds:
    for name, (model, lr, steps) in NETS.items():
        data = lab.pictures(seed=seed, each=30, limit=300)
        run = lab.trained(f"other-{name.replace(' ', '-')}", seed, data=data, model=model, lr=lr, steps=steps)
        points = lab.opsig("sharpness", store=run.path, every=30, tolerance=0.02).points
        top[name].append(max(point.ratio for point in points))
        deltas = np.asarray(run.deltas[:], dtype=float)[run.steps[:-1] >= edge(points)]
        up[name].append(np.median((deltas > 0).mean(axis=1)) if len(deltas) else np.nan)
        cancel[name].append(np.median(1 - np.abs(deltas.sum(axis=1)) / np.abs(deltas).sum(axis=1)))

for name in NETS:
    lab.expect(f"{name}: largest sharpness over 2/η", top[name], at_least(1), at_least(1))
    lab.expect(
        f"{name}: median share of examples that rise, at the edge",
        up[name],
        between(0.35, 0.65),
        between(0.35, 0.65),
    )
    lab.expect(
        f"{name}: median part of the loss changes that cancel, at the edge", cancel[name], at_least(0.7)
    )
lab.end()
