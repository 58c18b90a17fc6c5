"""Every reader against damaged and invented bytes: a checkpoint is read, or refused in opsig's own words."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsigcli.checkpoints.formats import formats, zip_directory
from opsigcli.checkpoints.formats.dcp_metadata import read_metadata
from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.checkpoints.series import open_series
from opsigcli.checkpoints.writer import save_weights
from opsigcli.errors import CheckpointError
from opsigcli.options import MANIFEST
from opsigcli.pickles import reader as pickle_reader
from opsigcli.pickles.instructions import RARE
from opsigcli.pickles.records import Malformed

# OPSIG_FUZZ=100 runs a hundred times as many cases.
CASES = int(os.environ.get("OPSIG_FUZZ", "1"))
fuzz = settings(
    max_examples=100 * CASES, deadline=None, database=None, derandomize=CASES == 1,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

STATE = {"w": torch.arange(5.0), "b": torch.zeros(3, dtype=torch.bfloat16)}
# Damage: where (as a share of the file), what to do there, and a byte.
REFUSED: list[str] = []  # one entry per refusal
KINDS = ["flip", "cut", "double", "number", "zero"]
DAMAGE = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(KINDS), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=4,
)


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def safetensors() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_weights(Path(folder, "a.safetensors"), STATE, {"step": 3})
        return Path(folder, "a.safetensors").read_bytes()


def dcp() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        torch.distributed.checkpoint.save({"model": STATE, "step": 4}, checkpoint_id=folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


FILES: dict[str, bytes] = {
    "zip_1.pt": saved(
        {"model": STATE, "optimizer": torch.optim.Adam([torch.ones(2)]).state_dict(), "epoch": 1}
    ),
    "tolerant_1.pt": saved({"model": STATE, "args": Namespace(lr=0.1)}, pickle_protocol=4),
    "legacy_1.pt": saved(STATE, _use_new_zipfile_serialization=False),
    "legacy_2.pt": saved({"model": STATE, "args": Namespace(a=1)}, _use_new_zipfile_serialization=False),
    "module_1.pt": saved(torch.nn.Linear(2, 2)),
    "a_1.safetensors": safetensors(),
}
DCP = dcp()


def damaged(data: bytes, damage: list[tuple[float, str, bytes]]) -> bytes:
    found = bytearray(data)
    for share, what, extra in damage:
        at = int(share * len(found))
        if what == "flip":
            found[at : at + 1] = extra[:1]
        elif what == "cut":
            found = found[:at] if extra[0] < 64 else found[:at] + found[at + len(extra) :]
        elif what == "double":
            found[at:at] = found[at : at + 40]
        elif what == "number":
            found[at : at + 4] = b"\xff\xff\xff\x7f"
        else:
            found[at : at + len(extra)] = bytes(len(extra))
        if not found:
            break
    return bytes(found)


def use(path: Path) -> None:
    """Describe, read and order what is at a path; only opsig's own errors may come out."""
    for reader in formats():
        if not reader.recognises(path):
            continue
        for call in (reader.describe, reader.read, lambda p: reader.optimizer(p, tensors=True)):  # noqa: B023
            try:
                call(path)
            except CheckpointError as error:
                REFUSED.append(str(error))
    try:
        open_series(path, examine=True)
    except CheckpointError as error:
        REFUSED.append(str(error))


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_read_or_refused(name: str) -> None:
    @fuzz
    @given(DAMAGE)
    def check(damage: list[tuple[float, str, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(damaged(FILES[name], damage))
            use(path)

    check()


@pytest.mark.parametrize("name", ["zip_1.pt", "tolerant_1.pt", "module_1.pt"])
def test_damaged_pickles_in_sound_zips_are_read_or_refused(name: str) -> None:
    """Damage to the whole file mostly ends at a checksum; here the pickle is damaged and packed again."""
    with zipfile.ZipFile(io.BytesIO(FILES[name])) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}

    @fuzz
    @given(DAMAGE)
    def check(damage: list[tuple[float, str, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            with zipfile.ZipFile(path, "w") as archive:
                for member, data in members.items():
                    archive.writestr(member, damaged(data, damage) if member.endswith("data.pkl") else data)
            use(path)

    check()


@pytest.mark.parametrize("name", DCP)
def test_damaged_folders_of_torch_distributed_are_read_or_refused(name: str) -> None:
    @fuzz
    @given(DAMAGE)
    def check(damage: list[tuple[float, str, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "step-4")
            path.mkdir()
            for file, data in DCP.items():
                (path / file).write_bytes(damaged(data, damage) if file == name else data)
            use(path)

    check()


# Programs made of real instructions reach further into the stack machine than random bytes.
PIECES = st.one_of(
    st.sampled_from([bytes([code]) for code in (*RARE, *b"qrKh\x94(tRXQj\x89)MJ\x85\x86\x87}.")]),
    st.sampled_from(
        [b"K\x00", b"K\x01", b"X\x01\0\0\0a", b"q\x00", b"h\x00", b"cos\nsystem\n", b"]", b"}", b")"]
    ),
    st.binary(max_size=4),
)


@fuzz
@given(st.lists(PIECES, max_size=60))
def test_invented_pickles_are_read_or_malformed(pieces: list[bytes]) -> None:
    try:
        pickle_reader.read(b"\x80\x02" + b"".join(pieces) + b".", {}, lambda saved: saved)
    except Malformed as error:
        REFUSED.append(str(error))


@fuzz
@given(st.lists(PIECES, max_size=60))
def test_invented_metadata_is_read_or_malformed(pieces: list[bytes]) -> None:
    with pytest.raises(Malformed):
        read_metadata(b"\x80\x04" + b"".join(pieces) + b".", {"__0_0.distcp": 100})


@fuzz
@given(DAMAGE)
def test_damaged_zip_directories_are_read_or_malformed(damage: list[tuple[float, str, bytes]]) -> None:
    data = damaged(FILES["zip_1.pt"], damage)
    file = io.BytesIO(data)
    try:
        for name, member in zip_directory.members(file, 0, len(data)).items():
            zip_directory.place(file, name, member)
    except Malformed as error:
        REFUSED.append(str(error))


MANIFEST_TEXT = b"""schema = 1
[run]
model = "mlp"
data = "planted"
loss = "ce"
[[checkpoints]]
file = "a"
step = 1
"""
INDEX_TEXT = b'{"metadata": {"total_size": 12}, "weight_map": {"w": "model-00001-of-00001.safetensors"}}'


@fuzz
@given(DAMAGE)
def test_damaged_manifests_are_read_or_refused(damage: list[tuple[float, str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, MANIFEST).write_bytes(damaged(MANIFEST_TEXT, damage))
        try:
            read_manifest(Path(folder))
        except CheckpointError as error:
            REFUSED.append(str(error))


@fuzz
@given(
    st.one_of(DAMAGE.map(lambda d: damaged(INDEX_TEXT, d)), st.binary(max_size=60)), st.binary(max_size=40)
)
def test_damaged_indexes_and_states_are_read_or_refused(index: bytes, state: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint-1")
        path.mkdir()
        (path / "model.safetensors.index.json").write_bytes(index)
        (path / "model-00001-of-00001.safetensors").write_bytes(FILES["a_1.safetensors"])
        (path / "trainer_state.json").write_bytes(state)
        (path / "optimizer.pt").write_bytes(state)
        use(path)


def test_the_damage_is_damage() -> None:
    """Comes last: a good part of all that was tried above was refused, each time with words."""
    assert len(REFUSED) > 1000
    assert all(REFUSED)
