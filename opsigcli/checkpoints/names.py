"""What file names say: step numbers, natural order, and which files are never weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from opsigcli.checkpoints.formats import suffixes
from opsigcli.checkpoints.step_keys import LARGEST_STEP

# The words that come before a number in the names people give checkpoints, and what the number counts.
# A lone "e" must not follow a letter or a digit, or the 1e-4 of a learning rate would be epoch 4. Digits that run
# on into hexadecimal letters are part of a hash. 10,000 is one number.
_DIGITS = r"[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+"
_COUNT = re.compile(
    r"(?:(?:^|[^a-z])(global[_-]?step|step|iter(?:ation)?|it|ba(?:tch)?|epoch|ep|checkpoint|ckpt|model|snapshot)"
    r"|(?:^|[^a-z0-9])(e))"
    rf"[=_-]?({_DIGITS})(?:(\.\d+)?([km])(?![a-z0-9]))?(?=[^0-9a-f]|$)"
)
# The word may also come behind: 3epoch, model_1000_steps. Not where a number follows it, which it is the word of then.
_COUNT_BEFORE = re.compile(
    rf"(?<![a-z0-9.,])({_DIGITS})[_-]?(epochs?|steps?|iter(?:ation)?s?)(?![a-z])(?![=_-]?\d)"
)
_ALONE = re.compile(rf"(?:{_DIGITS})(?:(?:\.\d+)?[km])?")
_TIMES = {"k": 1000, "m": 1_000_000}  # 10k steps
# Numbers of a name: 0.231 and 1e-4 measure, 00020 and 10k may count.
NUMBERS = re.compile(
    r"(?P<real>\d+(?:\.\d+)?e[+-]?\d+|\d+\.\d+(?![km](?![a-z0-9])))|"
    r"(?P<whole>[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?(?:[km](?![a-z0-9]))?)"
)
# What such a number is of where these words stand before it: it measures, or tells runs apart that are no series.
_MEASURES = "loss|nll|acc(?:uracy)?|val|top|m?ap|m?iou|f|auc|psnr|ssim|fid|bleu|ppl|score|err(?:or)?|mse|mae"
_NO_COUNT = re.compile(
    rf"(?:^|[^a-z])(?:{_MEASURES}|lr|wd|seed|fold|rank|worker|gpu|run|trial|exp|version|split)[=_-]?$"
)
MEASURES = re.compile(rf"(?:^|[^a-z])(?:{_MEASURES})[=_-]?$")
_EPOCH = ("epoch", "ep", "e")
_NUMBER = ("checkpoint", "ckpt", "model", "snapshot")

# What scripts call a checkpoint that they keep a second time.
COPY = re.compile(r"(?:^|[^a-z])(?:best|last|latest|final)(?![a-z])")
SHARD = re.compile(r"-\d{5}-of-\d{5}\b")

# Files that training frameworks put beside the weights. Several of them are pickles of arbitrary objects, so they
# are recognised by name and never opened as weights.
_NEVER_WEIGHTS = re.compile(
    r"(?:.*\.optimizer\.safetensors"
    r"|(?:optimizer|scheduler|lr_scheduler|scaler|training_args|criterion)(?:[_-]\d+)?\.(?:pt|pth|bin|pkl|pyth|th)"
    r"|(?:rng_state|random_states|dl_state_dict|sampler)\w*\.(?:pt|pth|pkl|bin)"
    r"|custom_checkpoint_\d+\.pkl"
    r"|.*_optim_states\.pt|.*\.pdopt)"
)


def stem(name: str) -> str:
    """A file name without its checkpoint suffixes: ``best.pth.tar`` is ``best``."""
    known = suffixes()
    while name.endswith(known):
        name = name[: name.rindex(".")]
    return name


@dataclass(frozen=True)
class Counted:
    """What a name counts, among those of its folder."""

    numbers: dict[str, int] = field(default_factory=dict)  # unit (step, epoch, number) -> number
    family: str = ""  # the name with * for the numbers in which it differs from others
    guessed: bool = False  # no word in the name says what counts; it is the number that varies


NOTHING = Counted()


def counts(name: str) -> dict[str, int]:
    """Unit (step, epoch, number) to the number that words in a file name give for it; the last of a kind counts."""
    return {unit: number for unit, (number, _) in _said(stem(name.lower())).items()}


def _said(text: str) -> dict[str, tuple[int, int]]:
    """Unit to a number that a word says to count, and the place where its digits begin."""
    if _ALONE.fullmatch(text):
        return {"number": (_whole(text), 0)} if _whole(text) <= LARGEST_STEP else {}
    found: dict[str, tuple[int, int]] = {}
    for match in _COUNT_BEFORE.finditer(text):
        if (number := _whole(match[1])) <= LARGEST_STEP:
            found["epoch" if match[2].startswith("e") else "step"] = number, match.start(1)
    for match in _COUNT.finditer(text):
        word = match[1] or match[2]
        unit = "epoch" if word in _EPOCH else "number" if word in _NUMBER else "step"
        number = _whole(match[3] + (match[4] or "") + (match[5] or ""))
        if number <= LARGEST_STEP:
            found[unit] = number, match.start(3)
    return found


def counted(files: Iterable[str]) -> dict[str, Counted]:
    """What each of several names counts.

    A word says it (``epoch=3-step=900``). Where no word does, it is the number that varies along names that are equal
    but for it (``weights_00020``, ``resnet18_20``, ``w20``, ``10k``); where several vary, the first of those that tell
    all names apart, if they put them in one order. A number that all of them share counts nothing.
    """
    texts = {file: stem(file.lower()) for file in files}
    alike: dict[tuple[str, ...], list[str]] = {}
    for file, text in texts.items():
        alike.setdefault(tuple(NUMBERS.split(text)[:: NUMBERS.groups + 1]), []).append(file)
    found: dict[str, Counted] = {}
    for between, group in alike.items():
        found |= _of_family(between, {file: texts[file] for file in group})
    return found


def _of_family(between: Sequence[str], texts: dict[str, str]) -> dict[str, Counted]:
    """What names count that are alike but for their numbers."""
    said = {file: _said(text) for file, text in texts.items()}
    rows = {file: list(NUMBERS.finditer(text)) for file, text in texts.items()}
    columns = list(zip(*rows.values(), strict=True))
    varying = {c for c, column in enumerate(columns) if len({match[0] for match in column}) > 1}
    numbers = ["*" if c in varying else match[0] for c, match in enumerate(next(iter(rows.values())))]
    family = "".join(text + number for text, number in zip(between, [*numbers, ""], strict=True))
    if varying:  # a lone number that all share names the model, and no checkpoint
        starts = {file: {row[c].start() for c in varying} for file, row in rows.items()}
        said = {
            file: {u: n for u, n in units.items() if u != "number" or n[1] in starts[file]}
            for file, units in said.items()
        }
    told = {file: {unit: n for unit, (n, _) in units.items()} for file, units in said.items()}
    spoken = any(
        rows[f][c].start() == at for f, units in said.items() for _, at in units.values() for c in varying
    )
    free = [] if spoken else [c for c in sorted(varying) if _may_count(columns[c], between[c])]
    series = {c: {file: _whole(rows[file][c][0]) for file in texts} for c in free}
    apart = [c for c in free if len({*series[c].values()}) == len(texts)]
    if not apart or any(not same_order(series[a], series[b]) for a, b in pairwise(apart)):
        return {file: Counted(units, family) for file, units in told.items()}
    return {file: Counted(told[file] | {"number": series[apart[0]][file]}, family, True) for file in texts}


def same_order(a: Mapping[str, int], b: Mapping[str, int]) -> bool:
    """Whether the second numbers never fall where the first ones rise, over the keys that both have."""
    both = sorted((a[key], b[key]) for key in a.keys() & b.keys())
    return all(x[1] <= y[1] for x, y in pairwise(both) if x[0] < y[0])


def _may_count(column: Sequence[re.Match[str]], before: str) -> bool:
    """Whether a column of numbers may count: whole ones, no part of a hash, and not said to be something else."""
    return not _NO_COUNT.search(before) and all(
        match["whole"]
        and _whole(match[0]) <= LARGEST_STEP
        and match.string[match.end() : match.end() + 1] not in tuple("abcdef")
        for match in column
    )


def _whole(text: str) -> int:
    """``20``, ``20,000`` or ``2.5k`` as a number."""
    text = text.replace(",", "")
    times = _TIMES.get(text[-1])
    return int(text) if times is None else round(float(text[:-1]) * times)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key under which ``model_2`` comes before ``model_10``."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def never_weights(name: str) -> bool:
    """Whether this is a file that frameworks write beside the weights (optimizer, scheduler, random states)."""
    return _NEVER_WEIGHTS.fullmatch(name.lower()) is not None
