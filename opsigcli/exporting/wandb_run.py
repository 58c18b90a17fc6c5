"""A case as a run of Weights & Biases that stays on this machine: numbers by step, a table of the pairs, pictures."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from opsigcli.errors import StoreError, UsageError
from opsigcli.exporting.logs import Log, refused, scalars
from opsigcli.printable import printable, without_homes
from opsigcli.records import Case
from opsigcli.reporting.findings import by_standing

PROJECT = "opsig"
PAIRS = ("pair", "side", "examples", "labels", "ids", "opposition", "verdict", "standing")
SPIKES = ("from", "to", "rise", "cause")
SIDES = ("first", "second", "difference")


def log_offline(place: str) -> Log:
    """What writes a case as a run below ``wandb/`` (or ``$WANDB_DIR``), for ``wandb sync`` to send.

    Raises:
        UsageError: another place than ``offline`` is named, as nothing is sent from here, or wandb is not installed.
    """
    if place != "offline":
        raise refused(f"wandb:{place}")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it reports its own errors over the network
    try:
        import wandb
    except ImportError as error:
        raise UsageError(
            "expected the package wandb for --log wandb:offline, found none", "pip install 'opsig[wandb]'"
        ) from error

    def log(case: Case) -> str:
        try:
            folder = _log_case(wandb, case)
        except (OSError, wandb.Error) as error:
            raise StoreError(
                f"expected wandb to write a run, found {printable(str(error))}", "set WANDB_DIR"
            ) from error
        return f"wrote {folder}; send it with: wandb sync {folder}"

    return log


def _log_case(wandb: Any, case: Case) -> Path:
    """Write a run; returns its folder. Of the machine, its user and its programs nothing is written."""
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        reinit="create_new",  # a run that the program has open goes on
    )
    specs = case.run
    config = without_homes(
        {"model": specs.model, "data": specs.data, "loss": specs.loss, "optimizer": specs.optimizer}
    )
    run = wandb.init(project=PROJECT, mode="offline", config=config, settings=settings)
    with run:
        rows: dict[int, dict[str, Any]] = defaultdict(dict)  # a step is logged once, and in order
        for tag, step, value in scalars(case):
            rows[step][tag] = value
        last = max(rows, default=0)
        rows[last] |= _tables(wandb, case) | _pictures(wandb, case)
        for step in sorted(rows):
            run.log(rows[step], step=step)
        return Path(run.dir).parent


def _tables(wandb: Any, case: Case) -> dict[str, Any]:
    spikes = [[s.step, s.next_step, s.rise, s.cause.words if s.cause else ""] for s in case.spikes]
    pairs = [
        [
            number,
            side,
            len(group.ids),
            ", ".join(f"{n} {c}" for n, c in group.labels.items()),
            ", ".join(map(case.trace.naming.id, group.ids[:20].tolist())),
            pair.opposition.value,
            pair.verdict,
            standing,
        ]
        for standing, members in (by_standing(case.mining) if case.mining else {}).items()
        for number, pair in members
        for side, group in pair.groups.items()
    ]
    tables = {"spikes": (SPIKES, spikes), "pairs": (PAIRS, pairs)}
    return {name: wandb.Table(columns=list(of), data=rows) for name, (of, rows) in tables.items() if rows}


def _pictures(wandb: Any, case: Case) -> dict[str, Any]:
    """The mean pictures of each pair."""
    means = case.thumbnails.means if case.thumbnails else ()
    return {
        f"pairs/{at // len(SIDES) + 1}/{SIDES[at % len(SIDES)]}": wandb.Image(image)
        for at, image in enumerate(means)
    }
