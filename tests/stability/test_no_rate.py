"""At a learning rate of 0 no step is made and no threshold exists."""

from __future__ import annotations

from pathlib import Path

from conftest import Opsig
from short_runs import sgd, short_run


def test_a_rate_of_zero_has_no_ratio_and_one_that_is_given_has(opsig: Opsig, tmp_path: Path) -> None:
    store = short_run(opsig, tmp_path, sgd(lr=0.0))
    some = ("sharpness", "--store", store, "--every", 4, "--tolerance", 0.05)
    for point in opsig(*some, "--json").json["result"]["points"]:
        assert (point["threshold"], point["ratio"]) == (None, None)
        assert point["reason"] == "no threshold: the learning rate is 0 there, and no step is made"
    said = opsig("report", "--store", store).out
    assert "The learning rate is 0 at all of 2 measured checkpoints" in " ".join(said.split())
    assert "opsig sharpness --lr X" in " ".join(said.split())
    assert "× the stability threshold" not in said
    for point in opsig(*some, "--lr", 0.1, "--json").json["result"]["points"]:
        assert point["threshold"] == 20.0
    assert "learning rate is 0" not in opsig("report", "--store", store).out
