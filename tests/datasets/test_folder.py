"""Image folders: the truth is torchvision's ImageFolder with its evaluation transforms."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from opsigcli.datasets import base, open_source
from opsigcli.errors import DatasetError, UsageError

CLASSES = {"bird": 3, "cat": 5, "zebra": 4}


def write_image(
    path: Path, rng: np.random.Generator, size: tuple[int, int] = (9, 11), mode: str = "RGB"
) -> None:
    """A random picture of ``size`` (height, width); coarse, so that JPEG keeps something of it."""
    channels = {"RGB": 3, "L": 1, "RGBA": 4}[mode]
    pixels = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if mode == "L" else pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes, several formats and modes, one nested folder, one file that is no image."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    endings = ("png", "jpg", "webp", "bmp", "PNG")
    for name, count in CLASSES.items():
        for k in range(count):
            place = root / name / "deep" if k == 2 else root / name
            write_image(place / f"{9 - k}.{endings[k]}", rng, mode="L" if k == 3 else "RGB")
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / "README").write_text("not a class")
    return root


def everything(source: base.Source) -> np.ndarray:
    return source.read(np.arange(len(source)))


def truth(root: Path, *steps: object) -> np.ndarray:
    dataset = ImageFolder(root, transform=transforms.Compose([*steps, transforms.ToTensor()]))
    return np.stack([image.numpy() for image, _ in dataset])


def test_images_labels_and_names_are_those_of_torchvision_image_folder(folder: Path) -> None:
    source = open_source(f"folder:{folder}")
    expected = ImageFolder(folder)
    assert source.classes == tuple(expected.classes)
    assert source.labels.tolist() == expected.targets
    assert source.read_targets(np.arange(len(source))).tolist() == expected.targets
    assert list(source.names) == [Path(path).relative_to(folder).as_posix() for path, _ in expected.samples]
    assert source.ids.tolist() == list(range(12))
    assert source.input_shape == (3, 9, 11)
    assert source.transform == {"scale": "1/255", "mode": "RGB"}
    read = everything(source)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, truth(folder))


def test_nested_folders_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for name in ("m", "c", "z", "a/b", "a", "k", "a.b"):
        write_image(tmp_path / "only" / name / "0.png", rng)
    source = open_source(f"folder:{tmp_path}")
    expected = ImageFolder(tmp_path)
    assert list(source.names) == [Path(path).relative_to(tmp_path).as_posix() for path, _ in expected.samples]


def test_mode_l_gives_one_channel(folder: Path) -> None:
    source = open_source(f"folder:{folder}?mode=L")
    assert source.input_shape == (1, 9, 11)
    np.testing.assert_array_equal(everything(source), truth(folder, transforms.Grayscale()))
    assert source.image(0).shape == (9, 11, 3)


@pytest.mark.parametrize("size", [5, 9, 14])
def test_one_size_resizes_the_shorter_side_and_crops_the_centre(tmp_path: Path, size: int) -> None:
    rng = np.random.default_rng(1)
    for k, shape in enumerate([(9, 12), (13, 9), (20, 31), (7, 8), (9, 9)]):
        write_image(tmp_path / "a" / f"{k}.png", rng, shape)
    source = open_source(f"folder:{tmp_path}?size={size}")
    expected = truth(tmp_path, transforms.Resize(size), transforms.CenterCrop(size))
    np.testing.assert_array_equal(everything(source), expected)
    assert source.transform["crop"] == [size, size]


def test_two_sizes_resize_exactly_and_a_crop_of_its_own_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for k, shape in enumerate([(9, 12), (31, 17)]):
        write_image(tmp_path / "a" / f"{k}.png", rng, shape)
    np.testing.assert_array_equal(
        everything(open_source(f"folder:{tmp_path}?size=6,8")), truth(tmp_path, transforms.Resize((6, 8)))
    )
    np.testing.assert_array_equal(
        everything(open_source(f"folder:{tmp_path}?size=8&crop=5,7")),
        truth(tmp_path, transforms.Resize(8), transforms.CenterCrop((5, 7))),
    )


def test_explicit_constants_are_those_of_torchvision_normalize(folder: Path) -> None:
    source = open_source(f"folder:{folder}?mean=0.485,0.456,0.406&std=0.229,0.224,0.225")
    normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    dataset = ImageFolder(folder, transform=transforms.Compose([transforms.ToTensor(), normalize]))
    np.testing.assert_allclose(
        everything(source), np.stack([x.numpy() for x, _ in dataset]), rtol=0, atol=1e-6
    )


def test_channel_constants_are_the_float64_moments_of_the_examples_taken(folder: Path) -> None:
    source = open_source(f"folder:{folder}?standardize=channel&limit=7")
    raw = truth(folder).astype(np.float64)[source.ids]
    mean, std = raw.mean(axis=(0, 2, 3)), raw.std(axis=(0, 2, 3))
    np.testing.assert_allclose(source.transform["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(source.transform["std"], std, rtol=1e-6)
    expected = (raw - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(everything(source), expected, rtol=0, atol=1e-6)


def test_image_standardisation_gives_every_image_mean_zero_and_deviation_one(folder: Path) -> None:
    shutil.rmtree(folder / "zebra")
    Image.new("RGB", (11, 9), (7, 7, 7)).save(folder / "bird" / "flat.png")
    source = open_source(f"folder:{folder}?standardize=image")
    for name, x in zip(source.names, everything(source).astype(np.float64), strict=True):
        assert abs(x.mean()) < 1e-6
        assert x.std() == pytest.approx(0 if "flat" in name else 1, abs=1e-5)


def test_a_limit_takes_the_first_of_each_class_as_evenly_as_they_last(folder: Path) -> None:
    for limit, expected in {
        1: [1, 0, 0],
        4: [2, 1, 1],
        9: [3, 3, 3],
        10: [3, 4, 3],
        12: [3, 5, 4],
        99: [3, 5, 4],
    }.items():
        source = open_source(f"folder:{folder}?limit={limit}")
        assert np.bincount(source.labels, minlength=3).tolist() == expected
        starts = np.array([0, 3, 8])
        want = [start + k for start, count in zip(starts, expected, strict=True) for k in range(count)]
        assert source.ids.tolist() == want
        assert len(source.names) == len(source) == len(want)


def test_images_over_the_budget_are_decoded_per_read_and_read_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = f"folder:{folder}?standardize=channel&limit=9"
    kept = open_source(spec)
    monkeypatch.setattr(base, "MEMORY_BUDGET", 100)
    decoded = open_source(spec)
    order = np.array([8, 0, 3, 3])
    np.testing.assert_array_equal(kept.read(order), decoded.read(order))
    np.testing.assert_array_equal(kept.image(4), decoded.image(4))
    assert kept.transform == decoded.transform
    (folder / "bird" / "9.png").unlink()
    with pytest.raises(DatasetError, match=r"9\.png; it is not there"):
        decoded.read(np.arange(9))


def test_the_stored_spec_opens_the_same_examples_from_another_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    source = open_source("folder:images?limit=5&standardize=channel&size=6,8")
    monkeypatch.chdir("/")
    again = open_source(source.spec)
    assert again.spec == source.spec
    assert again.fingerprint == source.fingerprint
    np.testing.assert_array_equal(everything(again), everything(source))


def test_the_fingerprint_tells_content_and_transform_but_not_place(folder: Path, tmp_path: Path) -> None:
    def mark(root: Path, query: str = "") -> str:
        return open_source(f"folder:{root}{query}").fingerprint

    here = mark(folder)
    assert mark(shutil.copytree(folder, tmp_path / "moved")) == here
    assert len({here, mark(folder, "?limit=11"), mark(folder, "?mode=L"), mark(folder, "?mean=0&std=2")}) == 4
    with Image.open(tmp_path / "moved" / "bird" / "9.png") as picture:
        changed = picture.copy()
    red, green, blue = changed.getpixel((0, 0))
    changed.putpixel((0, 0), (red ^ 1, green, blue))
    changed.save(tmp_path / "moved" / "bird" / "9.png")
    assert mark(tmp_path / "moved") != here


def test_an_image_is_shown_as_it_is_on_disk(folder: Path) -> None:
    source = open_source(f"folder:{folder}?standardize=channel")
    with Image.open(folder / source.names[4]) as picture:
        np.testing.assert_array_equal(source.image(4), np.asarray(picture.convert("RGB")))


def test_images_of_two_sizes_are_refused_with_both_named(folder: Path) -> None:
    write_image(folder / "zebra" / "odd.png", np.random.default_rng(3), (8, 11))
    with pytest.raises(DatasetError, match=r"bird/8\.jpg is 9x11 and .*zebra/odd\.png is 8x11") as caught:
        open_source(f"folder:{folder}")
    assert "size=8" in caught.value.hint
    assert open_source(f"folder:{folder}?size=8").input_shape == (3, 8, 8)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_broken_image_is_named(folder: Path, damage: str) -> None:
    path = folder / "cat" / "9.png"
    content = {"truncated": path.read_bytes()[:120], "text": b"hello", "empty": b""}[damage]
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"broken or unreadable one: .*cat/9\.png"):
        open_source(f"folder:{folder}")


def test_an_image_that_is_a_dangling_link_is_named(folder: Path) -> None:
    (folder / "cat" / "link.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(DatasetError, match=r"cat/link\.png; it is not there"):
        open_source(f"folder:{folder}")


def test_folders_without_classes_or_images_are_refused_in_words(folder: Path, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(DatasetError) as caught:
            open_source(f"folder:{path}")
        return caught.value.message

    assert "there is none" in refused(tmp_path / "missing")
    assert "cannot list" in refused(folder / "README")
    (tmp_path / "empty").mkdir()
    assert "found 0 files and no folders" in refused(tmp_path / "empty")
    write_image(tmp_path / "flat" / "a.png", np.random.default_rng(0))
    assert "found 1 images but no folders" in refused(tmp_path / "flat")
    (folder / "ant").mkdir()
    (folder / "yak").mkdir()
    assert "none in 'ant', 'yak'" in refused(folder)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sise=4", "unknown option of folder 'sise'"),
        ("size=0", "size to be whole numbers of at least 1"),
        ("size=4,4,4", "size=H or size=H,W"),
        ("size=big", "size to be whole numbers"),
        ("limit=0", "limit to be a whole number of at least 1"),
        ("limit=2.5", "limit to be a whole number"),
        ("limit=true", "limit to be a whole number"),
        ("mode=CMYK", "mode to be one of RGB, L"),
        ("standardize=all", "standardize to be one of none, channel, image"),
        ("mean=0.5", "mean= and std= together"),
        ("mean=0.5&std=0", "std= above 0"),
        ("mean=0.5&std=nan", "std to be finite numbers"),
        ("mean=0.5,0.5&std=1", "mean= to have 1 or 3 numbers"),
        ("mean=0.5&std=1&standardize=image", "contradict"),
    ],
)
def test_a_wrong_option_is_a_usage_error_that_says_what_was_expected(
    folder: Path, query: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        open_source(f"folder:{folder}?{query}")


def test_a_crop_larger_than_the_image_is_refused(folder: Path) -> None:
    with pytest.raises(DatasetError, match="crop of 20x20; it is 9x11"):
        open_source(f"folder:{folder}?crop=20")


def test_a_path_that_no_spec_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "what?").mkdir()
    write_image(tmp_path / "what?" / "images" / "a" / "0.png", np.random.default_rng(0))
    monkeypatch.chdir(tmp_path / "what?")
    with pytest.raises(UsageError, match="cannot hold the path"):
        open_source("folder:images")
