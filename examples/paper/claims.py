"""What the scripts of this folder share: running opsig, and holding what was seen against what was expected.

A script states a claim of the paper, runs opsig, and calls ``Lab.expect`` for each number. Two things are kept apart:
what *we* expect opsig to see, by the theory and the settings, written down before the run; and what the *paper* says.
A script ends with exit status 1 where our expectation fails, and only there. Where we know that a small run differs
from the paper, the difference is what we expect, and ``why`` says the reason.

The default data are drawn here (``examples/vision/pictures.py``) or planted, and need no download; ``--data`` names a
folder of pictures for each class, or a spec of pictures. ``--scale gpu`` takes networks and numbers of examples of the
paper's order, and keeps every step in two windows alone, with a few between.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import opsigcli as opsig

HERE = Path(__file__).resolve().parent
DRAWN = "drawn pictures"
WINDOWS = "0:20:1,20:340:20,340:400:1"  # of 400 steps at GPU scale: 97 checkpoints, 4.4 GB of a ResNet-18
HIDDEN = ("store", "stores", "progress", "fresh", "seed", "data", "device")


@dataclass(frozen=True)
class Range:
    """Where a number should be, in every seed."""

    low: float = -np.inf
    high: float = np.inf

    def __contains__(self, value):
        return bool(self.low <= value <= self.high)

    def __str__(self):
        if np.isinf(self.low) and np.isinf(self.high):
            return "nothing; it is measured"
        if self.high == np.inf:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.low == -np.inf else f"{self.low:g} to {self.high:g}"


ANYTHING = Range()


def at_least(value):
    """From a value on."""
    return Range(low=value)


def at_most(value):
    """Up to a value."""
    return Range(high=value)


def between(low, high):
    """Both ends belong to it."""
    return Range(low, high)


class Lab:
    """One claim: its runs, its expectations, and what became of them.

    Args:
        letter: of the claim.
        claim: what the paper says, in a sentence.
        seeds: of the comparison; ``--quick`` takes the first alone.
        own: the data, where no others make sense; ``--data`` is then refused.
    """

    def __init__(self, letter, claim, seeds=(0, 1, 2), own=""):
        parser = argparse.ArgumentParser(description=claim)
        parser.add_argument("--out", type=Path, default=Path("opsig-paper"), help="where runs and results go")
        parser.add_argument(
            "--data", help="a folder of pictures for each class, or a spec as cifar:DIR (default: drawn ones)"
        )
        parser.add_argument("--limit", type=int, help="pictures at most (default: as the scale has it)")
        parser.add_argument("--quick", action="store_true", help="one seed, to see that it runs")
        parser.add_argument("--scale", choices=("cpu", "gpu"), default="cpu")
        parser.add_argument("--seeds", type=int, help="how many (default: three)")
        self.given = parser.parse_args()
        self.letter, self.claim = letter, claim
        self.quick, self.gpu = self.given.quick, self.given.scale == "gpu"
        self.seeds = tuple(range(self.given.seeds or (1 if self.quick else len(seeds))))
        self.commands, self.lines, self.begun, self.data_words = [], [], time.monotonic(), set()
        self.place = self.given.out.resolve()
        self.place.mkdir(parents=True, exist_ok=True)
        print(f"({letter}) {claim}", flush=True)
        if own and self.given.data:
            self.refuse(f"this is about {own}, which no other data have: leave out --data")

    def refuse(self, words):
        """End with exit status 2: what was asked for makes no sense here."""
        print(f"({self.letter}) {words}", file=sys.stderr)
        sys.exit(2)

    # Running

    def opsig(self, verb, *words, **options):
        """Run a command of opsig and keep it; runs that are there already are not made again."""
        text = " ".join(["opsig", verb, *(Path(w).name for w in words), *_options(options)])
        print(f"$ {text}", flush=True)
        short = " ".join(
            [
                verb,
                *(["RUN"] if words else []),
                *_options({k: v for k, v in options.items() if k not in HIDDEN}),
            ]
        )
        if short not in self.commands:
            self.commands.append(short)
        if verb == "train" and self.gpu:  # how long, and how many bytes, before it begins
            print(*opsig.train(*words, **options, dry_run=True).outcome.view, sep="\n", flush=True)
        return getattr(opsig, verb)(*words, **options)

    def pictures(self, size=16, seed=0, each=100, limit=1000, more=""):
        """The spec of the pictures: of ``--data``, or drawn anew for each seed."""
        if self.given.data:
            spec = self.given.data if ":" in self.given.data else f"folder:{self.given.data}"
            self.data_words.add(Path(spec.partition(":")[2].partition("?")[0]).resolve().parent.name)
            limit = self.given.limit or (10_000 if self.gpu else limit)
            sign = "&" if "?" in spec else "?"
            return f"{spec}{sign}limit={limit}&size={32 if self.gpu else size}&standardize=channel{more}"
        self.data_words.add(DRAWN)
        folder = self.place / f"pictures-{each}-{seed}"
        if not folder.exists():
            draw = HERE.parent / "vision" / "pictures.py"
            subprocess.run([sys.executable, draw, folder, str(each), str(seed)], check=True)
        return f"folder:{folder}?size={size}&standardize=channel{more}"

    def planted(self, scenario, seed, n=600):
        """The spec of a planted dataset, in which the opposing pairs are known."""
        self.data_words.add(f"planted {scenario}")
        return f"planted?scenario={scenario}&n={n}&seed={seed}"

    def trained(self, name, seed, trace=None, **options):
        """A run of every step: trained and traced. Returns the store, opened."""
        folder = self.place / f"{name}-{seed}"
        self.opsig("train", folder / "run", seed=seed, **options)
        return self.opsig("trace", folder / "run", store=folder / "opsig.h5", **(trace or {})).run

    def setting(self, seed):
        """What most claims stand on: full-batch gradient descent across the edge of stability.

        With drawn pictures a ReLU network of two layers; with photographs a wider one; at GPU scale a ResNet-18.
        """
        if self.gpu:
            setting = {"model": "torchvision:resnet18", "lr": 0.05, "steps": 400}
        elif self.given.data:
            setting = {"model": "mlp?hidden=200,200&activation=relu", "lr": 0.05, "steps": 300}
        else:
            setting = {"model": "mlp?hidden=64,64&activation=relu", "lr": 0.1, "steps": 200}
        return setting | {"data": self.pictures(seed=seed, size=32 if self.given.data else 16)}

    def descent(self, seed, whole=False, **trace):
        """The run of that setting; at GPU scale every step of it only if the claim needs the ``whole``."""
        if self.gpu and not whole:
            return self.trained("windows", seed, trace, **self.setting(seed), save_steps=WINDOWS)
        return self.trained("descent", seed, trace, **self.setting(seed))

    def mined(self, run):
        """The pair that holds most of the loss changes in the first oscillation."""
        pairs = self.opsig("mine", store=run.path, window="first", surrogates=0).pairs
        if not pairs:
            sys.exit("no pairs were proposed")
        return max(pairs, key=lambda pair: pair.evidence["share_of_loss_change"].value)

    # What was seen

    def expect(self, what, seen, ours, paper=None, why="", revised=""):
        """Hold a number of each seed against what was expected.

        Args:
            what: the number, in words.
            seen: its value in each seed.
            ours: the range that we expect, in every seed.
            paper: the range that follows from the paper's claim; None where it says nothing of this number.
            why: what stands behind the paper's verdict; where ours differs from the paper's, the reason.
            revised: what we had expected before a first run, where that failed; the table says it beside ours.
        """
        seen = [float(value) for value in seen]
        line = {
            "claim": self.letter,
            "paper says": self.claim,
            "commands": self.commands,
            "data": sorted(self.data_words),
            "what": what,
            "expected": str(ours) + (f" (before a first run: {revised}; it was not so)" if revised else ""),
            "seen": [round(value, 4) for value in seen],
            "mean": round(float(np.mean(seen)), 4),
            "spread": round(float(np.std(seen, ddof=1)), 4) if len(seen) > 1 else None,
            "agrees": all(value in ours for value in seen),
            "paper": _verdict(seen, paper, why),
        }
        self.lines.append(line)
        print(
            f"{'as expected' if line['agrees'] else 'NOT AS EXPECTED'}: {what}: {said(line)}; "
            f"expected {ours}; paper: {line['paper']}",
            flush=True,
        )

    def end(self):
        """Write what was seen, a line of JSON for each expectation, and exit with 1 if one failed."""
        seconds = round(time.monotonic() - self.begun)
        file = self.place / f"{self.letter}.jsonl"
        file.write_text("".join(json.dumps(line | {"seconds": seconds}) + "\n" for line in self.lines))
        failed = [line["what"] for line in self.lines if not line["agrees"]]
        print(
            f"({self.letter}) {len(self.lines)} expectations, {len(failed)} failed, {seconds} s", flush=True
        )
        sys.exit(1 if failed else 0)


def said(line):
    """Mean and spread over seeds, and each seed's value."""
    each = ", ".join(f"{value:.3g}" for value in line["seen"])
    if line["spread"] is None:
        return f"{each} (1 seed)"
    return f"{line['mean']:.3g} ± {line['spread']:.2g} ({each})"


def _verdict(seen, paper, why):
    if paper is None:
        return f"says nothing of it{': ' + why if why else ''}"
    missed = sum(value not in paper for value in seen)
    if not missed:
        return f"agrees{'; ' + why if why else ''}"
    seeds = f"in {missed} of {len(seen)} seeds " if missed < len(seen) else ""
    return f"differs: {seeds}not {paper}{'; ' + why if why else ''}"


def _options(options):
    """As on the command line."""
    found = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            found.append(flag)
        elif isinstance(value, (list, tuple)):
            found.extend(f"{flag} {Path(str(each)).name}" for each in value)
        else:
            text = re.sub(r"/\S*/", "", str(value))  # of a path its last part
            text = re.sub(r"-\d+(?=\.csv$)", "", text)  # a file of ids of each seed
            found.append(f"{flag} '{text}'" if set(text) & set(" ?&") else f"{flag} {text}")
    return found


# Numbers that several claims use


def correlation(first, second):
    """Pearson's."""
    return float(np.corrcoef(first, second)[0, 1])


def period_two(series):
    """Correlation of the changes of a series with the changes one step later; −1 is a swing of period two."""
    changes = np.diff(series)
    return correlation(changes[:-1], changes[1:])


def edge(points):
    """The first step at which the sharpness is measured at or above the threshold; without one the script ends."""
    reached = [p.step for p in points if p.ratio is not None and p.ratio >= 1 and p.step < points[-1].step]
    if not reached:
        largest = max(p.ratio for p in points if p.ratio is not None)
        sys.exit(
            f"the sharpness came to {largest:.2f} of 2/η, so there is no edge to speak of: take more pictures"
        )
    return reached[0]


def single(run):
    """Whether the change from each checkpoint to the next is that of a single step, (T − 1,)."""
    return np.diff(run.steps) == 1


def means(run, pair):
    """Mean loss of both groups of a pair at each checkpoint, (2, T)."""
    return np.stack(
        [np.asarray(run.losses.of(group.ids)).mean(axis=1) for group in (pair.first, pair.second)]
    )


def rises(series):
    """Sum of the positive changes: how much a loss went up on its way."""
    return float(np.diff(series).clip(min=0).sum())
