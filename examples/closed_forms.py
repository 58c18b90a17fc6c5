"""Training that is known in closed form: what opsig measures beside the formulas, in numbers and in a picture.

python examples/closed_forms.py [--out FOLDER] [--quick]

By hand, one of its runs, in which ``mine`` finds the pair that the theory says opposes:

    $ opsig train axis --preset one-axis --record-losses
    $ opsig mine

Two models, ``two-layer-linear`` (ŷ = c (b·x + a z) with a feature z that two groups have with opposite signs) and
``one-axis`` (logits w x of groups with one input and two labels). Every number is held against its formula to the
tolerance that is printed; the script ends with exit status 1 where one is further off. The picture is closed_forms.png.
The loss ``mse`` is twice the ½(ŷ − y)² of the formulas: its sharpness is twice theirs, and its time runs twice as fast.
"""

import argparse
import math
import sys
from pathlib import Path

import matplotlib  # noqa: TID253
import numpy as np

import opsigcli as opsig

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: TID253

ALPHA, BETA, KAPPA = 10.0, 4.0, 0.3
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument(
    "--out", type=Path, default=Path("opsig-closed-forms"), help="where runs and the picture go"
)
parser.add_argument("--quick", action="store_true", help="fewer runs, to see that it runs")
given = parser.parse_args()
place = given.out.resolve()
place.mkdir(parents=True, exist_ok=True)
figure, panels = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
off = []


def held(what, measured, formula, tolerance):
    """Print both, and remember where they are further apart than a share of the formula."""
    good = bool(np.all(np.abs(np.subtract(measured, formula)) <= tolerance * np.abs(formula)))
    pairs = ", ".join(
        f"{m:.4g} ({f:.4g})" for m, f in zip(np.ravel(measured), np.ravel(formula), strict=True)
    )
    print(f"{'agrees' if good else 'OFF'} within {tolerance:.0%}: {what}: {pairs}", flush=True)
    if not good:
        off.append(what)


def trained(name, **options):
    """A run whose losses are kept as it trains; its store, opened."""
    store = place / f"{name}.h5"
    opsig.train(place / name, record_losses=True, store=store, **options)
    return opsig.open(store)


def linear(name, start, lr, steps, beta=BETA, kappa=0.0, **options):
    """A run of the two-layer model from (c, a, ‖b‖), along β."""
    c, a, b = start
    return trained(
        name,
        model=f"two-layer-linear?c={c}&a={a}&b={b}&aligned=true",
        data=f"two-layer-linear?d=5&alpha={ALPHA}&beta={beta}&copies=4&kappa={kappa}",
        loss="mse",
        lr=lr,
        steps=steps,
        **options,
    )


def plotted(panel, title, x, measured, formula, fine=None):
    """Measured as points, the formula as a line."""
    panel.plot(*(fine or (x, formula)), color="0.6", label="formula")
    panel.plot(x, measured, "o", color="tab:blue", markersize=4, label="measured")
    panel.set_title(title, fontsize=10)
    panel.legend(frameon=False)


# Sharpness along a logistic curve, from a balanced start: S(t) = α‖β‖ / (1 + (‖β‖/q₀ − 1) exp(−2‖β‖t)), q₀ = c₀².
q, lr = 0.01, 2e-3
run = linear("growth", (q**0.5, 1e-3, q**0.5), lr, 400, save_steps="0:400:40")
points = opsig.sharpness(store=run.path).points
steps = np.array([point.step for point in points])
seen = np.array([point.eigenvalues[0] for point in points]) / 2


def logistic(step):
    return ALPHA * BETA / (1 + (BETA / q - 1) * np.exp(-2 * BETA * 2 * lr * step))


later = (
    logistic(steps) > 2 * BETA
)  # before, another direction (b against c) is sharper than that of the groups
held("sharpness along the logistic curve", seen[later], logistic(steps)[later], 0.06)
line = np.linspace(0, 400, 200)
plotted(panels[0, 0], "sharpness S(t), small steps", steps, seen, None, (line, logistic(line)))

# At the end S∞ = α (D + √(D² + 4‖β‖²)) / 2, D = c² − ‖b‖² − a²: linear in ‖β‖ from a balanced start.
sizes, ends = np.array([2.0] if given.quick else [1.0, 2.0, 4.0, 6.0]), []
for beta in sizes:
    run = linear(f"end-{beta:g}", (1, 0.2, 0.96**0.5), 2e-3, 1500, beta=beta, save_every=1500)
    ends.append(opsig.sharpness(store=run.path).points[-1].eigenvalues[0] / 2)
held("sharpness at the end, by the size of the signal", ends, ALPHA * sizes, 0.03)
plotted(panels[0, 1], "sharpness at the end over ‖β‖", sizes, ends, ALPHA * sizes)
for c, a, b in () if given.quick else ((1.0, 0.8, 0.6), (0.8, 1.2, 0.6)):
    run = linear(f"end-{c:g}-{a:g}", (c, a, b), 1e-3, 1500, save_every=1500)
    kept = c * c - a * a - b * b
    formula = ALPHA * (kept + math.sqrt(kept**2 + 4 * BETA**2)) / 2
    held(f"at the end from c² − ‖b‖² − a² = {kept:.2f}",
         [opsig.sharpness(store=run.path).points[-1].eigenvalues[0] / 2], [formula], 0.03)  # fmt: skip

# Near the minimum the gap of the groups is multiplied by 1 − ηS at each step: it flips sign where η > 2/S∞, and its
# logarithm has half the slope of that of the excess loss.
for share, colour in ((0.3, "tab:blue"), (1.02, "tab:red")):
    rate = share * 2 / (2 * ALPHA * BETA)
    run = linear(f"gap-{share:g}", (BETA**0.5, 0.02, BETA**0.5), rate, 4, kappa=KAPPA)
    up, down = (
        np.asarray(run.losses.of(run.ids[run.labels == side]), dtype=float).mean(axis=1) for side in (1, 2)
    )
    gap, excess = up - down, run.mean_losses - KAPPA**2 * ALPHA
    held(f"gap of the groups from one step to the next at {share:g} of the edge",
         gap[1:] / gap[:-1], np.full(4, 1 - 2 * share), 0.03)  # fmt: skip
    slopes = np.log(excess[1:] / excess[:-1]) / np.log(np.abs(gap[1:] / gap[:-1]))
    held(f"slope of the excess over that of the gap at {share:g} of the edge", slopes, np.full(4, 2.0), 0.05)
    panel, x = panels[1, 0], np.arange(5)
    panel.plot(x, gap[0] * (1 - 2 * share) ** x, color="0.6")
    panel.plot(x, gap, "o", color=colour, markersize=4, label=f"η = {share:g} · 2/S∞")
panels[1, 0].set_title("gap of the groups near the minimum, by step", fontsize=10)
panels[1, 0].legend(frameon=False)

# Beyond the edge one axis ends in a swing x ↔ −x: tanh(u)/u = (2/η)/λ with u = sx/2, and the gap of the groups is 2u.
p, s = 0.5, 4.0
curvature, rates, gaps = p * s * s / 4, np.array([1.25] if given.quick else [1.05, 1.25, 1.6, 2.0]), []


def swing(rate):
    """u of the formula, by halving."""
    low, high = 1e-6, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.tanh(middle) / middle > 2 / rate / curvature else (low, middle)
    return low


def sides(run):
    """Mean loss of both groups at the last checkpoint: those with an input, by label."""
    members = np.arange(len(run.ids)) < p * len(run.ids)
    return [
        np.asarray(run.losses.of(run.ids[members & (run.labels == label)]))[-1].mean() for label in (0, 1)
    ]


for rate in rates:
    run = trained(f"axis-{rate:g}", model="one-axis", data=f"one-axis?n=40&p={p}&s={s}", lr=rate, steps=100)
    up, down = sides(run)
    gaps.append(abs(up - down))
formula = [2 * swing(rate) for rate in rates]
held("gap of the pair in the swing, by learning rate", gaps, formula, 0.02)
line = np.linspace(1.001, 2.1, 200)
plotted(
    panels[1, 1],
    "one axis: gap 2u in the swing over η",
    rates,
    gaps,
    None,
    (line, [2 * swing(x) for x in line]),
)
# mine finds that pair beyond the edge. Where it is exactly half of the data rounding decides which half is the usual
# one: here it is .4 of it, with the same p s². (Below the edge the two oppose one another as well, while they settle.)
rate = 1.25
run = trained("mined", preset="one-axis", data=f"one-axis?p=0.4&s={20**0.5!r}", lr=rate)
pairs = opsig.mine(store=run.path, surrogates=0).pairs
held(f"pairs that mine finds at η = {rate:g}, with the edge at 1", [len(pairs)], [1], 0.0)
for pair in pairs:
    labels = [set(run.labels[np.isin(run.ids, group.ids)].tolist()) for group in (pair.first, pair.second)]
    both = len(labels[0] & labels[1])
    held("labels on either side, and on both", [*map(len, labels), both], [1, 1, 0], 0.0)
    first, second = (np.asarray(run.losses.of(group.ids))[-1].mean() for group in (pair.first, pair.second))
    held("gap of the pair", [abs(first - second)], [2 * swing(rate)], 0.02)

figure.savefig(place / "closed_forms.png", dpi=150)
print(f"wrote {place / 'closed_forms.png'}")
sys.exit(f"off: {'; '.join(off)}" if off else 0)
