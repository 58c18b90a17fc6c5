"""Which number each class has: sorted, natural, as listed; never another example or id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opsigcli.datasets import open_source
from opsigcli.errors import UsageError

NAMES = ["1", "10", "11", "2", "a10", "a9"]  # sorted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / "im" / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full((2, 2, 3), 10 * number + i, dtype="u1")).save(
                tmp_path / "im" / name / f"{i}.png"
            )
    return tmp_path / "im"


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("", NAMES),
        ("?classes=sorted", NAMES),
        ("?classes=natural", ["1", "2", "10", "11", "a9", "a10"]),
        ("?classes=2,a9,1,a10,11,10", ["2", "a9", "1", "a10", "11", "10"]),
    ],
)
def test_classes_have_their_numbers_and_examples_keep_their_ids(
    folder: Path, option: str, names: list[str]
) -> None:
    plain, source = open_source(f"folder:{folder}"), open_source(f"folder:{folder}{option}")
    assert list(source.classes) == names
    assert [source.classes[label] for label in source.labels] == [name.split("/")[0] for name in source.names]
    assert source.names == plain.names
    assert source.ids.tolist() == plain.ids.tolist()
    np.testing.assert_array_equal(source.read(source.ids), plain.read(plain.ids))
    assert source.read_targets(source.ids).tolist() == source.labels.tolist()
    again = open_source(source.spec)
    assert (again.classes, again.fingerprint) == (source.classes, source.fingerprint)


def test_a_file_of_names_gives_the_order(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "names.txt").write_text("\n".join(reversed(NAMES)) + "\n")
    monkeypatch.chdir(tmp_path)
    source = open_source(f"folder:{folder}?classes=names.txt")
    assert list(source.classes) == NAMES[::-1]
    monkeypatch.chdir("/")
    assert list(open_source(source.spec).classes) == NAMES[::-1]


@pytest.mark.parametrize("given", ["2,a9,1", "2,a9,1,a10,11,12", "2,2,a9,1,a10,11,10"])
def test_a_list_that_is_not_that_of_the_data_is_refused(folder: Path, given: str) -> None:
    with pytest.raises(UsageError, match="each"):
        open_source(f"folder:{folder}?classes={given}")


@pytest.mark.parametrize("form", ["labels", "one-hot", "map"])
def test_other_sources_are_renumbered_alike(tmp_path: Path, form: str) -> None:
    labels = np.array([0, 1, 2, 2, -100])
    y = {
        "labels": labels,
        "one-hot": np.eye(3, dtype=int)[labels[:4]],
        "map": np.array([[0, 1], [2, -100], [1, 1], [0, 0]]),
    }[form]
    np.savez(tmp_path / "d.npz", x=np.zeros((len(y), 3), dtype="f4"), y=y, classes=["u", "v", "w"])
    source = open_source(f"npz:{tmp_path / 'd.npz'}?classes=w,u,v")
    new = np.array([1, 2, 0])
    wanted = {
        "labels": np.append(new[labels[:4]], -100),
        "one-hot": np.eye(3, dtype=int)[new[labels[:4]]],
        "map": np.where(y >= 0, new[y.clip(0)], y),
    }[form]
    assert source.read_targets(np.arange(len(y))).tolist() == wanted.tolist()
    if form != "map":
        assert source.labels.tolist() == np.where(labels >= 0, new[labels.clip(0)], -100)[: len(y)].tolist()


def test_data_without_names_have_no_order_to_give(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 3), dtype="f4"), y=[0, 1, 2])
    with pytest.raises(UsageError, match="names of classes"):
        open_source(f"npz:{tmp_path / 'd.npz'}?classes=natural")
