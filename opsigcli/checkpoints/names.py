"""What file names say: step numbers, natural order, and which files are never weights."""

from __future__ import annotations

import re

from opsigcli.checkpoints.formats import suffixes
from opsigcli.checkpoints.step_keys import LARGEST_STEP

# The words that come before a number in the names people give checkpoints, and what the number counts.
# A lone "e" must not follow a letter or a digit, or the 1e-4 of a learning rate would be epoch 4. Digits that run
# on into hexadecimal letters are part of a hash.
_COUNT = re.compile(
    r"(?:(?:^|[^a-z])(global[_-]?step|step|iter(?:ation)?|it|ba(?:tch)?|epoch|ep|checkpoint|ckpt|model|snapshot)"
    r"|(?:^|[^a-z0-9])(e))"
    r"[=_-]?(\d+)(?=[^0-9a-f]|$)"
)
_EPOCH = ("epoch", "ep", "e")
_NUMBER = ("checkpoint", "ckpt", "model", "snapshot")

SHARD = re.compile(r"-\d{5}-of-\d{5}\b")

# Files that training frameworks put beside the weights. Several of them are pickles of arbitrary objects, so they
# are recognised by name and never opened as weights.
_NEVER_WEIGHTS = re.compile(
    r"(?:.*\.optimizer\.safetensors"
    r"|(?:optimizer|scheduler|lr_scheduler|scaler|training_args)(?:[_-]\d+)?\.(?:pt|pth|bin)"
    r"|(?:rng_state|random_states|dl_state_dict|sampler)\w*\.(?:pt|pth|pkl|bin)"
    r"|custom_checkpoint_\d+\.pkl"
    r"|.*_optim_states\.pt)"
)


def stem(name: str) -> str:
    """A file name without its checkpoint suffixes: ``best.pth.tar`` is ``best``."""
    known = suffixes()
    while name.endswith(known):
        name = name[: name.rindex(".")]
    return name


def counts(name: str) -> dict[str, int]:
    """Unit (step, epoch, number) to the number a file name gives for it; the last of a kind counts."""
    text = stem(name.lower())
    if text.isdecimal():
        return {"number": int(text)} if int(text) <= LARGEST_STEP else {}
    found: dict[str, int] = {}
    for match in _COUNT.finditer(text):
        word = match[1] or match[2]
        unit = "epoch" if word in _EPOCH else "number" if word in _NUMBER else "step"
        if int(match[3]) <= LARGEST_STEP:
            found[unit] = int(match[3])
    return found


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key under which ``model_2`` comes before ``model_10``."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def never_weights(name: str) -> bool:
    """Whether this is a file that frameworks write beside the weights (optimizer, scheduler, random states)."""
    return _NEVER_WEIGHTS.fullmatch(name.lower()) is not None
