"""Constants, size and interpolation that stand beside the weights, against data that are prepared otherwise."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from opsigcli.checkpoints.series import open_series
from opsigcli.datasets import open_source
from opsigcli.runs.preparation_beside import preparation_beside

CLIP = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
IMAGENET = "mean=0.485,0.456,0.406&std=0.229,0.224,0.225"


@pytest.fixture
def pictures(tmp_path: Path) -> list[Image.Image]:
    found = []
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 56, 3)).astype("u1")
        folder = tmp_path / "im" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        found.append(Image.fromarray(pixels))
        found[-1].save(folder / f"{number}.png")
    return [found[0], found[2], found[1], found[3]]  # by class


def saved(folder: Path, **more: Any) -> None:
    (folder / "run").mkdir()
    for step in (1, 2):
        torch.save({"state_dict": {"w": torch.zeros(2, step)}, **more}, folder / "run" / f"step_{step}.pt")


def said(folder: Path, options: str) -> tuple[str, np.ndarray | None]:
    """The warning for the data with some options, and the inputs of the spec that it gives."""
    source = open_source(f"folder:{folder / 'im'}?{options}")
    lines = preparation_beside(open_series(folder / "run"), source)
    if not lines:
        return "", None
    assert "--data" in lines[0], lines[0]
    advised = shlex.split(lines[0][lines[0].index("--data") :])[1]
    source = open_source(advised)
    assert not preparation_beside(open_series(folder / "run"), source)
    return lines[0], np.asarray(source.read(np.arange(len(source))))


def of_transformers(kind: str, pictures: list[Image.Image], folder: Path, **settings: Any) -> np.ndarray:
    transformers: Any = pytest.importorskip("transformers")
    processor = getattr(transformers, kind)(**settings)
    processor.save_pretrained(folder / "run")
    return np.asarray(processor(pictures, return_tensors="np")["pixel_values"])


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ViTImageProcessor", {"size": {"height": 24, "width": 24}, "image_mean": [0.4] * 3}),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 30}, "crop_size": {"height": 24, "width": 24}}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 28}}),
        (
            "ViTImageProcessor",
            {"size": {"height": 24, "width": 24}, "do_rescale": False, "do_normalize": False},
        ),
    ],
)
def test_the_spec_that_is_given_is_what_the_image_processor_does(
    tmp_path: Path, pictures: list[Image.Image], kind: str, settings: dict[str, Any]
) -> None:
    saved(tmp_path)
    wanted = of_transformers(kind, pictures, tmp_path, **settings)
    line, inputs = said(tmp_path, f"size=20&{IMAGENET}")
    assert "preprocessor_config.json" in line
    assert "20x20 pixels" in line
    assert inputs is not None
    scale = float(np.abs(wanted).max())
    assert np.abs(inputs - wanted).mean() < 0.01 * scale  # the library resizes tensors, and rounds to bytes


def test_the_spec_that_is_given_is_what_timm_does(tmp_path: Path, pictures: list[Image.Image]) -> None:
    timm: Any = pytest.importorskip("timm.data")
    saved(tmp_path)
    card = {"input_size": [3, 24, 24], "crop_pct": 0.9, "interpolation": "bicubic", **CLIP}
    (tmp_path / "run" / "config.json").write_text(json.dumps({"architecture": "n", "pretrained_cfg": card}))
    theirs = timm.create_transform(**timm.resolve_data_config(pretrained_cfg=card))
    line, inputs = said(tmp_path, f"size=24&{IMAGENET}")
    assert "bicubic" in line
    np.testing.assert_allclose(inputs, np.stack([theirs(one) for one in pictures]), atol=1e-5)


@pytest.mark.parametrize("nested", [False, True])
def test_constants_of_clip_are_told_from_those_of_imagenet(
    tmp_path: Path, pictures: list[Image.Image], nested: bool
) -> None:
    saved(tmp_path)
    card = {"preprocess_cfg": {**CLIP, "size": 24, "interpolation": "bicubic", "resize_mode": "shortest"}}
    name = "open_clip_config.json"
    if nested:
        name, card = "processor_config.json", {"image_processor": {f"image_{k}": v for k, v in CLIP.items()}}
    (tmp_path / "run" / name).write_text(json.dumps(card))
    line, inputs = said(tmp_path, f"size=24&{IMAGENET}")
    assert "mean 0.4815, 0.4578, 0.4082" in line
    assert inputs is not None
    pixels = open_source(
        f"folder:{tmp_path / 'im'}?size=24&interpolation={'bilinear' if nested else 'bicubic'}"
    )
    mean, std = (np.reshape(CLIP[name], (3, 1, 1)) for name in ("mean", "std"))
    np.testing.assert_allclose(inputs, (pixels.read(np.arange(4)) - mean) / std, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"val_resize_size": 30, "val_crop_size": 24, "interpolation": "bicubic"},
        {"weights": "ResNet18_Weights.IMAGENET1K_V1"},
        {"data_mean": [125.307, 122.961, 113.8575], "data_std": [51.5865, 50.847, 51.255]},
    ],
)
def test_what_a_program_kept_among_its_settings_counts_where_no_file_says_it(
    tmp_path: Path, pictures: list[Image.Image], settings: dict[str, Any]
) -> None:
    saved(tmp_path, args=argparse.Namespace(lr=0.1, **settings))
    line, _ = said(tmp_path, "size=24&mean=0.4&std=0.3")
    wanted = {"val_resize_size": "30, bicubic", "weights": "224x224", "data_mean": "mean 0.4914, 0.4822"}
    assert wanted[next(iter(settings))] in line
    assert "step_2.pt" in line


def test_what_is_like_it_or_says_nothing_is_not_warned_of(
    tmp_path: Path, pictures: list[Image.Image]
) -> None:
    saved(tmp_path, args=argparse.Namespace(std=0.02, mean="tokens", size=3))
    assert said(tmp_path, f"size=24&{IMAGENET}") == ("", None)
    for card in (
        {"size": {"longest_edge": 24}},
        {"image_mean": [0.5], "image_std": [0.0]},
        {"preprocess_cfg": {}},
        {"size": "large"},
    ):
        for name in ("preprocessor_config.json", "open_clip_config.json", "config.json"):
            (tmp_path / "run" / name).write_text(json.dumps(card))
        assert said(tmp_path, f"size=24&{IMAGENET}") == ("", None)
