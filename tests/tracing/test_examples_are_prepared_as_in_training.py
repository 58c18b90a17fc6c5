"""A part of the data, and data beside them, are prepared as those of training: by constants of all of these."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Opsig
from PIL import Image

from opsigcli.datasets import open_source
from opsigcli.gradients.ablation import open_test


def pictures(folder: Path, seed: int, light: int) -> Path:
    rng = np.random.default_rng(seed)
    for name in ("cat", "dog", "fox"):
        (folder / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(light, light + 20 * (i + 1), (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize("order", ["", "&channels=bgr"])
def test_examples_of_a_part_have_the_losses_that_they_have_among_all(
    opsig: Opsig, tmp_path: Path, order: str
) -> None:
    data = f"folder:{pictures(tmp_path / 'train', 0, 20)}?standardize=channel{order}"
    net = ("--model", "mlp?hidden=4", "--steps", 3, "--lr", 0.1)
    assert opsig("train", tmp_path / "run", "--data", data, *net).code == 0
    for name, some in (("all", ()), ("part", ("--examples", 6))):
        traced = opsig("trace", tmp_path / "run", "--store", tmp_path / f"{name}.h5", *some)
        assert traced.code == 0, traced.err
    with h5py.File(tmp_path / "all.h5") as every, h5py.File(tmp_path / "part.h5") as part:
        places = np.searchsorted(every["example_ids"][()], part["example_ids"][()])
        assert len(places) == 6
        np.testing.assert_allclose(part["losses"][()], every["losses"][()][:, places], atol=1e-6)


def test_data_beside_those_of_the_run_are_standardised_by_its_constants(tmp_path: Path) -> None:
    run = open_source(f"folder:{pictures(tmp_path / 'train', 0, 20)}?standardize=channel")
    held_out = f"folder:{pictures(tmp_path / 'test', 1, 90)}"
    test = open_test(f"{held_out}?standardize=channel", run)
    assert test.transform["mean"] == run.transform["mean"]
    bare = open_source(held_out).read(np.arange(18))
    mean, std = (np.array(run.transform[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    np.testing.assert_allclose(test.read(np.arange(18)), (bare - mean) / std, rtol=1e-4, atol=1e-5)
    assert open_test(f"{held_out}?standardize=image", run).transform["standardize"] == "image"
    assert open_test(f"{held_out}?mean=0.5&std=0.5", run).transform["mean"] == [0.5]


@pytest.mark.parametrize("kind", ["labels", "maps"])
def test_a_part_that_lacks_classes_without_names_has_the_model_of_all_the_data(
    opsig: Opsig, tmp_path: Path, kind: str
) -> None:
    """The outputs were counted among the part: the last layer of four classes did not fit one of three."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 4
    x, y = rng.normal(size=(24, 3)).astype("f4"), labels
    if kind == "maps":
        x, y = (
            rng.normal(size=(24, 1, 2, 2)).astype("f4"),
            np.sort(labels)[:, None, None].repeat(2, 1).repeat(2, 2),
        )
        (tmp_path / "net.py").write_text(
            "from torch import nn\n\ndef make(classes=4):\n    return nn.Conv2d(1, classes, 1)\n"
        )
    np.savez(tmp_path / "all.npz", x=x, y=y)
    data = f"npz:{tmp_path / 'all.npz'}"
    model = "mlp?hidden=4" if kind == "labels" else f"file:{tmp_path / 'net.py'}:make"
    net = ("--model", model, "--steps", 3, "--lr", 0.1)
    assert opsig("train", tmp_path / "run", "--data", data, *net).code == 0
    for name, some in (("all", ()), ("part", ("--examples", 3)), ("partial", ("--examples", 3, "--partial"))):
        traced = opsig("trace", tmp_path / "run", "--store", tmp_path / f"{name}.h5", *some)
        assert traced.code == 0, traced.err
        with h5py.File(tmp_path / "all.h5") as every, h5py.File(tmp_path / f"{name}.h5") as part:
            places = np.searchsorted(every["example_ids"][()], part["example_ids"][()])
            assert len(places) == (24 if name == "all" else 3)
            np.testing.assert_allclose(part["losses"][()], every["losses"][()][:, places], atol=1e-6)
    again = opsig("trace", tmp_path / "run", "--store", tmp_path / "part.h5", "--examples", 3, "--json").json
    assert {each["status"] for each in again["result"]["checkpoints"]} == {"kept"}
    assert again["inputs"]["run"]["data"] == f"{data}?limit=3&classes=4"


def test_weights_of_more_classes_than_occur_are_refused_with_the_option_that_says_how_many(
    opsig: Opsig, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "all.npz", x=rng.normal(size=(24, 3)).astype("f4"), y=np.arange(24) % 4)
    data = f"npz:{tmp_path / 'all.npz'}"
    net = ("--model", "mlp?hidden=5", "--steps", 3, "--lr", 0.1)
    assert opsig("train", tmp_path / "run", "--data", data, *net).code == 0
    words = ("trace", tmp_path / "run", "--store", tmp_path / "s.h5", "--data")
    refused = opsig(*words, f"{data}?limit=3")
    assert refused.code != 0
    said = " ".join(refused.err.split())
    assert "the last layer of the weights has 4 outputs, and by the labels" in said
    assert "there are 3 classes" in said
    assert "add classes=4 to --data" in said
    assert opsig(*words, f"{data}?limit=3&classes=4").code == 0
    few = opsig(*words, f"{data}?classes=3")
    assert (few.code, "expected classes= to be at least 4, as there is a label 3" in few.err) == (2, True)
