"""(k) Grokking on modular addition, and a simple feature learned before a complex one: what opsig sees of each."""

import numpy as np
from claims import Lab, at_least, at_most

lab = Lab("k", "the paper discusses grokking and simplicity bias, and measures neither")
P = 23
delay, late, flat, order = [], [], [], []
for seed in lab.seeds:
    rng = np.random.default_rng(seed)
    first, second = np.divmod(np.arange(P * P), P)
    x = np.concatenate([np.eye(P)[first], np.eye(P)[second]], axis=1).astype(np.float32)
    y, chosen = (first + second) % P, rng.permutation(P * P)
    cut = int(0.6 * P * P)
    seen, unseen = (
        lab.arrays(f"modular addition {part} {seed}", x=x[rows], y=y[rows])
        for part, rows in (("seen", chosen[:cut]), ("unseen", chosen[cut:]))
    )
    lab.data_words = {"modular addition", "two features"}
    options = {
        "model": "mlp?hidden=128&activation=relu",
        "optimizer": "adamw",
        "lr": 0.01,
        "weight_decay": 1.0,
    }
    run = lab.trained("grokking", seed, data=seen, steps=800, save_every=50, **options)
    folder = lab.place / f"grokking-{seed}"
    test = lab.opsig("trace", folder / "run", store=folder / "unseen.h5", data=unseen).run.mean_losses
    fitted = int((run.mean_losses < 0.3).argmax())
    delay.append(test.argmax() >= fitted - 1)
    late.append(test[-1] / test.max())
    ends = f"{run.steps[fitted]}:{run.steps[-1]}:{run.steps[-1] - run.steps[fitted]}"
    points = (
        lab.opsig("sharpness", store=run.path, every=len(run.steps) - 1 - fitted).points if fitted else []
    )
    flat.append(points[-1].eigenvalues[0] / max(point.eigenvalues[0] for point in points))
    print(
        f"seed {seed}: fitted at step {run.steps[fitted]} ({ends}), unseen loss {test.max():.2f} to {test[-1]:.2f}"
    )
    # A line decides 90 % of the examples; the other 10 % go against it and need a product of two more inputs.
    x = rng.choice([-1.0, 1.0], (600, 8)).astype(np.float32)
    y = (x[:, 1] * x[:, 2] > 0).astype(np.int64)
    x[:, 0] = np.where(rng.random(600) < 0.9, 2 * y - 1, 1 - 2 * y)
    data = lab.arrays(f"two features {seed}", x=x, y=y)
    run = lab.trained(
        "simplicity", seed, data=data, model="mlp?hidden=64,64&activation=tanh", lr=0.3, steps=200
    )
    against = x[:, 0] * (2 * y - 1) < 0
    losses = np.asarray(run.losses[:], dtype=float)
    half = [
        int((losses[:, part].mean(axis=1) < 0.5 * np.log(2)).argmax() or len(losses))
        for part in (~against, against)
    ]
    order.append(half[1] / half[0])

lab.data_words = {"modular addition", "two features"}
lab.expect("grokking: the unseen loss is largest at the fit or later (1 = yes)", delay, at_least(1))
lab.expect("grokking: unseen loss at the end, over its largest", late, at_most(0.7))
lab.expect("grokking: sharpness at the end, over its largest", flat, at_most(1))
what = "simplicity: steps until examples against the line are learned, over those with it"
lab.expect(what, order, at_least(1.2))
lab.end()
