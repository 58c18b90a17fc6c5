"""(k) Grokking on modular addition, and a simple feature learned before a complex one: what opsig sees of each."""

import numpy as np
from claims import Lab, at_least, at_most

OWN = {"modular addition", "two features"}
claim = "the paper discusses grokking and simplicity bias, and measures neither"
lab = Lab("k", claim, own=" and ".join(sorted(OWN)))
lab.data_words = OWN
COMPLEX = ("product",) if lab.quick else ("product", "digits", "slabs")
delay, late, flat, order = [], [], [], {kind: [] for kind in COMPLEX}
for seed in lab.seeds:
    seen, unseen = (f"modular?p=23&share=0.6&part={part}&seed={seed}" for part in ("train", "test"))
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
    # A line decides 90 % of the examples; the other 10 % go against it and need the complex feature.
    for kind in COMPLEX:
        data, model = f"simplicity?complex={kind}&seed={seed}", "mlp?hidden=64,64&activation=tanh"
        run = lab.trained(f"simplicity-{kind}", seed, data=data, model=model, lr=0.3, steps=200)
        against = np.array([name.startswith("against") for name in run.names])
        losses = np.asarray(run.losses[:], dtype=float)
        half = [
            int((losses[:, part].mean(axis=1) < 0.5 * np.log(2)).argmax() or len(losses))
            for part in (~against, against)
        ]
        order[kind].append(half[1] / half[0])

lab.expect("grokking: the unseen loss is largest at the fit or later (1 = yes)", delay, at_least(1))
lab.expect("grokking: unseen loss at the end, over its largest", late, at_most(0.7))
lab.expect("grokking: sharpness at the end, over its largest", flat, at_most(1))
FEATURE = {
    "product": "the product of two signs",
    "digits": "a 3 or an 8 above bright or dark noise",
    "slabs": "one of five slabs (at least: none are by step 200)",
}
for kind in COMPLEX:
    what = (
        f"simplicity: steps until examples against the line are learned, over those with it; {FEATURE[kind]}"
    )
    lab.expect(what, order[kind], at_least(1.2))
lab.end()
