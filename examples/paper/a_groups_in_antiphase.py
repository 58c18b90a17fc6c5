"""(a) The losses of two groups swing in turn, with growing amplitude, until the mean loss spikes.

The data are planted, so that the groups are there by construction; with ``--data`` they are mined in photographs.
The pair looked at is the one that opsig's own attribution gives most of the largest spike to.
"""

import numpy as np
from claims import Lab, at_least, at_most, means

lab = Lab(
    "a", "the losses of opposing groups oscillate in turn and grow, then the loss spikes, and both fall"
)
anti, null, growth, held, fell = [], [], [], [], []
for seed in lab.seeds:
    if lab.given.data:
        run = lab.descent(seed, whole=True)
    else:
        data, model = lab.planted("img2", seed, n=900), "mlp?hidden=64,64&activation=tanh"
        run = lab.trained("planted", seed, data=data, model=model, lr=0.3, steps=300)
    found = lab.opsig("mine", store=run.path, surrogates=0)
    spike = max(found.spikes, key=lambda spike: spike.rise)
    number = max((key for key in spike.share_of_rise if key.pair), key=spike.share_of_rise.get).pair
    pair = found.pairs[number - 1]
    phase = pair.evidence["anti_phase"]  # over steps that were not used to find the pair
    anti.append(phase.value)
    null.append(phase.value - phase.null)
    top, bottom = (run.steps.tolist().index(step) for step in (spike.next_step, spike.step))
    first, second = means(run, pair)
    swing = np.abs(np.diff(first - second))
    growth.append(swing[bottom - 3 : top].max() / np.median(swing[max(bottom - 30, 0) : bottom - 10]))
    fraction = (len(pair.first.ids) + len(pair.second.ids)) / len(run.ids)
    held.append(sum(share for key, share in spike.share_of_rise.items() if key.pair == number) / fraction)
    later = slice(top + 1, top + 9)
    fell.append(max(np.median(group[later]) / group[bottom : top + 1].max() for group in (first, second)))

lab.expect("correlation of the groups' loss changes on held-out steps", anti, at_most(-0.3), at_most(0))
lab.expect("the same, less that of random groups of the same classes", null, at_most(0), at_most(0))
lab.expect(
    "swing at the largest spike, over its median 10 to 30 steps before", growth, at_least(1.5), at_least(1)
)
first = "in drawn pictures and for the pair of the first oscillation, at least 1"
what = "share of the spike held by the pair, over its share of the examples"
lab.expect(what, held, at_least(2), at_least(1), revised=first)
lab.expect("loss of either group after the spike, over its top in the spike", fell, at_most(1), at_most(1))
lab.end()
