"""Points outside of the steps that are asked for do not keep a threshold that is no longer the run's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Opsig
from short_runs import sgd, short_run

from opsigcli.stability.job import STALE


def tell(opsig: Opsig, store: Path, *optimizer: object) -> None:
    """Say what trained the run, and trace it again."""
    run, place = store.parent / "run", store.parent
    (run / "opsig-run.toml").unlink(missing_ok=True)
    words = ("--model", f"file:{place}/net.py:Tanh", "--data", f"npz:{place}/data.npz")
    assert opsig("init", run, *words, *optimizer).code == 0
    assert opsig("trace", run, "--store", store).code == 0


def points(opsig: Opsig, store: Path) -> dict[int, dict[str, Any]]:
    found = opsig("report", "--full", "--store", store, "--json").json["result"]["sharpness"]
    return {point["step"]: point for point in found}


@pytest.mark.parametrize("before", [(), ("--optimizer", "gd", "--lr", 0.4)])
def test_they_are_judged_anew_where_nothing_is_solved_for_that(
    opsig: Opsig, tmp_path: Path, before: tuple[object, ...]
) -> None:
    store = short_run(opsig, tmp_path, sgd(lr=0.2), state=False)
    if before:
        tell(opsig, store, *before)
    asked = ("sharpness", "--store", store, "--tolerance", 0.05)
    assert opsig(*asked).code == 0
    tell(opsig, store, "--optimizer", "gd", "--lr", 0.2)
    if before:
        assert "were judged by what was known of the run before" in opsig("report", "--store", store).err
    shown = opsig(*asked, "--steps", "0:2", "--json").json["result"]["points"]
    assert [point["step"] for point in shown] == [0, 1, 2]
    assert {point["threshold"] for point in points(opsig, store).values()} == {10.0}
    assert "known of the run before" not in opsig("report", "--store", store).err


def test_they_say_so_where_they_must_be_solved_again(opsig: Opsig, tmp_path: Path) -> None:
    store = short_run(opsig, tmp_path, sgd(lr=0.2), state=False)
    tell(opsig, store, "--optimizer", "gd", "--lr", 0.2)
    asked = ("sharpness", "--store", store, "--tolerance", 0.05)
    assert opsig(*asked).code == 0
    tell(opsig, store, "--optimizer", "adam", "--lr", 0.01)
    assert opsig(*asked, "--steps", "0:2").code == 0
    left = [point for step, point in points(opsig, store).items() if step > 2]
    assert {(point["threshold"], point["ratio"], point["reason"]) for point in left} == {(None, None, STALE)}
