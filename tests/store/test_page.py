"""A store read with h5py by nothing but what opsig-store(5) says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from store_case import write_everything

MAN = Path(__file__).parents[2] / "man" / "opsig-store.5"


def _sections() -> dict[str, str]:
    text = MAN.read_text().replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")
    return dict(re.findall(r"^\.SH (.*?)\n(.*?)(?=^\.SH |\Z)", text, re.M | re.S))


def _shown(section: str) -> list[list[str]]:
    """What stands between .nf and .fi, line by line; what was broken off a line, which is set in, belongs to it."""
    section = re.sub(r"\n {8}", " ", section)
    return [block.strip("\n").split("\n") for block in re.findall(r"\.nf\n(.*?)\.fi", section, re.S)]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\#", r"\d+").replace(r"\*", "[^/]+"))


@pytest.fixture
def file(tmp_path: Path) -> h5py.File:
    write_everything(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as opened:
        yield opened


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, node: found.update({name: node}) if isinstance(node, h5py.Dataset) else None)
    return found


def test_every_dataset_is_on_the_page_with_its_kind_and_its_axes(file: h5py.File) -> None:
    sections = _sections()
    parts = {block[0].strip(): block[1:] for block in _shown(sections["DATASETS"])}
    kept = [line.strip() for block in _shown(sections["OTHER RESULTS"]) for line in block]
    assert {path.split("/", 2)[2] for path in kept} <= parts.keys()
    used = set()
    for path, data in _datasets(file).items():
        name = re.sub(r"^kept/\d+/", "", path)
        assert name == path or any(_pattern(known).fullmatch(path) for known in kept)
        (known,) = [known for known in parts if _pattern(known).fullmatch(name)][:1] or [None]
        assert known is not None, path
        used.add(known)
        kind = parts[known][0].strip().partition(";")[0]
        axes = re.search(r"\((.*)\)", kind)
        count = 0 if axes is None else len(axes[1].split(","))
        assert data.ndim >= count - 1 if axes and "..." in axes[1] else data.ndim == count, path
        if kind.startswith(("text", "one text")):
            assert h5py.check_string_dtype(data.dtype) is not None
        if kind.startswith("one text"):
            _read_object(json.loads(data.asstr()[()]), parts[known][2].strip())
    assert used == set(parts)


def _read_object(found: object, said: str) -> None:
    if said == "an object of texts by name":
        assert isinstance(found, dict)
        assert all(isinstance(value, str) for value in found.values())
        return
    names = set(said.partition(" with ")[2].split(", "))
    for entry in found if isinstance(found, list) else [found]:
        assert said.startswith("a list of" if isinstance(found, list) else "an object")
        assert set(entry) == names


def test_every_attribute_is_on_the_page_and_the_other_way_round(file: h5py.File) -> None:
    said = {}
    for block in _shown(_sections()["ATTRIBUTES"]):
        group = block[0].strip().removeprefix("of the group ").replace("of the file", "/")
        said[group] = {line.strip().partition(":")[0] for line in block[1:]}
    found = {"/": set(file.attrs)}
    file.visititems(lambda name, node: found.update({name: set(node.attrs)}) if len(node.attrs) else None)
    assert said == found
    assert file.attrs["format"] == "opsig"


def test_the_lines_that_the_page_shows_give_losses_and_their_differences(
    tmp_path: Path, file: h5py.File, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lines,) = _shown(_sections()["DESCRIPTION"])
    (tmp_path / "opsig.h5").write_bytes(Path(file.filename).read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec("\n".join(lines), names)
    losses = file["losses"][:]
    assert (names["last"] == losses[-1]).all()
    assert (names["one"] == losses[:, 0]).all()
    assert len(names["steps"]) == len(losses)
    np.testing.assert_array_equal(file["loss_deltas"][:], losses[1:] - losses[:-1])
