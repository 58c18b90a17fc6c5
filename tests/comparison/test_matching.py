"""Examples of two runs are the same where id and content are; where nothing is known, nothing is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Opsig
from reporting_case import make_case

from opsigcli.comparison.matching import shared_examples
from opsigcli.datasets import open_source
from opsigcli.gradients.contents import contents
from opsigcli.progress import NoProgress
from opsigcli.records import Case
from opsigcli.store.looked import DIGESTS
from opsigcli.store.replacing import drop, replace_store


def with_digests(case: Case, digests: object) -> Case:
    found = None if digests is None else np.asarray(digests, dtype=np.int64)
    return replace(case, trace=replace(case.trace, digests=found))


def test_an_id_is_the_same_example_only_where_its_content_is() -> None:
    case = make_case(examples=24)
    own = np.arange(24)
    other = own.copy()
    other[:5] += 1000
    found, ids = shared_examples(with_digests(case, own), with_digests(case, other), ("A", "B"))
    assert (found.same, found.changed, found.refused) == (19, 5, "")
    assert ids.tolist() == case.trace.example_ids[5:].tolist()


def test_ids_that_stand_for_other_examples_are_refused_with_their_number() -> None:
    case = make_case(examples=24)
    found, ids = shared_examples(
        with_digests(case, np.arange(24)), with_digests(case, np.arange(24) + 99), ("A", "B")
    )
    assert not len(ids)
    assert "24 ids stand for other inputs or labels" in found.refused


def test_stores_without_contents_match_by_the_fingerprint_of_their_data_or_not_at_all() -> None:
    old = with_digests(make_case(examples=24), None)
    found, ids = shared_examples(old, old, ("A", "B"))
    assert (found.same, found.told_by, len(ids)) == (24, "fingerprint", 24)
    other = replace(old, run=replace(old.run, fingerprint="cd" * 32))
    found, ids = shared_examples(old, with_digests(other, np.arange(24)), ("A", "B"))
    assert not len(ids)
    assert found.refused.startswith("the store of A was written by an older version")


def test_contents_know_an_example_again_in_other_company_and_another_normalisation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8), np.arange(20) % 4
    np.savez(tmp_path / "all.npz", x=x, y=y)
    np.savez(tmp_path / "some.npz", x=x[5:], y=y[5:], ids=np.arange(5, 20))
    relabelled = y.copy()
    relabelled[7] = (y[7] + 1) % 4
    np.savez(tmp_path / "relabelled.npz", x=x, y=relabelled)

    def of(spec: str) -> list[int]:
        return contents(open_source(f"npz:{tmp_path / spec}"), NoProgress()).tolist()

    whole = of("all.npz")
    assert len(set(whole)) == 20
    assert of("some.npz?standardize=channel") == whole[5:]
    assert of("all.npz?standardize=image") != []
    changed = np.flatnonzero(np.array(of("relabelled.npz")) != np.array(whole))
    assert changed.tolist() == [7]


@pytest.mark.parametrize("spec", ["tabular", "tokens"])
def test_contents_of_numbers_and_of_tokens_tell_examples_apart(spec: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    if spec == "tabular":
        np.savez(tmp_path / "d.npz", x=rng.normal(size=(12, 5)).astype(np.float32), y=np.arange(12) % 3)
        source = open_source(f"npz:{tmp_path / 'd.npz'}")
    else:
        (tmp_path / "t.txt").write_text("the cat sat on the mat and the dog ran over the hill " * 3)
        source = open_source(f"text:{tmp_path / 't.txt'}?context=8&per=token")
    found = contents(source, NoProgress())
    assert len(found) == len(source)
    assert len(set(found.tolist())) > len(source) // 2
    assert contents(source, NoProgress()).tolist() == found.tolist()


def test_a_store_of_an_older_version_is_given_contents_and_no_loss_is_computed(
    case: Path, opsig: Opsig
) -> None:
    store = case / "opsig.h5"
    with h5py.File(store) as file:
        before = file[DIGESTS][()]
    replace_store(store, lambda file: drop(file, DIGESTS), 0)
    done = opsig("trace", case / "run", "--store", store, "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["units_computed"] == 0
    with h5py.File(store) as file:
        assert file[DIGESTS][()].tolist() == before.tolist()
