"""(d) The groups' features are large inside the network: norms per layer against random pictures.

opsig finds the groups; norms are taken from the saved weights with plain torch.
"""

import numpy as np
import torch
from claims import Lab, at_least
from safetensors.torch import load_file

from opsigcli.datasets import open_source

lab = Lab("d", "opposing features have large norm inside the network, in every layer, against random images")
if lab.gpu:
    lab.refuse("the norms are those of the MLP: leave out --scale gpu")


def norms(weights, inputs):
    """Norms of the inputs and of what each hidden layer puts out, (L + 1, N)."""
    hidden = inputs.flatten(1)
    found = [hidden.norm(dim=1)]
    for name in ("hidden1", "hidden2"):
        hidden = torch.relu(hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])
        found.append(hidden.norm(dim=1))
    return torch.stack(found).numpy()


matched, grown, noise = [], [], []
for seed in lab.seeds:
    run = lab.descent(seed)
    pair = lab.mined(run)
    source = open_source(run.specs.data)
    inputs = torch.from_numpy(source.read(np.arange(len(source.ids))))
    members = np.isin(run.ids, np.concatenate([pair.first.ids, pair.second.ids]))
    rng = np.random.default_rng(seed)
    random = np.concatenate(  # as many of the same classes, none of them a member
        [
            rng.choice(
                np.flatnonzero(~members & (run.labels == label)),
                min(count, (~members & (run.labels == label)).sum()),
            )
            for label, count in zip(*np.unique(run.labels[members], return_counts=True), strict=True)
        ]
    )
    static = torch.randn(len(inputs), *inputs.shape[1:], generator=torch.Generator().manual_seed(seed))
    ratio = {}
    for row in (0, len(run.steps) // 2):
        weights = load_file(lab.place / f"descent-{seed}" / "run" / run.files[row])
        own = norms(weights, inputs)
        ratio[row] = own[:, members].mean(axis=1) / own[:, random].mean(axis=1)
        against = own[:, members].mean(axis=1) / norms(weights, static).mean(axis=1)
    print(f"seed {seed}: by layer, members over random of their classes {np.round(ratio[row], 2)}", end="; ")
    print(f"at step 0 {np.round(ratio[0], 2)}; over white noise {np.round(against, 2)}")
    matched.append(ratio[row][-1])
    grown.append(ratio[row][-1] / ratio[row][0])
    noise.append(against[-1] / against[0])

lab.expect(
    "last hidden layer: members over random pictures of their classes", matched, at_least(1), at_least(1)
)
lab.expect(
    "that ratio in the last hidden layer, over the same in the inputs",
    grown,
    at_least(0.5),
    revised="at least 0.8",
)
lab.expect("the same against white noise instead of pictures", noise, at_least(1.5), at_least(1))
lab.end()
