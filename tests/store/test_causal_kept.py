"""Comparisons without the mined groups: one made again replaces the one before, others stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from store_case import write_everything

from opsigcli.result_records import Causal
from opsigcli.store import writer
from opsigcli.store.reader import open_store


def test_a_comparison_made_again_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    store = tmp_path / "o.h5"
    write_everything(store)
    first = Causal(0, 60, (), "as said", "mined so", notes=("no period two is seen",))
    other = replace(first, seed=1)
    again = replace(first, step=30, notes=("they alternate at step 30",))
    for made in (first, other, again):
        writer.add_causal(store, made)
    with open_store(store) as opened:
        assert [made for made in opened.causal if made.groups == "mined so"] == [other, again]
