"""A byte of a store that is not as it was written is named, and never shown as a result."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Opsig
from store_case import T, content_of, write_everything

from opsigcli.errors import StoreError, Unsound
from opsigcli.store.reader import open_store
from opsigcli.store.seal import SIGNATURE, require_intact
from opsigcli.store.writer import write_critical

TAIL = 38  # bytes at the end of a seal


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    store = tmp_path_factory.mktemp("whole") / "s.h5"
    write_everything(store)
    return store.read_bytes()


def _unsealed(whole: bytes) -> bytes:
    """The store as an older opsig wrote it: it ends where HDF5 says."""
    return whole[: struct.unpack_from("<Q", whole, 40)[0]]


def _refused(data: bytes, places: range, masks: tuple[int, ...] = (1, 0x80, 0xFF)) -> int:
    """Require that a flip at each place is refused; returns how many were tried."""
    for at in places:
        for mask in masks:
            flipped = bytearray(data)
            flipped[at] ^= mask
            with pytest.raises(StoreError):
                require_intact(io.BytesIO(flipped), Path("s.h5"))
    return len(masks) * len(places)


def test_a_flipped_byte_anywhere_is_found_before_hdf5_looks_at_the_file(whole: bytes) -> None:
    assert _refused(whole, range(len(SIGNATURE), len(whole), 61)) > 3000
    assert _refused(whole, range(len(whole) - TAIL, len(whole))) == 3 * TAIL


@pytest.mark.slow
def test_a_flipped_bit_of_any_third_byte_is_found(whole: bytes) -> None:
    assert _refused(whole, range(len(SIGNATURE), len(whole), 3), (1,)) > 20_000


def test_a_flipped_byte_of_the_signature_makes_another_kind_of_file(whole: bytes, tmp_path: Path) -> None:
    for at in range(len(SIGNATURE)):
        flipped = bytearray(whole)
        flipped[at] ^= 1
        (tmp_path / "s.h5").write_bytes(flipped)
        with pytest.raises(StoreError, match="no readable HDF5"), open_store(tmp_path / "s.h5"):
            pass


def test_the_damage_has_the_name_of_the_dataset(whole: bytes, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    store.write_bytes(whole)
    with h5py.File(store) as file:
        places = {
            name: file[name].id.get_offset() for name in ("losses", "steps", "labels", "gradients/sketches")
            if file[name].id.get_offset() is not None
        } | {"losses": file["losses"].id.get_chunk_info(0).byte_offset}  # fmt: skip
    for name, place in places.items():
        flipped = bytearray(whole)
        flipped[place + 3] ^= 1
        store.write_bytes(flipped)
        with pytest.raises(Unsound, match=f"is damaged: {name}, bytes"), open_store(store):
            pass
    text = whole.index(b"planted")  # in the JSON of the run
    store.write_bytes(whole[:text] + b"Planted" + whole[text + 7 :])
    with pytest.raises(Unsound, match="its structure and texts"), open_store(store):
        pass


@pytest.mark.parametrize("cut", [1, 37, 38, 39, 500, 30_000, 80_000])
def test_a_store_that_was_cut_is_named(cut: int, whole: bytes, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    for data in (whole[:-cut], whole[:-cut] + bytes(cut)):
        store.write_bytes(data)
        with pytest.raises(StoreError), open_store(store):
            pass


def test_a_store_of_an_older_opsig_has_no_seal_and_opens(whole: bytes, tmp_path: Path) -> None:
    store, sealed = tmp_path / "s.h5", tmp_path / "t.h5"
    store.write_bytes(_unsealed(whole))
    sealed.write_bytes(whole)
    assert content_of(store) == content_of(sealed)
    with open_store(store) as opened:
        assert len(opened.trace.steps) == T
        assert len(opened.sharpness) == 2
        critical, made = list(opened.critical), opened.provenance["trace"]
    write_critical(store, critical, made)  # and is sealed by the next command that writes
    flipped = bytearray(store.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    store.write_bytes(flipped)
    with pytest.raises(Unsound), open_store(store):
        pass


def test_a_store_without_a_seal_shows_a_flipped_loss_by_its_deltas(whole: bytes, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    for name in ("losses", "loss_deltas"):
        store.write_bytes(_unsealed(whole))
        with h5py.File(store) as file:
            place = file[name].id.get_chunk_info(0).byte_offset
        flipped = bytearray(_unsealed(whole))
        flipped[place + 5] ^= 1
        store.write_bytes(flipped)
        with (
            pytest.raises(Unsound, match="expected the differences of losses in loss_deltas"),
            open_store(store),
        ):
            pass


def test_a_program_that_changes_a_store_breaks_its_seal_and_no_more(whole: bytes, tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    store.write_bytes(whole)
    with h5py.File(store, "r+") as file:
        file["labels"][0] = 1
    with open_store(store) as opened:
        assert opened.trace.labels[0] == 1


def test_a_sealed_store_is_read_by_any_program_that_reads_hdf5(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.h5").write_bytes(whole)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["losses"].shape == (3, 4)
        assert np.isfinite(file["losses"][()]).all()


def test_a_damaged_store_is_shown_by_no_command_and_made_anew_on_request(opsig: Opsig, case: Path) -> None:
    store = case / "opsig.h5"
    data = bytearray(store.read_bytes())
    with h5py.File(store) as file:
        place = file["losses"].id.get_chunk_info(0).byte_offset
    data[place + 1234] ^= 4
    store.write_bytes(data)
    for words in (("report",), ("mine",), ("sharpness",), ("trace", case / "run"), ("inspect", store)):
        done = opsig(*words, *(("--store", store) if words[0] != "inspect" else ()))
        assert done.code == 3, words
        assert "is damaged: losses" in " ".join(done.err.split())
        assert "--fresh" in done.err
        assert store.read_bytes() == data
    assert opsig("trace", case / "run", "--store", store, "--fresh").code == 0
    assert opsig("report", "--store", store).code == 0


def test_what_is_no_store_is_not_made_one_by_starting_anew(opsig: Opsig, case: Path) -> None:
    other, text, newer = case / "weights.h5", case / "notes.txt", case / "newer.h5"
    with h5py.File(other, "w") as file:
        file["layer"] = np.arange(3)
    text.write_text("a novel")
    newer.write_bytes((case / "opsig.h5").read_bytes())
    with h5py.File(newer, "r+") as file:
        file.attrs["format_version"] = 99
    for path in (other, text, newer):
        before = path.read_bytes()
        assert opsig("trace", case / "run", "--store", path, "--fresh").code == 3
        assert path.read_bytes() == before
