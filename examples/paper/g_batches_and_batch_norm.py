"""(g) Minibatch SGD with and without BatchNorm: a batch with more of one group moves the other group's loss.

The pairs are planted; with ``--data`` they are those that opsig mines in an MLP's run of full batches.
"""

import numpy as np
from claims import ANYTHING, Lab, at_most, correlation

from opsigcli.datasets import open_source

lab = Lab(
    "g", "BatchNorm may help SGD by lowering what an imbalance of the groups in a batch does to the losses"
)
BATCH, STEPS = 100, 120
PIECES = (lab.given.limit or 600) // BATCH  # an epoch


def batch_of(seed, step):
    """The positions that ``opsig train`` has in the batch of a step: a piece of each epoch's permutation."""
    epoch, piece = divmod(step, PIECES)
    return np.random.default_rng([seed, epoch]).permutation(BATCH * PIECES)[
        piece * BATCH : (piece + 1) * BATCH
    ]


seen, effect, spread = [], {"": [], "&norm=batch": []}, []
for seed in lab.seeds:
    if lab.given.data:
        data = lab.pictures(limit=BATCH * PIECES)
        wide = lab.setting(seed) | {"data": lab.pictures(limit=BATCH * PIECES, size=32)}
        run = lab.trained("pairs", seed, **wide)
        pair = lab.mined(run)
        positions = [np.flatnonzero(np.isin(run.ids, group.ids)) for group in (pair.first, pair.second)]
        pairs = [tuple(positions)]
    else:
        data = lab.planted("pictures4", seed)
        pairs = open_source(data).known_pairs
    for norm, slopes in effect.items():
        name, model = f"batches{norm.replace('&', '-')}", f"cnn?widths=8,16{norm}"
        run = lab.trained(
            name, seed, data=data, model=model, optimizer="sgd", lr=0.1, batch_size=BATCH, steps=STEPS
        )
        deltas = np.asarray(run.deltas[:], dtype=float)
        more, gap = [], []
        for first, second in pairs:
            for step in range(PIECES, STEPS):
                batch = batch_of(seed, step)
                more.append(
                    np.isin(batch, first).sum() / len(first) - np.isin(batch, second).sum() / len(second)
                )
                gap.append(deltas[step, first].mean() - deltas[step, second].mean())
        slopes.append(np.polyfit(more, gap, 1)[0])
        seen.append(correlation(more, gap))
    print(
        f"seed {seed}: nats per imbalance, without {effect[''][-1]:.2f}, with {effect['&norm=batch'][-1]:.2f}"
    )

with_norm = np.array(effect["&norm=batch"]) / np.array(effect[""])
lab.expect(
    "correlation of imbalance and the groups' loss changes, with and without", seen, at_most(-0.1), at_most(0)
)
why = "the paper says that BatchNorm may help so"
lab.expect("effect of an imbalance with BatchNorm, over that without", with_norm, ANYTHING, at_most(1), why)
lab.end()
