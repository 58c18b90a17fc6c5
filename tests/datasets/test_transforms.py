"""``transform=``: the truth is torchvision's presets, timm's own evaluation transform, and the function itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Opsig
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.models import get_weight
from torchvision.transforms.functional import pil_to_tensor, to_tensor

from opsigcli.datasets import base, open_source
from opsigcli.errors import DatasetError, UsageError
from opsigcli.trust import is_code

WEIGHTS = ("ResNet18_Weights.DEFAULT", "ViT_H_14_Weights.DEFAULT", "Inception_V3_Weights.IMAGENET1K_V1")
CODE = """
import numpy as np
import torch
from torchvision.transforms.functional import to_tensor

def floats(picture):
    return to_tensor(picture.resize((6, 5))) * 2 - 1

def pixels(picture):
    return np.asarray(picture.resize((6, 5))).transpose(2, 0, 1)

def noisy(picture):
    return floats(picture) + torch.rand(1)

def uneven(picture):
    return to_tensor(picture)

def by_value(picture):
    return pixels(picture) if np.asarray(picture)[0, 0, 0] > 127 else floats(picture)

def channels_last(picture):
    return np.asarray(picture)

def picture(picture):
    return picture

def words(picture):
    return "no array"

def infinite(picture):
    return floats(picture) / 0

def broken(picture):
    raise SystemExit(3)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of pictures of different sizes and modes."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number, (height, width) in enumerate(((40, 61), (70, 33), (64, 64))):
            path = tmp_path / "images" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels[..., 0] if number == 2 else pixels).save(path)
    return tmp_path / "images"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "prep.py"
    path.write_text(CODE)
    return path


def everything(source: base.Source) -> np.ndarray:
    return source.read(np.arange(len(source)))


def truth(root: Path, function: object) -> np.ndarray:
    return np.stack([np.asarray(image) for image, _ in ImageFolder(root, transform=function)])


@pytest.mark.parametrize("name", WEIGHTS)
def test_inputs_are_those_of_the_preset_of_torchvision(folder: Path, name: str) -> None:
    source = open_source(f"folder:{folder}?transform=weights:{name}")
    preset = get_weight(name).transforms()
    np.testing.assert_allclose(everything(source), truth(folder, preset), rtol=0, atol=1e-6)
    assert source.transform == {
        "scale": "1/255",
        "mode": "RGB",
        "size": preset.resize_size,
        "crop": preset.crop_size * 2,
        "interpolation": preset.interpolation.value,
        "mean": preset.mean,
        "std": preset.std,
    }


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "resnet18.tv_in1k"])
def test_inputs_are_those_of_timm_for_its_model(folder: Path, name: str) -> None:
    timm = pytest.importorskip("timm")
    from timm.data import create_transform, resolve_data_config

    config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    source = open_source(f"folder:{folder}?transform=timm:{name}")
    expected = truth(folder, create_transform(**config, is_training=False))
    np.testing.assert_allclose(everything(source), expected, rtol=0, atol=1e-6)
    assert source.transform["interpolation"] == config["interpolation"]


def test_a_preset_applies_to_the_datasets_of_torchvision_too(tmp_path: Path) -> None:
    spec = "torchvision:FakeData?size=5&image_size=3,20,30&num_classes=2"
    source = open_source(f"{spec}&transform=weights:ResNet18_Weights.DEFAULT")
    from torchvision.datasets import FakeData

    preset = get_weight("ResNet18_Weights.DEFAULT").transforms()
    expected = np.stack([preset(image).numpy() for image, _ in FakeData(5, (3, 20, 30), 2)])
    np.testing.assert_allclose(everything(source), expected, rtol=0, atol=1e-6)


def test_a_preset_applies_to_pictures_in_an_array(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=np.array([0, 1, 0, 1]))
    source = open_source(f"npz:{tmp_path}/d.npz?transform=weights:ResNet18_Weights.DEFAULT")
    preset = get_weight("ResNet18_Weights.DEFAULT").transforms()
    expected = np.stack([preset(Image.fromarray(one)).numpy() for one in x])
    np.testing.assert_allclose(everything(source), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("budget", [base.MEMORY_BUDGET, 0])
def test_a_function_gives_floats_as_they_are(
    folder: Path, code: Path, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MEMORY_BUDGET", budget)
    source = open_source(f"folder:{folder}?transform=file:{code}:floats")
    expected = truth(folder, lambda picture: to_tensor(picture.resize((6, 5))) * 2 - 1)
    np.testing.assert_array_equal(everything(source), expected)
    assert source.input_shape == (3, 5, 6)
    assert source.transform == {"mode": "RGB", "function": "file:prep.py:floats"}


def test_a_function_that_gives_bytes_is_scaled_like_pictures(folder: Path, code: Path) -> None:
    source = open_source(f"folder:{folder}?transform=file:{code}:pixels")
    expected = truth(folder, lambda picture: pil_to_tensor(picture.resize((6, 5))).float() / 255)
    np.testing.assert_allclose(everything(source), expected, rtol=0, atol=1e-7)
    assert source.transform["scale"] == "1/255"


def test_a_function_prepares_the_pictures_of_ones_own_dataset_and_of_arrays(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_for_transforms.py").write_text(
        "from torchvision.datasets import FakeData\ndef make():\n    return FakeData(4, (3, 8, 8), 2)\n"
        + CODE
    )
    monkeypatch.chdir(tmp_path)
    mine = "py:mine_for_transforms"
    source = open_source(f"{mine}:make?transform={mine}:floats")
    assert everything(source).shape == (4, 3, 5, 6)
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=np.array([0, 1, 0, 1]))
    source = open_source(f"npz:d.npz?transform={mine}:floats")
    expected = np.stack([to_tensor(Image.fromarray(one).resize((6, 5))) * 2 - 1 for one in x])
    np.testing.assert_array_equal(everything(source), expected)


def test_the_stored_spec_opens_the_same_inputs_from_another_folder(
    folder: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(code.parent)
    source = open_source("folder:images?transform=file:prep.py:floats")
    monkeypatch.chdir("/")
    again = open_source(source.spec)
    assert (again.spec, again.fingerprint) == (source.spec, source.fingerprint)
    np.testing.assert_array_equal(everything(again), everything(source))


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("noisy", "two reads of the first examples"),
        ("uneven", "one shape and type"),
        ("by_value", "one shape and type"),
        ("channels_last", r"\(C, H, W\).*found ndarray"),
        ("picture", r"\(C, H, W\).*found \w*Image"),
        ("words", r"\(C, H, W\).*found str"),
        ("infinite", "NaN or infinity"),
        ("broken", "SystemExit: 3"),
        ("absent", "'absent'"),
    ],
)
def test_a_function_that_does_something_else_is_refused(
    folder: Path, code: Path, function: str, complaint: str
) -> None:
    white = Image.fromarray(np.full((9, 9, 3), 255, dtype=np.uint8))
    white.save(folder / "dog" / "white.png")
    Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(folder / "cat" / "0.png")
    with pytest.raises(DatasetError, match=complaint):
        open_source(f"folder:{folder}?transform=file:{code}:{function}")


@pytest.mark.parametrize("function", ["noisy", "by_value"])
def test_a_function_of_pictures_in_an_array_is_held_to_the_same(
    tmp_path: Path, code: Path, function: str
) -> None:
    x = np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)])
    np.savez(tmp_path / "d.npz", x=x, y=np.array([0, 1]))
    with pytest.raises(DatasetError, match=r"two reads|one shape and type"):
        open_source(f"npz:{tmp_path}/d.npz?transform=file:{code}:{function}")


@pytest.mark.parametrize("other", ["size=3", "crop=3", "mean=0.5&std=0.5", "standardize=image", "mode=L"])
def test_a_transform_contradicts_the_options_that_say_the_same(folder: Path, other: str) -> None:
    with pytest.raises(UsageError, match=f"{other.partition('=')[0]}=.*would say"):
        open_source(f"folder:{folder}?transform=weights:ResNet18_Weights.DEFAULT&{other}")


@pytest.mark.parametrize(
    ("transform", "hint"),
    [
        ("", "in that way"),
        ("true", "in that way"),
        ("eval", "in that way"),
        ("py:a:b,py:a:c", "in that way"),
        ("py:a:b?size=3", "in that way"),
        ("weights:", "scheme:name"),
        ("weights:ResNet18", "ResNet18_Weights"),
        ("weights:ResNet18_Weights.IMAGENET", "ResNet18_Weights.IMAGENET1K_V1"),
        ("weights:ResNet18_Weights.__init__", "ResNet18_Weights"),
        ("weights:ResNet18_Weights.DEFAULT.url", "ResNet18_Weights.DEFAULT"),
        ("weights:FCN_ResNet50_Weights.DEFAULT", "py:pkg.mod:function"),
        ("weights:Raft_Large_Weights.DEFAULT", "py:pkg.mod:function"),
        ("timm:resnet1_8", "timm:resnet18"),
        ("py:nothing", "name of the factory"),
    ],
)
def test_a_transform_that_is_not_known_is_a_usage_error(folder: Path, transform: str, hint: str) -> None:
    if transform.startswith("timm:"):
        pytest.importorskip("timm")
    with pytest.raises(UsageError) as caught:
        open_source(f"folder:{folder}?transform={transform}")
    assert hint in f"{caught.value.hint}\n{caught.value.message}"


def test_a_transform_of_inputs_that_are_no_pictures_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3), np.float32), y=np.array([0, 1, 0, 1]))
    with pytest.raises(DatasetError, match="for uint8 images"):
        open_source(f"npz:{tmp_path}/d.npz?transform=weights:ResNet18_Weights.DEFAULT")


@pytest.mark.parametrize(
    "value", ["py:a:b", "file:x.py:f", " file:x.py:f", '"py:a:b"', "weights:x,py:a:b", "py:a:b,"]
)
def test_a_dataset_whose_transform_names_code_is_code(value: str) -> None:
    assert is_code(f"folder:images?size=3&transform={value}")
    assert not is_code("folder:images?transform=weights:ResNet18_Weights.DEFAULT")


def test_a_transform_named_by_a_strange_manifest_or_store_is_not_run(
    opsig: Opsig, folder: Path, tmp_path: Path
) -> None:
    marker, run, store = tmp_path / "marker", tmp_path / "run", tmp_path / "s.h5"
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n{CODE}")
    data = f"folder:{folder}?transform=file:{tmp_path}/evil.py:floats"
    assert opsig("train", run, "--model", "mlp?hidden=3", "--data", data, "--steps", 2).code == 0
    assert opsig("trace", run, "--store", store).code == 0  # this user's own manifest is trusted
    assert marker.exists()
    marker.unlink()
    os.environ["XDG_STATE_HOME"] = str(tmp_path / "somebody-else")
    for words in (
        ("trace", run, "--store", tmp_path / "t.h5"),
        ("trace", run, "--store", tmp_path / "t.h5", "--dry-run"),
        ("sharpness", "--store", store),
        ("mine", "--store", store),
    ):
        refused = opsig(*words)
        assert (refused.code, marker.exists()) == (3, False), words
        assert "names code to run" in refused.err
    assert opsig("trace", run, "--store", tmp_path / "t.h5", "--trust-manifest").code == 0


def test_a_model_of_pretrained_weights_is_traced_with_their_transform(
    opsig: Opsig, folder: Path, tmp_path: Path
) -> None:
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    model = squeezenet1_1(num_classes=2).eval()
    (tmp_path / "ckpts").mkdir()
    for step in (1, 2):
        torch.save(model.state_dict(), tmp_path / "ckpts" / f"step-{step}.pt")
    done = opsig(
        "trace", tmp_path / "ckpts", "--model", "torchvision:squeezenet1_1?num_classes=2",
        "--data", f"folder:{folder}?transform=weights:SqueezeNet1_1_Weights.DEFAULT",
        "--store", tmp_path / "s.h5", "--json",
    )  # fmt: skip
    dataset = ImageFolder(folder, transform=get_weight("SqueezeNet1_1_Weights.DEFAULT").transforms())
    images, labels = zip(*dataset, strict=True)
    with torch.inference_mode():
        loss = torch.nn.functional.cross_entropy(model(torch.stack(images)), torch.tensor(labels))
    assert done.json["result"]["mean_losses"] == pytest.approx([loss.item()] * 2, abs=1e-5)
