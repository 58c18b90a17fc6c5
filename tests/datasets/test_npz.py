"""Arrays from an .npz file."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from opsigcli.datasets import open_source
from opsigcli.errors import DatasetError, UsageError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def write(tmp_path: Path, **arrays: Any) -> str:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_float_inputs_are_used_as_they_are(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 4, 3))
    spec = write(tmp_path, x=x, y=np.array([0, 2, 1, 1, 0, 2], dtype=np.uint8))
    source = open_source(spec)
    assert (source.input_shape, source.classes, source.names) == ((4, 3), (), ())
    assert source.labels.dtype == np.int64
    assert source.transform == {}
    assert source.image(0) is None
    order = np.array([5, 0, 0])
    read = source.read(order)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, x[order].astype(np.float32))
    read[:] = 0  # a caller may write into what it got
    np.testing.assert_array_equal(source.read(order), x[order].astype(np.float32))


def test_uint8_images_become_floats_with_channels_first(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (5, 7, 6, 3), dtype=np.uint8)
    source = open_source(write(tmp_path, x=x, y=np.arange(5)))
    assert source.input_shape == (3, 7, 6)
    expected = np.stack([transforms.functional.to_tensor(one).numpy() for one in x])
    np.testing.assert_array_equal(source.read(np.arange(5)), expected)
    np.testing.assert_array_equal(source.image(3), x[3])


@pytest.mark.parametrize("option", ["", "?standardize=channel", "?standardize=image", "?limit=2"])
def test_inputs_without_numbers_are_refused(tmp_path: Path, option: str) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3, 0), np.float32), y=np.arange(4) % 2)
    with pytest.raises(DatasetError, match=r"found inputs of shape \(3, 0\)"):
        open_source(f"npz:{tmp_path / 'd.npz'}{option}")


def test_uint8_images_without_channels_have_one(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (4, 7, 6), dtype=np.uint8)
    source = open_source(write(tmp_path, x=x, y=np.arange(4)))
    np.testing.assert_array_equal(source.read(np.arange(4)), (x / np.float32(255))[:, None])
    np.testing.assert_array_equal(source.image(1), np.stack([x[1]] * 3, axis=-1))


@pytest.mark.parametrize("channels", [1, 3])
def test_uint8_images_are_resized_as_torchvision_resizes_pictures(
    tmp_path: Path, rng: np.random.Generator, channels: int
) -> None:
    x = rng.integers(0, 256, (3, 9, 12, channels), dtype=np.uint8)
    source = open_source(write(tmp_path, x=x, y=np.arange(3)) + "?size=6")
    steps = transforms.Compose([transforms.Resize(6), transforms.CenterCrop(6), transforms.ToTensor()])
    expected = np.stack([steps(Image.fromarray(one.squeeze())).numpy() for one in x])
    np.testing.assert_array_equal(source.read(np.arange(3)), expected)


def test_float_features_are_standardised_each_by_its_own_moments(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    x = rng.normal(loc=1e4, size=(50, 4)) * [1, 5, 0, 0] + [0, 0, 0, 0.1]
    source = open_source(write(tmp_path, x=x, y=np.zeros(50, dtype=int)) + "?standardize=channel")
    taken = x.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(source.transform["mean"], taken.mean(0), rtol=1e-12)
    np.testing.assert_allclose(source.transform["std"], [*taken.std(0)[:2], 1.0, 1.0], rtol=1e-9)
    read = source.read(np.arange(50))
    np.testing.assert_allclose(read[:, :2].std(axis=0), 1, rtol=1e-3)
    assert not read[:, 2:].any()


def test_float_images_are_shown_stretched_to_what_a_screen_can_show(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(2, 3, 5, 4))
    x[1] = rng.uniform(size=(3, 5, 4))
    source = open_source(write(tmp_path, x=x, y=np.arange(2)))
    assert (source.image(0).min(), source.image(0).max(), source.image(0).shape) == (0, 255, (5, 4, 3))
    np.testing.assert_array_equal(source.image(1), np.rint(x[1].astype(np.float32) * 255).transpose(1, 2, 0))


def test_ids_and_class_names_are_kept_through_a_limit(tmp_path: Path) -> None:
    spec = write(
        tmp_path,
        x=np.zeros((5, 2), dtype=np.float32),
        y=np.array([1, 1, 1, 0, 1]),
        ids=np.array([40, 30, 20, 10, 0]),
        classes=np.array(["no", "yes"]),
    )
    source = open_source(f"{spec}?limit=3")
    assert source.ids.tolist() == [40, 30, 10]
    assert source.labels.tolist() == [1, 1, 0]
    assert source.classes == ("no", "yes")


def test_float_targets_are_regression_targets_with_one_label(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    y = rng.normal(size=(4, 2))
    source = open_source(write(tmp_path, x=np.zeros((4, 3)), y=y) + "?limit=3")
    targets = source.read_targets(np.arange(3))
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, y[:3].astype(np.float32))
    assert source.labels.tolist() == [0, 0, 0]


def test_the_fingerprint_tells_labels_ids_inputs_and_dtype(tmp_path: Path) -> None:
    base = {"x": np.zeros((3, 2), dtype=np.float32), "y": np.arange(3)}
    variants = [
        base,
        base | {"y": np.array([0, 2, 1])},
        base | {"y": np.arange(3) / 1.0},
        base | {"y": np.arange(3) / 2.0},
        base | {"ids": np.array([0, 1, 3])},
        base | {"classes": np.array(["a", "b", "c"])},
        base | {"x": np.full((3, 2), 1e-30, dtype=np.float32)},
        base | {"x": np.zeros((3, 2, 1), dtype=np.float32)},
    ]
    marks = [open_source(write(tmp_path, **arrays)).fingerprint for arrays in variants]
    assert len(set(marks)) == len(variants)
    assert open_source(write(tmp_path, **base)).fingerprint == marks[0]


X = np.zeros((3, 2), dtype=np.float32)
Y = np.arange(3)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"odd": X, "y": Y}, r"x not found among: odd, y"),
        ({"a": X}, r"x not found among: a"),
        ({"x": X, "y": np.arange(4)}, r"one length .* \(3, 2\) and \(4,\)"),
        ({"x": X, "y": np.int64(3)}, "one length"),
        ({"x": X[:0], "y": Y[:0]}, "found none"),
        ({"x": X, "y": np.array([0, 1, 2**63], dtype=np.uint64)}, "below 2.63; found 9223372036854775808"),
        ({"x": X, "y": np.array(["a", "b", "c"])}, "integers .* or floats .*; found <U1"),
        ({"x": X, "y": np.array([0.0, np.nan, 1.0])}, "finite targets .* row 1"),
        ({"x": X, "y": Y, "classes": np.array(["a", "b"])}, r"0 to 1 .* \(2 classes\); row 2 has label 2"),
        ({"x": X, "y": Y, "classes": np.arange(3)}, "classes in .* list of strings; found int64"),
        ({"x": X, "y": Y, "ids": np.array([7, 8, 7])}, "id 7 occurs 2 times"),
        ({"x": X, "y": Y, "ids": np.array([0.0, 1.0, 2.0])}, "ids .* whole numbers .* float64"),
        ({"x": X, "y": Y, "ids": np.array([0, 1])}, r"3 whole numbers .* shape \(2,\)"),
        ({"x": X, "y": Y, "ids": np.array([0, 1, -1])}, "at least 0; found int64 .* with -1"),
        ({"x": X.astype(int)[..., None], "y": Y}, "floats, or uint8 images; found int64"),
        ({"x": X.astype(complex), "y": Y}, "floats, or uint8 images; found complex128"),
        ({"x": X.astype(np.uint8), "y": Y}, r"\(N, H, W, C\) or \(N, H, W\); found \(3, 2\)"),
        ({"x": np.zeros((3, 3, 8, 8), dtype=np.uint8), "y": Y}, r"found \(3, 3, 8, 8\)"),
        (
            {"x": np.where(np.arange(6).reshape(3, 2) == 3, np.inf, X), "y": Y},
            "finite inputs .* example 1 has",
        ),
        ({"x": np.full((3, 2), 1e300), "y": Y}, "finite inputs .* example 0 has"),
        ({"x": np.array([{}, 1, 2], dtype=object), "y": Y}, "object array"),
        ({"x": X, "y": np.array([None, 1, 2], dtype=object)}, "object array"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_words(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        open_source(write(tmp_path, **arrays))


def test_labels_that_nan_marks_as_missing_are_told_a_way(tmp_path: Path) -> None:
    labels = np.array([[0.0, np.nan], [1.0, 0.0], [1.0, 1.0]])
    with pytest.raises(DatasetError, match=r"finite targets .* row 0") as caught:
        open_source(write(tmp_path, x=X, y=labels))
    assert "np.nan_to_num(y, nan=-1)" in caught.value.hint
    assert len(open_source(write(tmp_path, x=X, y=np.nan_to_num(labels, nan=-1))).ids) == 3


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    good = Path(write(tmp_path, x=X, y=Y)[4:])
    np.save(tmp_path / "single.npy", X)
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty.npz").touch()
    with zipfile.ZipFile(tmp_path / "forged.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, ")
        archive.writestr("y.npy", b"")
    damaged = bytearray(good.read_bytes())
    damaged[good.read_bytes().index(b"NUMPY") + 140] ^= 255
    (tmp_path / "damaged.npz").write_bytes(damaged)
    for name, words in {
        "missing.npz": "there is none",
        "single.npy": "single array",
        "text.npz": "cannot read|unpickling",
        "cut.npz": "cannot read",
        "empty.npz": "cannot read",
        "forged.npz": "cannot read",
        "damaged.npz": "cannot read",
        "": "cannot read",
    }.items():
        with pytest.raises(DatasetError, match=words):
            open_source(f"npz:{tmp_path / name}")


def test_floats_are_not_resized_and_have_no_mode(tmp_path: Path) -> None:
    spec = write(tmp_path, x=np.zeros((3, 3, 8, 8)), y=Y)
    with pytest.raises(DatasetError, match="size=, crop=, mode= and transform= are for uint8 images"):
        open_source(f"{spec}?size=4")
    with pytest.raises(UsageError, match="unknown option of npz 'mode'"):
        open_source(f"{spec}?mode=L")


@pytest.mark.parametrize(
    ("kind", "what", "way"),
    [
        ("hdf5", "HDF5", "h5py.File"),
        ("torch", "torch.save", "torch.load"),
        ("tar", "tar", "tar -xf"),
        ("idx", "idx", "torchvision:MNIST"),
        ("pickle", "pickle", "torchvision:CIFAR10"),
    ],
)
def test_data_in_other_files_is_named_with_what_makes_arrays_of_it(
    tmp_path: Path, kind: str, what: str, way: str
) -> None:
    path = tmp_path / "data"
    if kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["x"] = np.ones(3)
    elif kind == "torch":
        torch.save((torch.ones(3, 2), torch.ones(3)), path)
    elif kind == "tar":
        (tmp_path / "0.cls").write_text("1")
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / "0.cls", "0.cls")
    elif kind == "idx":
        path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x05"))
    else:
        path.write_bytes(pickle.dumps({b"data": np.ones(3)}))
    with pytest.raises(DatasetError, match=what) as refused:
        open_source(f"npz:{path}")
    assert way in refused.value.hint
    if kind == "torch":  # the command does what it says
        command = refused.value.hint.replace("python -c", f"{sys.executable} -c")
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
        assert len(open_source(f"npz:{tmp_path / 'data.npz'}")) == 3
