"""(i) What removing, down-weighting, smoothing, SAM do to the rises of the loss, against controls of equal size.

The rises are those of the mean cross-entropy over the examples that no arm removes: neither groups nor controls.
"""

import csv

import numpy as np
from claims import ANYTHING, Lab, at_most, rises

lab = Lab("i", "the groups cause the spikes: without them, or with their weight lowered, the loss rises less")


def listed(file, ids):
    """A file of ids, as ``--exclude`` and ``--downweight`` read them."""
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["id"], *([int(i)] for i in ids)])
    return str(file)


ratio = {}
for seed in lab.seeds:
    setting = {
        "data": lab.planted("img2", seed, n=900),
        "model": "mlp?hidden=64,64&activation=tanh",
        "lr": 0.3,
    }
    run = lab.trained("planted", seed, steps=300, **setting)
    pairs = lab.opsig("mine", store=run.path, surrogates=0).pairs
    groups = np.unique(np.concatenate([ids for pair in pairs for ids in (pair.first.ids, pair.second.ids)]))
    rng, members = np.random.default_rng(seed), np.isin(run.ids, groups)
    control = np.concatenate(  # as many of each class, none of them a member
        [
            rng.choice(run.ids[~members & (run.labels == label)], count, replace=False)
            for label, count in zip(*np.unique(run.labels[members], return_counts=True), strict=True)
        ]
    )
    others = ~members & ~np.isin(run.ids, control)
    mined, random = (
        listed(lab.place / f"{name}-{seed}.csv", ids)
        for name, ids in (("groups", groups), ("random", control))
    )
    arms = {
        "random removed": {"exclude": random},
        "groups removed": {"exclude": mined},
        "groups weighted 0.1": {"downweight": mined},
        "label smoothing 0.1": {"loss": "ce?label_smoothing=0.1"},
        "SAM, rho 0.1": {"optimizer": "sam?rho=0.1"},
    }
    before = rises(np.asarray(run.losses[:201], dtype=float)[:, others].mean(axis=1))
    print(f"seed {seed}, none: rises {before:.3f}; {len(groups)} members")
    for name, changed in arms.items():
        steps = 200
        arm = lab.trained(
            f"arm-{name.replace(' ', '-')}", seed, {"loss": "ce"}, steps=steps, **setting, **changed
        )
        own = rises(np.asarray(arm.losses[:], dtype=float)[:, others].mean(axis=1))
        ratio.setdefault(name, []).append(own / before)
        print(f"seed {seed}, {name}: rises {own:.3f}")

removed = np.array(ratio["groups removed"]) / np.array(ratio["random removed"])
lab.expect(
    "rises without the groups, over those without as many random examples", removed, at_most(0.8), at_most(1)
)
weighted = ratio["groups weighted 0.1"]
lab.expect(
    "rises with the groups weighted 0.1, over those of the plain run", weighted, at_most(1), at_most(1)
)
why = "the paper does not try it"
lab.expect(
    "rises with label smoothing, over those of the plain run",
    ratio["label smoothing 0.1"],
    ANYTHING,
    None,
    why,
)
why = "the paper discusses SAM and has no number"
lab.expect("rises with SAM, over those of the plain run", ratio["SAM, rho 0.1"], ANYTHING, None, why)
lab.end()
