"""CIFAR as its authors hand it out: the truth is torchvision, which reads the pickles."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torchvision

from opsigcli.datasets import open_source
from opsigcli.errors import DatasetError, OpsigError, UsageError

N = 6
RNG = np.random.default_rng(0)
PIXELS = {part: RNG.integers(0, 256, (N, 3072), dtype=np.uint8) for part in ("train", "test")}
LABELS = {
    part: {kind: RNG.integers(0, count, N).tolist() for kind, count in (("fine", 100), ("coarse", 20))}
    for part in PIXELS
}
NAMES = {kind: [f"{kind}-{i}" for i in range(count)] for kind, count in (("fine", 100), ("coarse", 20))}


def python_two(value: object) -> bytes:
    """A pickle of protocol 2 as Python 2 wrote it: bytes, and the texts of keys and names, are its one kind of text."""
    mapping = {name.encode(): held for name, held in value.items()}  # type: ignore[attr-defined]
    found = b"\x80\x02}("
    for name, held in mapping.items():
        found += b"U" + bytes([len(name)]) + name
        if isinstance(held, np.ndarray):
            raw = held.tobytes()
            found += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
            found += b"(K\x01K" + bytes([len(held)]) + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
            found += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
            found += len(raw).to_bytes(4, "little") + raw + b"tb"
        else:
            texts = [
                b"U" + bytes([len(item)]) + item.encode() if isinstance(item, str) else b"K" + bytes([item])
                for item in held
            ]
            found += b"](" + b"".join(texts) + b"e"
    return found + b"u."


@pytest.fixture(params=["python 2", "protocol 2", "protocol 4", "binary"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """CIFAR-100 of 6 pictures in one of its layouts; with torchvision's names of files in all but the last."""
    binary = request.param == "binary"
    place = tmp_path / ("cifar-100-binary" if binary else "cifar-100-python")
    place.mkdir()
    for part, pixels in PIXELS.items():
        if binary:
            records = np.column_stack([LABELS[part]["coarse"], LABELS[part]["fine"], pixels]).astype(np.uint8)
            (place / f"{part}.bin").write_bytes(records.tobytes())
            continue
        content = {"data": pixels} | {f"{kind}_labels": labels for kind, labels in LABELS[part].items()}
        names = {f"{kind}_label_names": each for kind, each in NAMES.items()}
        for file, value in ((part, content), ("meta", names)):
            old = request.param == "python 2"
            written = python_two(value) if old else pickle.dumps(value, protocol=int(request.param[-1]))
            (place / file).write_bytes(written)
    if binary:
        for kind, names in NAMES.items():
            (place / f"{kind}_label_names.txt").write_text("\n".join(names) + "\n\n")
    return tmp_path


@pytest.mark.parametrize("train", [True, False])
def test_pictures_labels_and_names_of_cifar_100_are_those_of_torchvision(
    root: Path, train: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = "train" if train else "test"
    truth, classes = (PIXELS[part].reshape(-1, 3, 32, 32), LABELS[part]["fine"]), NAMES["fine"]
    if (root / "cifar-100-python").is_dir():
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
        monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *a: True)
        theirs = torchvision.datasets.CIFAR100(str(root), train=train)
        truth, classes = (theirs.data.transpose(0, 3, 1, 2), theirs.targets), theirs.classes
    for kind in ("fine", "coarse"):
        options = f"labels={kind}&train={str(train).lower()}"
        specs = [f"cifar:{root}?{options}", f"cifar:{next(root.iterdir())}?{options}"]
        if (root / "cifar-100-python").is_dir():
            specs.append(f"torchvision:CIFAR100?root={root}&{options}")
        for spec in specs:
            source = open_source(spec)
            np.testing.assert_array_equal(source.read(np.arange(N)), truth[0] / np.float32(255))
            assert source.labels.tolist() == (truth[1] if kind == "fine" else LABELS[part]["coarse"])
            assert list(source.classes) == (classes if kind == "fine" else NAMES["coarse"])
            assert open_source(source.spec).fingerprint == source.fingerprint


def test_cifar_10_of_bytes_and_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "cifar-10-batches-bin"
    place.mkdir()
    records = np.column_stack([np.arange(N), PIXELS["train"]]).astype(np.uint8)
    for number in range(1, 6):
        (place / f"data_batch_{number}.bin").write_bytes(records.tobytes())
    (place / "batches.meta.txt").write_text("".join(f"name {i}\n" for i in range(10)))
    source = open_source(f"cifar:{place}")
    assert (len(source), source.labels[:N].tolist(), source.classes[3]) == (5 * N, list(range(N)), "name 3")

    def refused(spec: str, kind: type[OpsigError], words: str) -> None:
        with pytest.raises(kind, match=words):
            open_source(spec)

    refused(f"cifar:{place}?labels=coarse", UsageError, "no coarse labels")
    refused(f"cifar:{place}?labels=both", UsageError, "labels")
    refused(f"cifar:{place}?train=false", DatasetError, "test_batch.bin")
    refused(f"cifar:{tmp_path / 'nowhere'}", DatasetError, "none of their files")
    (place / "data_batch_2.bin").write_bytes(records.tobytes()[:-1])
    refused(f"cifar:{place}", DatasetError, "records of 3073 bytes")
    python = tmp_path / "cifar-100-python"
    python.mkdir()
    names = pickle.dumps({f"{kind}_label_names": each for kind, each in NAMES.items()})
    for content, words in (
        (b"no pickle", "expected a pickle"),
        (pickle.dumps([1]), "expected a dict"),
        (pickle.dumps({"data": PIXELS["train"].astype(np.float32), "fine_labels": [0] * N}), "as bytes"),
        (pickle.dumps({"data": PIXELS["train"], "fine_labels": [0]}), "as bytes"),
    ):
        (python / "train").write_bytes(content)
        (python / "meta").write_bytes(names)
        refused(f"cifar:{python}", DatasetError, words)
    refused(f"cifar:{tmp_path}", DatasetError, "cifar-100-python, cifar-10-batches-bin")
