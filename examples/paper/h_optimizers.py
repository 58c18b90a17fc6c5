"""(h) GD, SGD, Adam and the split rule from one initialisation: how much of a step lies along sharp directions."""

import numpy as np
from claims import Lab, at_least, at_most, rises

lab = Lab(
    "h",
    "Adam and the split rule take smaller steps along the top eigenvector than GD and SGD do, and damp it",
)
RULES = {
    "gd": {"optimizer": "gd", "lr": 0.1},
    "sgd": {"optimizer": "sgd", "lr": 0.1, "batch_size": 100},
    "adam": {"optimizer": "adam", "lr": 0.002},
    "split": {"optimizer": "split?quantile=0.9&sign_lr=0.001", "lr": 0.1},
}
along, ratio, up, cancel = ({name: [] for name in RULES} for _ in range(4))
for seed in lab.seeds:
    data = lab.pictures(seed=seed, each=50)
    for name, rule in RULES.items():
        steps = 100
        model = "mlp?hidden=64,64&activation=relu"
        run = lab.trained(f"rule-{name}", seed, data=data, model=model, steps=steps, **rule)
        points = lab.opsig(
            "sharpness", store=run.path, steps=f"{steps // 2}:{steps - 1}", every=10, secant=True
        ).points
        late = [point for point in points if point.step >= steps // 2 and point.secant is not None]
        along[name].append(np.median([abs(point.secant) / point.eigenvalues[0] for point in late]))
        ratio[name].append(np.median([point.ratio for point in late if point.ratio is not None] or [np.nan]))
        up[name].append(rises(run.mean_losses[10:]))
        deltas = np.asarray(run.deltas[steps // 2 :], dtype=float)
        cancel[name].append(np.median(1 - np.abs(deltas.sum(axis=1)) / np.abs(deltas).sum(axis=1)))
        print(
            f"seed {seed}, {name}: curvature along the step over sharpness {along[name][-1]:.3f}, sharpness over "
            f"threshold {ratio[name][-1]:.2f}, rises {up[name][-1]:.3f}, cancelled {cancel[name][-1]:.2f}, "
            f"loss {run.mean_losses[-1]:.3f}"
        )


def over(found, name, other="gd"):
    """Of each seed, one rule's number over another's."""
    return np.array(found[name]) / np.array(found[other])


lab.expect("GD: curvature along the step over the sharpness", along["gd"], at_least(0.1))
lab.expect("Adam: the same, over that of GD", over(along, "adam"), at_most(0.5), at_most(1))
lab.expect("split rule: the same, over that of GD", over(along, "split"), at_most(1.2), at_most(1))
below = "it stays below its own edge here, so this is no damping at the edge"
lab.expect("Adam: rises of the mean loss over those of GD", over(up, "adam"), at_most(0.5), at_most(1), below)
lab.expect(
    "split rule: rises of the mean loss over those of GD", over(up, "split"), at_most(1), at_most(1), below
)
lab.expect("SGD: rises of the mean loss over those of GD", over(up, "sgd"), at_least(1), revised="0.2 to 5")
lab.expect("Adam: preconditioned sharpness over its threshold", ratio["adam"], at_most(1.5))
lab.end()
