"""Labels that are not what they should be: as many as is said, the same in every part; and addition modulo p."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Opsig

from opsigcli.datasets import open_source
from opsigcli.errors import UsageError


def test_that_share_of_the_labels_is_another_one_evenly_and_inputs_stay() -> None:
    spec = "noise?n=6000&shape=2&classes=4"
    clean, noisy = open_source(spec), open_source(f"{spec}&label_noise=0.2")
    changed = clean.labels != noisy.labels
    assert changed.sum() == pytest.approx(1200, abs=5 * np.sqrt(6000 * 0.2 * 0.8))
    moved = np.bincount((noisy.labels - clean.labels)[changed] % 4, minlength=4)
    assert moved[0] == 0
    assert moved[1:] == pytest.approx([400] * 3, abs=90)
    places = np.arange(6000)
    assert np.array_equal(clean.read(places), noisy.read(places))
    assert np.array_equal(noisy.read_targets(places), noisy.labels)
    other = open_source(f"{spec}&label_noise=0.2&label_noise_seed=1")
    both = (changed & (other.labels != clean.labels)).sum()
    assert both == pytest.approx(240, abs=5 * np.sqrt(240))
    assert len({each.fingerprint for each in (clean, noisy, other)}) == 3
    again = open_source(noisy.spec)
    assert again.fingerprint == noisy.fingerprint
    assert open_source(f"{spec}&label_noise=0").fingerprint == clean.fingerprint


def test_a_part_has_the_labels_that_the_whole_has(tmp_path: object) -> None:
    np.savez(
        f"{tmp_path}/a.npz", x=np.zeros((300, 2), np.float32), y=np.arange(300) % 3, ids=np.arange(300)[::-1]
    )
    whole = open_source(f"npz:{tmp_path}/a.npz?label_noise=0.5")
    part = open_source(f"npz:{tmp_path}/a.npz?label_noise=0.5&limit=30")
    of = dict(zip(whole.ids.tolist(), whole.labels.tolist(), strict=True))
    assert part.labels.tolist() == [of[i] for i in part.ids.tolist()]


@pytest.mark.parametrize(
    "spec",
    [
        "noise?label_noise=2",
        "noise?label_noise_seed=2",
        "noise?label_noise=-1",
        "two-layer-linear?label_noise=0.1",
        "babble?label_noise=0.1",
        "modular?p=300",
        "modular?share=2",
        "modular?share=1&part=test",
    ],
)
def test_what_has_no_labels_to_change_is_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        open_source(spec)


def test_sums_are_modulo_p_and_parts_make_the_whole() -> None:
    parts = [open_source(f"modular?p=7&part={part}&share=0.4&seed=3") for part in ("train", "test", "all")]
    assert [len(part) for part in parts] == [20, 29, 49]
    for part in parts:
        inputs = part.read(np.arange(len(part))).reshape(-1, 2, 7)
        assert np.array_equal(inputs.sum(axis=2), np.ones((len(part), 2)))
        assert np.array_equal(inputs.argmax(axis=2).sum(axis=1) % 7, part.labels)
    rows = np.concatenate([part.read(np.arange(len(part))) for part in parts[:2]])
    assert len(np.unique(rows, axis=0)) == 49


def test_a_run_on_noisy_labels_is_traced_on_them(opsig: Opsig, tmp_path: object) -> None:
    words = (
        "--data",
        "noise?n=40&shape=3&classes=2&label_noise=0.5",
        "--model",
        "mlp?hidden=3",
        "--steps",
        2,
    )
    assert opsig("train", f"{tmp_path}/run", *words).code == 0
    found = opsig("trace", f"{tmp_path}/run", "--store", f"{tmp_path}/a.h5")
    assert found.code == 0
    assert "fingerprint" not in found.err
