"""Files that are broken, forged or hold code: refused with a sentence, and nothing of theirs runs."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from opsigcli.checkpoints.formats import torch_pickle
from opsigcli.checkpoints.formats.safetensors_file import SafetensorsFile
from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.checkpoints.series import open_series
from opsigcli.checkpoints.writer import save_weights
from opsigcli.errors import CheckpointError


class Payload:
    """Writes a marker file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch {marker}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def rewritten(path: Path, change: Any, *, compression: int = zipfile.ZIP_STORED) -> Path:
    """The zip at ``path`` with ``change(name, data) -> data`` applied to its members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))
    return path


def refused(path: Path) -> str:
    """What describing, reading and opening as a series all say."""
    reader = SafetensorsFile() if path.suffix == ".safetensors" else TorchFile()
    with pytest.raises(CheckpointError) as described:
        reader.describe(path)
    with pytest.raises(CheckpointError) as read:
        reader.read(path)
    with pytest.raises(CheckpointError) as opened:
        open_series(path)
    assert described.value.message == read.value.message == opened.value.message
    assert str(path) in described.value.message
    assert described.value.hint
    return described.value.message


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickled_code_is_named_and_never_run(tmp_path: Path, zipped: bool, protocol: int) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "model_1.pt"
    torch.save(
        {"model": {"w": torch.arange(4.0)}, "x": Payload(marker)}, path,
        _use_new_zipfile_serialization=zipped, pickle_protocol=protocol,
    )  # fmt: skip
    series = open_series(path)
    assert "posix.system" in series.checkpoints[0].note or "nt.system" in series.checkpoints[0].note
    assert torch.equal(series.read(0)["w"], torch.arange(4.0))
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_of_code_is_named_and_never_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Payload(marker), protocol))
    assert "system" in refused(path)
    assert not marker.exists()


def test_the_payload_of_these_tests_works(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (Path("x"), "pathlib"),
        (collections.defaultdict(list), "collections.defaultdict"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_weights_beside_classes_that_weights_only_loading_refuses_are_read(
    tmp_path: Path, value: Any, name: str
) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": {"w": torch.ones(2)}, "args": value}, path)
    assert name in " ".join(TorchFile().describe(path).notes)
    assert torch.equal(TorchFile().read(path)["w"], torch.ones(2))


def test_every_name_taken_for_plain_is_plain_to_torch_too() -> None:
    from torch._weights_only_unpickler import _get_allowed_globals

    assert not torch_pickle._PLAIN - set(_get_allowed_globals())


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.eye(3).to_sparse()}, path)
    assert "sparse tensors" in refused(path)


@pytest.mark.filterwarnings("ignore")  # quantized tensors warn that they are going away
def test_quantized_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)
    assert "QInt8Storage" in refused(path)


def test_tensors_on_the_meta_device_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(3, device="meta")}, path)
    assert "without data" in refused(path)


@pytest.mark.parametrize("claim", [78, 100, 5000, 10_000_000])
def test_a_storage_that_claims_more_numbers_than_its_record_has_is_refused(
    tmp_path: Path, claim: int
) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.arange(77.0)}, path)
    forged = lambda name, data: (  # noqa: E731
        data.replace(b"K\x4d", b"J" + struct.pack("<i", claim)) if name.endswith("data.pkl") else data
    )
    assert f"expected {4 * claim} bytes" in refused(rewritten(path, forged))


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.arange(77.0)[:60]}, path)
    forged = lambda name, data: data.replace(b"K\x3c", b"K\x4e") if name.endswith("data.pkl") else data  # noqa: E731
    assert "beyond its numbers" in refused(rewritten(path, forged))


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.zeros(100)}, path)
    assert "is compressed" in refused(rewritten(path, lambda _, data: data, compression=zipfile.ZIP_DEFLATED))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.zeros(100)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
    assert "twice" in refused(path)


def test_exported_programs_are_recognised_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.zeros(3)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/constants.pkl", b"")
    assert "exported program" in refused(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path: Path, zipped: bool, keep: float) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.randn(1000)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    message = refused(path)
    assert "is empty" in message if keep == 0 else "empty" not in message


@pytest.mark.parametrize("keep", [0, 4, 8, 30, 0.5, 0.999])
def test_truncated_safetensors_are_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, {"w": torch.randn(1000)}, {})
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    assert "empty" in refused(path) if keep == 0 else "truncated" in refused(path)


@pytest.mark.parametrize(
    "data",
    [
        b"hello, world; no checkpoint",
        b"PK\x03\x04 and nothing",
        b"\x80\x02.",
        b"\x80\x02}q\x00.",
        b"\0" * 64,
        b"\x80\x02K\x01.",
    ],
)
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.ckpt"])
def test_garbage_is_refused(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert refused(path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"w": 3}',
        b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": ["x", 4]}}',
        b'{"__metadata__": {"step": 4}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        b"[" * 5000,
        b"\xff\xfe{}",
    ],
)
def test_broken_safetensors_headers_are_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0\0\0")
    assert refused(path)


def test_bytes_after_the_last_tensor_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, {"w": torch.ones(4)}, {})
    path.write_bytes(path.read_bytes() + b"more")
    assert "4 bytes follow" in refused(path)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_permission_denied_has_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    if name == "a.pt":
        torch.save({"w": torch.ones(2)}, path)
    else:
        save_weights(path, {"w": torch.ones(2)}, {})
    opened = os.open

    def deny(file: Any, *args: Any, **options: Any) -> int:
        if str(file) == str(path):
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args, **options)

    monkeypatch.setattr(os, "open", deny)
    assert "permission denied" in refused(path)


def test_a_memo_bomb_and_shared_tuples_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(2)}, path)
    bomb = (
        b"\x80\x02}r\xff\xff\xff\x7f" + b")" + b"\x32\x86" * 200 + b"K\x01s."
    )  # a key of 2**200 shared tuples
    with pytest.raises(CheckpointError):
        TorchFile().describe(rewritten(path, lambda n, d: bomb if n.endswith("data.pkl") else d))


def test_random_damage_never_shows_a_foreign_error(tmp_path: Path) -> None:
    """Every file of 600 with bytes flipped, dropped or doubled is read, or refused in opsig's own words."""
    generator = torch.Generator().manual_seed(0)
    originals = {}
    buffer = io.BytesIO()
    torch.save({"model": {"w": torch.ones(5), "b": torch.zeros(3)}, "epoch": 1}, buffer)
    originals["a.pt"] = buffer.getvalue()
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(5)}, buffer, _use_new_zipfile_serialization=False)
    originals["b.pt"] = buffer.getvalue()
    save_weights(tmp_path / "c.safetensors", {"w": torch.ones(5)}, {"step": 3})
    originals["c.safetensors"] = (tmp_path / "c.safetensors").read_bytes()
    refusals = 0
    for name, data in originals.items():
        for _ in range(200):
            damaged = bytearray(data)
            for _ in range(int(torch.randint(1, 4, (1,), generator=generator))):
                at = int(torch.randint(len(damaged), (1,), generator=generator))
                kind = int(torch.randint(3, (1,), generator=generator))
                value = int(torch.randint(256, (1,), generator=generator))
                damaged[at : at + 1] = (bytes([value]), b"", bytes([damaged[at], value]))[kind]
            path = tmp_path / name
            path.write_bytes(bytes(damaged))
            reader = SafetensorsFile() if name.endswith("safetensors") else TorchFile()
            for use in (reader.describe, reader.read):
                try:
                    use(path)
                except CheckpointError:
                    refusals += 1
    assert refusals > 300
