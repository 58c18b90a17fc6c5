"""Datasets that the user's own code makes, and torchvision's."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision import transforms

from opsigcli.datasets import base, open_source
from opsigcli.datasets.torchvision_source import _held_arrays
from opsigcli.errors import DatasetError, UsageError

CODE = """
import random
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

class Made(Dataset):
    classes = ["even", "odd"]
    def __init__(self, n, item):
        self.n, self.item = n, item
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        return self.item(i)

def tensors(n=6, scale=1.0):
    print("noise on stdout")
    return Made(n, lambda i: (torch.arange(6.0).reshape(2, 3) * scale + i, i % 2))

def size_is_mine(size=3):
    return Made(size, lambda i: (np.full(2, float(i)), np.int32(i % 2)))

def pictures():
    return Made(4, lambda i: (Image.new("RGB", (8, 6 + i % 2), (i, 2 * i, 255)), torch.tensor(i % 2)))

def uint8_tensors():
    return Made(3, lambda i: (torch.arange(60, dtype=torch.uint8).reshape(3, 4, 5) + i, bool(i % 2)))

def halves():
    return Made(3, lambda i: (torch.full((2,), i / 2, dtype=torch.bfloat16, requires_grad=True), i % 2))

def regression():
    return Made(3, lambda i: (torch.zeros(2), torch.tensor([i / 2, 1.0])))

def augmented():
    return Made(20, lambda i: (torch.zeros(2) + (random.random() if i == 5 else 0), 0))

def broken():
    def item(i):
        if i == 2:
            raise ValueError("disk on fire")
        return torch.zeros(2), 0
    return Made(4, item)

def items(what):
    item = {
        "dict": lambda i: {"p": 1, "q": 2},
        "one": lambda i: torch.zeros(2),
        "words": lambda i: ("text", 0),
        "none": lambda i: (None, 0),
        "ints": lambda i: (torch.zeros((2, 2), dtype=torch.int64), 0),
        "label_text": lambda i: (torch.zeros(2), "cat"),
        "label_dict": lambda i: (torch.zeros(2), {"boxes": 1}),
        "beyond": lambda i: (torch.zeros(2), i),
        "mixed": lambda i: (torch.zeros(2), i / 2 if i > 2 else i % 2),
        "ragged": lambda i: (torch.zeros(2 + i // 3), 0),
        "not_finite": lambda i: (torch.full((2,), float("nan") if i == 3 else 0.0), 0),
    }[what]
    return Made(4, item)

def empty():
    return Made(0, None)

def stream():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([])
    return Stream()

def crash():
    raise RuntimeError("no licence")

def leave():
    raise SystemExit(3)

NOT_CALLABLE = 3
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the current folder, gone again afterwards."""
    (tmp_path / "my_data.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_data", raising=False)
    yield "py:my_data"
    sys.modules.pop("my_data", None)


def everything(source: base.Source) -> np.ndarray:
    return source.read(np.arange(len(source)))


def test_tensors_are_read_in_order_with_their_labels_and_classes(
    code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = list(sys.path)
    source = open_source(f"{code}:tensors?n=5&scale=0.5&limit=4")
    assert sys.path == path
    expected = np.stack([np.arange(6.0).reshape(2, 3) * 0.5 + i for i in range(4)])
    np.testing.assert_array_equal(everything(source), expected.astype(np.float32))
    assert source.labels.tolist() == [0, 1, 0, 1]
    assert source.classes == ("even", "odd")
    captured = capsys.readouterr()
    assert captured.out == ""  # stdout belongs to the result
    assert "noise" in captured.err


def test_a_file_spec_works_from_another_folder(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source("file:my_data.py:tensors?n=5")
    monkeypatch.chdir("/")
    assert open_source(source.spec).fingerprint == source.fingerprint
    assert source.spec.startswith("file:/")


def test_an_option_that_the_factory_has_is_the_factorys(code: str) -> None:
    source = open_source(f"{code}:size_is_mine?size=5&mean=1&std=2")
    np.testing.assert_array_equal(everything(source)[:, 0], (np.arange(5) - 1) / 2)


def test_pictures_are_resized_and_become_floats(code: str) -> None:
    source = open_source(f"{code}:pictures?size=4")
    assert source.input_shape == (3, 4, 4)
    expected = transforms.functional.to_tensor(Image.new("RGB", (4, 4), (3, 6, 255))).numpy()
    np.testing.assert_array_equal(source.read(np.array([3]))[0], expected)
    assert source.transform == {"scale": "1/255", "size": [4], "crop": [4, 4]}
    np.testing.assert_array_equal(source.image(2)[0, 0], [2, 4, 255])


def test_uint8_image_tensors_have_their_channels_first(code: str) -> None:
    source = open_source(f"{code}:uint8_tensors")
    expected = (torch.arange(60).reshape(3, 4, 5) + 1).numpy() / np.float32(255)
    np.testing.assert_array_equal(source.read(np.array([1]))[0], expected.astype(np.float32))


def test_bfloat16_tensors_with_gradients_are_read_as_float32(code: str) -> None:
    np.testing.assert_array_equal(everything(open_source(f"{code}:halves"))[:, 0], [0, 0.5, 1])


def test_float_targets_are_regression_targets(code: str) -> None:
    source = open_source(f"{code}:regression")
    np.testing.assert_array_equal(
        source.read_targets(np.arange(3)), np.array([[0, 1], [0.5, 1], [1, 1]], dtype=np.float32)
    )
    assert source.labels.tolist() == [0, 0, 0]


def test_a_dataset_over_the_budget_is_read_item_by_item_and_reads_the_same(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = open_source(f"{code}:tensors?standardize=channel&limit=5")
    monkeypatch.setattr(base, "MEMORY_BUDGET", 10)
    lazy = open_source(f"{code}:tensors?standardize=channel&limit=5")
    order = np.array([4, 0, 4])
    np.testing.assert_array_equal(kept.read(order), lazy.read(order))
    assert kept.fingerprint == lazy.fingerprint


def test_random_augmentation_is_refused_by_the_examples_name(code: str) -> None:
    with pytest.raises(DatasetError, match=r"two reads of example 5 of .* differ") as caught:
        open_source(f"{code}:augmented")
    assert "no augmentation" in caught.value.hint


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("broken", r"reading example 2 of .* failed: ValueError: disk on fire \(.*my_data.py:\d+, in item\)"),
        ("items?what=dict", r"to name its input; it has no usual names"),
        ("items?what=one", r"pair \(input, target\); found Tensor"),
        ("items?what=words", "floats, or uint8 images; found <U4"),
        ("items?what=none", "floats, or uint8 images; found object"),
        ("items?what=ints", "floats, or uint8 images; found int64"),
        ("items?what=label_text", "class index or numbers; found str"),
        ("items?what=label_dict", "class index or numbers; found dict"),
        ("items?what=beyond", r"labels from 0 to 1 .*; row 3 has label 3"),
        ("items?what=mixed", "targets of one kind .* example 0 is int64 .* example 3 float64"),
        ("items?what=ragged", r"example 0 is float32 \(2,\), example 3 is float32 \(3,\)"),
        ("items?what=not_finite", "finite inputs .* example 3"),
        ("pictures", "inputs of one shape .* example 1"),
        ("empty", "found none"),
        ("stream", "map-style dataset.*; found Stream"),
        ("crash", r"calling .* failed: RuntimeError: no licence \(.*in crash\)"),
        ("leave", "calling .* failed: SystemExit: 3"),
        ("NOT_CALLABLE", "name a function or class; found int"),
        ("tensor", "expected 'tensor' in module 'my_data'; it is not there"),
    ],
)
def test_code_that_gives_no_dataset_is_refused_in_words(code: str, call: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        open_source(f"{code}:{call}")


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        ("py:my_data:tensors?m=3", UsageError, "unexpected keyword argument 'm'"),
        ("py:my_data:items", UsageError, "missing a required argument: 'what'"),
        ("py:my_data", UsageError, "expected py:package.module:factory"),
        ("py:no_such_module:f", DatasetError, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("file:none.py:f", DatasetError, "expected a Python file at"),
        ("file:my_data.txt:f", DatasetError, "expected a Python file"),
        ("file:bad.py:f", DatasetError, "SyntaxError"),
    ],
)
def test_a_code_spec_that_does_not_load_is_refused_in_words(
    code: str, tmp_path: Path, spec: str, kind: type[Exception], words: str
) -> None:
    (tmp_path / "my_data.txt").write_text(CODE)
    (tmp_path / "bad.py").write_text("def f(:")
    with pytest.raises(kind, match=words):
        open_source(spec)


def test_a_misspelt_factory_lists_close_names(code: str) -> None:
    with pytest.raises(DatasetError) as caught:
        open_source(f"{code}:tensor")
    assert "'tensors'" in caught.value.hint


def test_torchvision_datasets_are_read_as_pictures() -> None:
    source = open_source("torchvision:FakeData?size=7&image_size=3,6,5&num_classes=4")
    truth = torchvision.datasets.FakeData(7, (3, 6, 5), 4, transform=transforms.ToTensor())
    assert len(source) == 7
    np.testing.assert_array_equal(everything(source), np.stack([truth[i][0].numpy() for i in range(7)]))
    assert source.labels.tolist() == [int(truth[i][1]) for i in range(7)]


def write_cifar(root: Path, rng: np.random.Generator) -> np.ndarray:
    """A CIFAR-10 folder of 20 examples, in the layout of the archive."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = rng.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    for number in range(5):
        rows = slice(4 * number, 4 * number + 4)
        batch = {"data": pixels[rows].reshape(4, -1), "labels": [k % 10 for k in range(20)][rows]}
        (folder / f"data_batch_{number + 1}").write_bytes(pickle.dumps(batch))
    (folder / "test_batch").write_bytes(pickle.dumps({"data": pixels[:2].reshape(2, -1), "labels": [3, 4]}))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    return pixels


def test_arrays_that_torchvision_holds_are_read_without_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = write_cifar(tmp_path / "data", np.random.default_rng(0))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *a: True)
    reads = []
    item = torchvision.datasets.CIFAR10.__getitem__
    monkeypatch.setattr(
        torchvision.datasets.CIFAR10, "__getitem__", lambda self, i: reads.append(i) or item(self, i)
    )
    monkeypatch.chdir(tmp_path)
    source = open_source("torchvision:CIFAR10?root=data&download=false")
    assert len(reads) <= 6
    np.testing.assert_array_equal(everything(source), pixels / np.float32(255))
    assert source.labels.tolist() == [k % 10 for k in range(20)]
    assert source.classes[:2] == ("airplane", "automobile")
    assert source.spec == f"torchvision:CIFAR10?root={tmp_path / 'data'}"
    assert len(open_source("torchvision:CIFAR10?root=data&train=false")) == 2
    small = open_source("torchvision:CIFAR10?root=data&mode=L&size=8&limit=3")
    assert small.input_shape == (1, 8, 8)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "NHW", "tensor"])
def test_held_arrays_are_used_in_any_layout_when_they_are_the_items(layout: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
    grey = layout in ("NHW", "tensor")
    if grey:
        pixels = pixels[..., 0]

    class Held:
        data = {
            "NCHW": pixels.transpose(0, 3, 1, 2) if not grey else None,
            "tensor": torch.from_numpy(pixels),
        }.get(layout, pixels)
        targets = torch.arange(5) if grey else list(range(5))
        order = range(5)

        def __len__(self) -> int:
            return 5

        def __getitem__(self, row: int) -> tuple[Image.Image, int]:
            return Image.fromarray(np.ascontiguousarray(pixels[self.order[row]])), int(row)

    held, labels = _held_arrays(Held())
    np.testing.assert_array_equal(held, pixels)
    assert labels.tolist() == [0, 1, 2, 3, 4]
    other = Held()
    other.order = [0, 1, 3, 2, 4]  # the items are not the rows of the array
    assert _held_arrays(other) == (None, None)
    relabelled = Held()
    relabelled.targets = [0, 1, 2, 3, 9]
    assert _held_arrays(relabelled) == (None, None)


def test_torchvision_image_folders_are_read_as_files(tmp_path: Path) -> None:
    for name, colour in {"a": 3, "b": 200}.items():
        (tmp_path / name).mkdir()
        Image.new("L", (5, 4), colour).save(tmp_path / name / "0.png")
    by_class = open_source(f"torchvision:ImageFolder?root={tmp_path}")
    by_folder = open_source(f"folder:{tmp_path}")
    assert by_class.fingerprint == by_folder.fingerprint
    assert by_class.names == ("a/0.png", "b/0.png")


@pytest.mark.parametrize(
    ("spec", "kind", "message", "hint"),
    [
        ("torchvision:CIFAR11?root=x", UsageError, "no dataset 'CIFAR11'", "torchvision:CIFAR10"),
        ("torchvision:CIFAR10", UsageError, "expected root=", "torchvision:CIFAR10?root=DIR"),
        ("torchvision:CIFAR10?root=nowhere", DatasetError, "not found or corrupted", "download=true"),
        ("torchvision:CIFAR10?root=a,b", UsageError, "root= cannot hold", "symbolic link"),
        ("torchvision:CIFAR10?root=x&trian=true", UsageError, "unexpected keyword argument 'trian'", "train"),
        ("torchvision:CIFAR10?root=x&transform=flip", UsageError, "expected transform=weights", "transform="),
        ("torchvision:FakeData?size=0", DatasetError, "found none", ""),
    ],
)
def test_torchvision_specs_that_do_not_open_are_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, kind: type[Exception], message: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as caught:
        open_source(spec)
    assert message in caught.value.message
    assert hint in caught.value.hint
