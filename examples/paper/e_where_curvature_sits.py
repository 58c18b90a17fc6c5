"""(e) Where curvature sits over training: the last layer, then early ones; in transformers by kind of layer."""

import numpy as np
from claims import Lab, at_least, at_most, edge

lab = Lab(
    "e",
    "sharpness starts in the last layer and moves to the first few; in transformers embedding and early MLPs",
)


def by_layer(point):
    """Shares of the top eigenvector, in the order of the layers."""
    return [layer.shares[0] for layer in point.layers]


start, first, moved, transformer, embedding = [], [], [], [], []
for seed in lab.seeds:
    run = lab.descent(seed)
    points = lab.opsig("sharpness", store=run.path, every=20, layers=True).points
    late = [by_layer(point) for point in points if point.step >= edge(points)]
    start.append(by_layer(points[0])[-1])
    first.append(np.median([shares[0] for shares in late]))
    moved.append(np.median([shares[-1] for shares in late]) - by_layer(points[0])[-1])
    print(f"seed {seed}, MLP: step 0 {np.round(by_layer(points[0]), 2)}, at the edge {np.round(late[-1], 2)}")
    data = lab.pictures(seed=seed, each=20, limit=200)
    steps = 60
    run = lab.trained("vit", seed, data=data, model="vit?patch=4&width=16", lr=0.1, steps=steps)
    points = lab.opsig("sharpness", store=run.path, steps=f"{steps}:{steps}", layers=True).points
    kinds = {kind.name: kind.shares[0] for kind in points[-1].kinds}
    print(f"seed {seed}, ViT: {', '.join(f'{name} {share:.2f}' for name, share in kinds.items())}")
    transformer.append(sum(share for name, share in kinds.items() if name in ("embedding", "mlp")))
    embedding.append(kinds.get("attention", 0.0))

small = "a net of two hidden layers has one early layer, which holds most from the start"
lab.expect("MLP, step 0: share of the last layer", start, at_most(0.5), at_least(0.5), small)
lab.expect("MLP, from the edge on: share of the first layer", first, at_least(0.5), at_least(0.5))
lab.expect("MLP: share of the last layer, later less at step 0", moved, at_most(0.1), at_most(0))
lab.expect("ViT: share of embedding and MLPs", transformer, at_least(0.5), at_least(0.5))
lab.expect("ViT: share of attention", embedding, at_most(0.3), at_most(0.5))
lab.end()
