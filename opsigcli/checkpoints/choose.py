"""Which of a file's tensors are the weights, and under which names the model knows them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from opsigcli.errors import CheckpointError
from opsigcli.printable import count
from opsigcli.registry import nearest
from opsigcli.state_dict import WRAPPERS

_AVERAGE = {"ema", "swa", "averaged", "average", "polyak", "shadow"}  # words in a key
_COUNTS = ("n_averaged", "steps")  # of averaged models: torch's, MMEngine's
_MMENGINE = "ema_state_dict"


def choose(
    path: Path, candidates: Mapping[str, Collection[str]], key: str | None, weights: str = ""
) -> tuple[str, dict[str, str]]:
    """The one set of weights that is meant.

    Args:
        path: the file, for the words of an error.
        candidates: key of a set of weights -> names of its tensors.
        key: the set that is meant; or, as ``KEY.prefix`` or ``prefix``, the part of a set below a prefix.
        weights: ``model`` leaves moving averages out, ``ema`` everything else; without it, trained weights go before
            moving averages of them.

    Returns:
        The key of the set, and its tensors as plain name -> name in the file.

    Raises:
        CheckpointError: ``key`` is needed and missing, or names nothing.
    """
    listing = ", ".join(
        f"{name or 'the whole file'} ({count(len(of), 'tensor')})" for name, of in candidates.items()
    )
    if not candidates:
        raise CheckpointError(f"expected weights by name, found none in {path}", "leave it out of the folder")
    if weights and key is None:
        average = averages(candidates)
        candidates = {n: of for n, of in candidates.items() if (n in average) == (weights == "ema")}
        if not candidates:
            raise CheckpointError(
                f"expected weights of the kind {weights}, found in {path}: {listing}", "see the list"
            )
    if key is None:
        average = averages(candidates)
        trained = {name: of for name, of in candidates.items() if name not in average}
        meant = trained if len(trained) == 1 and not weights else candidates
        if len(meant) == 1:
            ((only, names),) = meant.items()
            return only, plain_names(names)
        raise CheckpointError(
            f"expected one set of weights, found {len(candidates)} in {path}: {listing}",
            f"choose one with --key, for example --key {next(iter(candidates))}",
        )
    if key in candidates:
        return key, plain_names(candidates[key])
    for candidate, names in candidates.items():
        prefix = key.removeprefix(f"{candidate}.") + "."
        below = {short.removeprefix(prefix): name for short, name in plain_names(names).items()
                 if short.startswith(prefix)}  # fmt: skip
        if below:
            return candidate, below
    close = nearest(key, [name for name in candidates if name])
    raise CheckpointError(
        f"expected weights under the key {key!r}, found in {path}: {listing}",
        f"try --key {close[0]}" if close else "leave --key out" if len(candidates) == 1 else "see the list",
    )


def has_average(candidates: Mapping[str, Collection[str]]) -> bool:
    """Whether trained weights lie beside a moving average of them."""
    return 0 < len(averages(candidates)) == len(candidates) - 1


def averages(candidates: Mapping[str, Collection[str]]) -> set[str]:
    """The sets of weights that are moving averages of others: by their keys, by AveragedModel's count in them, or as
    Lightning's WeightAveraging and MMEngine's EMAHook keep them, which put the average in the place of the trained
    weights; the hook puts these under the key of the average."""
    if _MMENGINE in candidates and "state_dict" in candidates and _counted(candidates[_MMENGINE]) == "steps":
        return {"state_dict"}
    found = {
        key
        for key, names in candidates.items()
        if "n_averaged" in names or not _AVERAGE.isdisjoint(re.split(r"[^a-z]+", key.lower()))
    }
    return found | ({"state_dict"} & candidates.keys() if "current_model_state" in candidates else set())


def _counted(names: Collection[str]) -> str:
    """What a set of weights under ``module.`` counts the models in it by, as an averaged model does; "" for none."""
    return next(
        (
            count
            for count in _COUNTS
            if count in names and all(name.startswith("module.") for name in names if name != count)
        ),
        "",
    )


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Plain name -> name in the file: what DDP, AveragedModel and wrappers add to names is taken off.

    ``module.`` goes where all names begin with it, ``_orig_mod.`` and the like wherever they stand (a compiled
    submodule has it in the middle), in any order. The count of averaged models is no weight.
    """
    files = list(names)
    short = {name: name for name in files}
    short.pop(_counted(files), None)
    short = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in short}
    while short and all(plain.startswith("module.") for plain in short.values()):
        short = {name: plain.removeprefix("module.") for name, plain in short.items()}
    plain = {plain: name for name, plain in short.items()}
    return plain if len(plain) == len(short) else {name: name for name in files}
