"""Inputs that are watched along a run: answers are those of plain torch, kept in the store and carried on."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from opsigcli.store.reader import open_store

SKY = (135, 206, 235)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on small pictures, not traced."""
    from opsigcli.cli.app import run

    folder = tmp_path_factory.mktemp("probes")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "d.npz",
        x=rng.integers(0, 256, (30, 6, 6, 3), dtype=np.uint8),
        y=np.arange(30) % 3,
        classes=np.array(["cat", "dog", "frog"]),
    )
    model, data = "mlp?hidden=12&activation=tanh", f"npz:{folder / 'd.npz'}?mean=0.5&std=0.25"
    words = ["train", folder / "run", "--model", model, "--data", data, "--steps", 12, "--save-every", 2]
    assert run([*map(str, words), "--quiet"]) == 0
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path


def by_hand(folder: Path, pixels: np.ndarray) -> np.ndarray:
    """(T, C) softmax of the net's outputs for bytes (H, W, 3), normalised as the data are."""
    given = torch.tensor((pixels.astype(np.float32).transpose(2, 0, 1)[None] / 255 - 0.5) / 0.25)
    found = []
    for path in sorted((folder / "run").glob("step-??????.safetensors")):
        net = nn.Sequential(nn.Flatten(), nn.Linear(108, 12), nn.Tanh(), nn.Linear(12, 3))
        by_shape = {value.shape: value for value in load_file(path).values()}
        net.load_state_dict({name: by_shape[value.shape] for name, value in net.state_dict().items()})
        found.append(torch.softmax(net(given), 1)[0].detach().numpy())
    return np.array(found)


def test_answers_to_a_colour_and_a_picture_are_those_of_plain_torch(folder: Path, opsig: Opsig) -> None:
    drawn = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(drawn).save(folder / "p.png")
    store, run = folder / "s.h5", folder / "run"
    probes = ("--probe", "colour:skyblue", "--probe", f"image:{folder / 'p.png'}", "--probe", "example:4")
    done = opsig("trace", run, "--store", store, *probes, "--json")
    assert done.code == 0, done.err
    with open_store(store) as opened:
        sky, picture, example = opened.probes
    assert sky.probabilities == pytest.approx(by_hand(folder, np.full((6, 6, 3), SKY, np.uint8)), abs=1e-5)
    small = np.asarray(Image.fromarray(drawn).resize((6, 6), Image.Resampling.BILINEAR))
    assert picture.probabilities == pytest.approx(by_hand(folder, small), abs=1e-5)
    own = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 3), dtype=np.uint8)[4]
    assert example.probabilities == pytest.approx(by_hand(folder, own), abs=1e-5)
    assert example.probe.words == "example 4, dog"
    assert sky.picture is not None
    assert sky.picture.reshape(-1, 3).tolist() == [list(SKY)] * 36


def test_a_probe_on_a_traced_store_computes_no_loss_and_leaves_what_is_there(
    folder: Path, opsig: Opsig
) -> None:
    store, run = folder / "s.h5", folder / "run"
    opsig("trace", run, "--store", store, "--quiet")
    with h5py.File(store) as file:
        losses = file["losses"][()]
    for probe in ("colour:skyblue", "colour:red", "colour:skyblue"):
        done = opsig("trace", run, "--store", store, "--probe", probe, "--json")
        assert done.code == 0, done.err
        assert done.json["result"]["units_computed"] == 0
    with open_store(store) as opened:
        assert [traced.probe.spec for traced in opened.probes] == ["colour:skyblue", "colour:red"]
        assert np.array_equal(opened.losses[()], losses)
    assert not (folder / "s.h5.parts").exists()


def test_checkpoints_that_come_later_are_answered_without_asking_again_or_the_picture(
    folder: Path, opsig: Opsig
) -> None:
    Image.fromarray(np.full((6, 6, 3), SKY, np.uint8)).save(folder / "p.png")
    store, run = folder / "s.h5", folder / "run"
    late = [*sorted(run.glob("step-00001*"))]
    for path in late:
        path.rename(folder / path.name)
    opsig("trace", run, "--store", store, "--probe", f"image:{folder / 'p.png'}", "--quiet")
    (folder / "p.png").unlink()
    for path in late:
        (folder / path.name).rename(path)
    assert opsig("trace", run, "--store", store, "--quiet").code == 0
    with open_store(store) as opened:
        (traced,) = opened.probes
    assert traced.probabilities == pytest.approx(by_hand(folder, np.full((6, 6, 3), SKY, np.uint8)), abs=1e-5)


def test_an_interrupted_probe_goes_on_where_it_stopped(
    folder: Path, opsig: Opsig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opsigcli.tracing import probes

    store, run = folder / "s.h5", folder / "run"
    opsig("trace", run, "--store", store, "--quiet")
    real, asked = probes.probabilities, []

    def counted(*given: object) -> object:
        asked.append(1)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(probes, "probabilities", counted)
    stopped = opsig("trace", run, "--store", store, "--probe", "colour:skyblue")
    assert stopped.code == 130
    assert "the probes at 3 of 7 checkpoints" in stopped.err
    assert opsig("trace", run, "--store", store, "--probe", "colour:skyblue").code == 0
    assert len(asked) == 4 + 4
    with open_store(store) as opened:
        expected = by_hand(folder, np.full((6, 6, 3), SKY, np.uint8))
        assert opened.probes[0].probabilities == pytest.approx(expected, abs=1e-5)


def test_the_report_shows_what_the_probe_did_everywhere(folder: Path, opsig: Opsig) -> None:
    store = folder / "s.h5"
    opsig("trace", folder / "run", "--store", store, "--probe", "colour:skyblue", "--quiet")
    data = opsig("report", "--store", store, "--json").json["result"]["probes"]
    assert data[0]["classes"] == ["cat", "dog", "frog"]
    assert np.sum(data[0]["probabilities"], axis=1) == pytest.approx(np.ones(7), abs=1e-5)
    assert "the colour skyblue" in opsig("report", "--store", store, "--full").out
    page = folder / "r.html"
    assert opsig("report", "--store", store, "-o", page).code == 0
    assert "Answer to the colour skyblue" in page.read_text()


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ("colour:skyblu", "skyblue"),
        ("color:red", "colour"),
        ("skyblue", "expected --probe colour:NAME"),
        ("image:gone.png", "it is not there"),
        ("text:the cat", "expected data of text"),
        ("example:99", "expected --probe to name an example"),
        ("example:-1", "expected --probe to name an example"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_anything_is_computed(
    probe: str, said: str, folder: Path, opsig: Opsig
) -> None:
    done = opsig("trace", folder / "run", "--store", folder / "s.h5", "--probe", probe)
    assert done.code in (2, 3)
    assert said in done.err
    assert not (folder / "s.h5").exists()


def test_numbers_that_are_no_pictures_and_losses_without_classes_take_no_colour(
    tmp_path: Path, opsig: Opsig
) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "t.npz", x=rng.normal(size=(20, 4)).astype(np.float32), y=np.arange(20) % 2)
    np.savez(tmp_path / "p.npz", x=rng.random((20, 3, 4, 4)).astype(np.float32), y=np.arange(20) % 2)
    np.savez(tmp_path / "r.npz", x=rng.normal(size=(20, 4)).astype(np.float32), y=rng.normal(size=20))
    cases = (("t", "ce", "pictures"), ("p", "ce", "nothing says how"), ("r", "mse", "a loss of classes"))
    for name, loss, said in cases:
        words = (
            "--data",
            f"npz:{tmp_path / name}.npz",
            "--loss",
            loss,
            "--model",
            "mlp?hidden=4",
            "--steps",
            2,
        )
        assert opsig("train", tmp_path / name, *words, "--quiet").code == 0
        done = opsig("trace", tmp_path / name, "--store", tmp_path / f"{name}.h5", "--probe", "colour:red")
        assert done.code in (2, 3)
        assert said in done.err


def test_a_text_is_answered_by_what_follows_its_last_token(tmp_path: Path, opsig: Opsig) -> None:
    words = (
        "--data",
        "babble?sentences=40&context=8",
        "--loss",
        "lm",
        "--model",
        "gpt?width=8&layers=1&heads=1",
    )
    assert opsig("train", tmp_path / "run", *words, "--steps", 2, "--quiet").code == 0
    store = tmp_path / "s.h5"
    done = opsig("trace", tmp_path / "run", "--store", store, "--probe", "text:the cat")
    assert done.code == 0, done.err
    with open_store(store) as opened:
        (traced,) = opened.probes
        names = opened.run.classes
    assert traced.input.shape == (1, 2)
    assert [names[token] for token in traced.input[0]] == ["the", "cat"]
    assert traced.probabilities.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    long = opsig("trace", tmp_path / "run", "--store", store, "--probe", f"text:{'the cat ' * 9}")
    assert long.code == 3
    assert "expected 1 to 8 tokens" in long.err
