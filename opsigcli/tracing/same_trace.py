"""Refuses to add rows to a store that holds those of another run, or of losses taken otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsigcli.checkpoints.base import some
from opsigcli.errors import StoreError
from opsigcli.models.hf_config import differing
from opsigcli.models.hf_config import identity as config_identity
from opsigcli.objective.base import Objective
from opsigcli.outcome import plain
from opsigcli.records import Run
from opsigcli.result_records import VIRTUAL
from opsigcli.runs.stored_run import another_mean
from opsigcli.runs.virtual_step import VirtualStep
from opsigcli.specs import parse
from opsigcli.store.reader import Store
from opsigcli.store.results import Results

# What the losses depend on. Another value of any of these is another run, and belongs in another store.
IDENTITY = ("model", "loss", "fingerprint", "key", "weights", "partial", "precision")
_BY_DIGEST = {"fingerprint": "data (by its fingerprint)", "base": "base model (by its sha256)"}


def identity(run: Run) -> dict[str, Any]:
    """What the losses depend on, by name: of a Hugging Face model the content of its config, wherever that lies."""
    found = {name: getattr(run, name) for name in IDENTITY}
    if run.config:
        spec = parse(run.model)
        found |= {"model": str(replace(spec, name="")), "config": config_identity(run.config)}
    return found | ({"base": run.base} if run.base else {})


def known_otherwise(store: Store | None, run: Run, lrs: Sequence[float]) -> bool:
    """Whether other things are known of the run than its store says, though its losses are the same.

    A manifest may have been written after a trace, or the folder of the checkpoints been moved, in which ``mine`` and
    ``sharpness`` look for them.

    Args:
        store: None for a new one.
        run: as it is known now.
        lrs: of the checkpoints that are traced, NaN where unknown.
    """
    if store is None:
        return False
    before, now = ([one.optimizer, plain(one.hyper), one.batch_size] for one in (store.run, run))
    rates = {lr for lr in lrs if math.isfinite(lr)} - set(store.lrs.tolist())
    moved = store.run.checkpoints != run.checkpoints
    return moved or bool(rates) or bool(run.optimizer and before != now)


def require_same_mean(store: Store, objective: Objective) -> None:
    """Refuse to mix rows of examples that count otherwise, as in stores of older versions, which held w ℓ.

    Raises:
        StoreError: the weights are others.
    """
    if another_mean(store.weights, objective):
        raise StoreError(
            f"the trace in {store.path} was made with another mean; here "
            f"{objective.mean or 'all examples count alike'}",
            "name another store with --store, or replace this one with --fresh",
        )


def require_same_padding(store: Store, objective: Objective) -> None:
    """Refuse to mix rows of models that read padding and rows of models that do not, as in stores of older versions.

    Raises:
        StoreError: the padding is another.
    """
    before = store.provenance["trace"].options.get("padding", "")
    if before != objective.padding:
        raise StoreError(
            f"the trace in {store.path} was made with {before or 'no token as padding'}; here "
            f"{objective.padding or 'no token is padding'}",
            "name another store with --store, or replace this one with --fresh",
        )


def require_same_statistics(store: Path, before: str, asked: str | None) -> None:
    """Refuse to mix rows of losses under other statistics of BatchNorm.

    Args:
        store: its path.
        before: statistics of its rows.
        asked: those of --batch-norm; None = not given.

    Raises:
        StoreError: they are others.
    """
    if asked not in (None, before):
        raise StoreError(
            f"the trace in {store} was made with --batch-norm {before}, and is not continued with {asked}",
            "leave out --batch-norm, name another store with --store, or replace this one with --fresh",
        )


def require_same_run(store: Store, run: Run) -> None:
    """Refuse a store of another run, naming what differs.

    Raises:
        StoreError: it holds another run.
    """
    old = store.run
    if old.unit and run.unit and old.unit != run.unit:
        raise StoreError(
            f"the checkpoints in {store.path} are told apart by their {old.unit}, these by their {run.unit}",
            "name another store with --store, or replace this one with --fresh",
        )
    # Older versions kept neither a config nor the digest of a base: what both know is held against each other.
    if not (old.config and run.config):
        old, run = replace(old, config=""), replace(run, config="")
    if not (old.base and run.base):
        old, run = replace(old, base=""), replace(run, base="")
    before, now = identity(old), identity(run)
    for name, value in before.items():
        if value != now[name]:
            what = _BY_DIGEST.get(name, name)
            told = f"its {what} is {value}, here it is {now[name]}"
            if name == "config":
                told = f"the config.json of its model has other values of {some(differing(old.config, run.config))}"
            raise StoreError(
                f"{store.path} holds another run: {told}",
                "name another store with --store, or replace this one with --fresh",
            )


def require_same_virtual(known: Results | None, virtual: VirtualStep | None) -> None:
    """Refuse to mix virtual steps by two optimizers under one name, as when a manifest was changed in between.

    Args:
        known: the virtual steps of the store that have the name of those asked for.
        virtual: that takes those asked for.

    Raises:
        StoreError: the optimizers are others.
    """
    if known is None or virtual is None:
        return
    made, now = known.provenance[VIRTUAL].options.get("virtual") or {}, plain(virtual.facts)
    if made != now:
        changed = next(name for name in {**made, **now} if made.get(name) != now.get(name))
        raise StoreError(
            f"virtual steps in {known.path} were taken by another optimizer: its {changed} was {made.get(changed)}, "
            f"here it is {now.get(changed)}",
            "give --optimizer and --lr to keep both, name another store with --store, or replace this one with --fresh",
        )
