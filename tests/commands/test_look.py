"""``init`` and ``trace --dry-run`` look before they approve, and what they advise is right when it is followed."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path

import foreign_folders
import numpy as np
import pytest
import torch
from conftest import Opsig
from foreign_folders import EACH, WAYS

from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.derivatives import batch_sharpness
from opsigcli.look_records import Look, Score


def advised(err: str) -> str:
    """The data spec that a hint or a warning names."""
    words = shlex.split(err[err.index("give --data") :].splitlines()[0].split("; ")[0])
    return words[2]


def prepared(tmp_path: Path, way: str) -> list[object]:
    foreign_folders.train(tmp_path / "ckpts", WAYS[way][0])
    foreign_folders.write_pictures(tmp_path / "images")
    return ["init", tmp_path / "ckpts", "--model", f"file:{tmp_path / 'net.py'}:make", "--data"]


@pytest.mark.parametrize("way", WAYS)
def test_the_normalisation_of_training_is_named_and_is_right(opsig: Opsig, tmp_path: Path, way: str) -> None:
    words = prepared(tmp_path, way)
    refused = opsig(*words, f"folder:{tmp_path / 'images' / 'train'}")
    assert refused.code == 3, refused.err
    assert "BatchNorm's stored statistics are those of other inputs" in refused.err
    assert WAYS[way][1] in refused.err
    assert not (tmp_path / "ckpts" / "opsig-run.toml").exists()
    done = opsig(*words, advised(refused.err), "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["look"]["checkpoints"]["weights_00040.pth"]["right"] > 0.9


def test_stale_statistics_do_not_speak_for_another_normalisation(opsig: Opsig, tmp_path: Path) -> None:
    """BatchNorm's statistics lag behind the weights: with them the right inputs can do worse than wrong ones."""
    words = prepared(tmp_path, "ImageNet")
    file = tmp_path / "ckpts" / "weights_00040.pth"
    state = torch.load(file)
    state["1.running_mean"] += 0.5 * state["1.running_var"].sqrt()
    state["1.running_var"] *= 0.4
    torch.save(state, file)
    spec = f"folder:{tmp_path / 'images' / 'train'}?mean=0.485,0.456,0.406&std=0.229,0.224,0.225"
    done = opsig(*words, spec, "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["look"]["better"] is None
    assert done.json["result"]["look"]["checkpoints"]["weights_00040.pth"]["right"] > 0.9
    traced = opsig("trace", tmp_path / "ckpts", "--store", tmp_path / "s.h5", "--batch-norm", "stored")
    assert traced.code == 0
    assert "give --data" not in traced.err


def test_a_normalisation_with_fewer_right_answers_is_not_named(opsig: Opsig, tmp_path: Path) -> None:
    """Of a net that is hardly sure of anything, inputs that are spread farther have lower losses, right or not."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (200, 3, 4, 4)).astype(np.float32)
    labels = np.where(rng.uniform(size=200) < 0.8, x.mean((2, 3)).argmax(1), rng.integers(0, 3, 200))
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    (tmp_path / "ckpts").mkdir()
    for step, scale in ((1, 0.0), (2, 4.0)):
        torch.save({"3.weight": scale * torch.eye(3)}, tmp_path / "ckpts" / f"step_{step}.pt")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    head = nn.Linear(3, 3, bias=False)\n"
        "    return nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)\n"
    )
    model = f"file:{tmp_path / 'net.py'}:make"
    words = ("init", tmp_path / "ckpts", "--model", model, "--data", f"npz:{tmp_path / 'd.npz'}")
    seen = opsig(*words, "--json").json["result"]["look"]
    assert seen["better"] is None
    assert 0.75 < seen["checkpoints"]["step_2.pt"]["right"] < 0.9


def test_the_numbers_of_the_look_are_those_of_torch(opsig: Opsig, tmp_path: Path) -> None:
    words = prepared(tmp_path, "ImageNet")
    spec = f"folder:{tmp_path / 'images' / 'train'}?mean=0.485,0.456,0.406&std=0.229,0.224,0.225"
    seen = opsig(*words, spec, "--json").json["result"]["look"]
    x, y = foreign_folders.inputs(WAYS["ImageNet"][0]), torch.as_tensor(foreign_folders.pictures()[1])
    for file, score in seen["checkpoints"].items():
        net = (
            foreign_folders.make().double().train()
        )  # BatchNorm with the statistics of all examples, as in a trace
        net.load_state_dict(torch.load(tmp_path / "ckpts" / file))
        with torch.no_grad():
            outputs = net(x.double())
        assert score["right"] == pytest.approx(float((outputs.argmax(1) == y).double().mean()))
        assert score["mean_loss"] == pytest.approx(
            float(torch.nn.functional.cross_entropy(outputs, y)), rel=1e-4
        )
    assert seen["uniform"]["mean_loss"] == pytest.approx(math.log(3), rel=1e-6)
    assert seen["prior"]["mean_loss"] == pytest.approx(math.log(3), rel=1e-6)
    assert seen["prior"]["right"] == pytest.approx(1 / 3, rel=1e-6)
    assert seen["classes"] == {"blue": EACH, "dark": EACH, "red": EACH}


def test_a_sample_counts_classes_as_all_the_data_do(opsig: Opsig, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.sort(
        rng.choice(3, 2000, p=(0.8, 0.15, 0.05))
    )  # one class after the other, as folders have them
    x = np.eye(3, dtype=np.float32)[labels] + rng.normal(0, 0.5, (2000, 3)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    (tmp_path / "ckpts").mkdir()
    for step, scale in ((1, 0.0), (2, 3.0)):
        torch.save({"weight": scale * torch.eye(3)}, tmp_path / "ckpts" / f"step_{step}.pt")
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Linear(3, 3, bias=False)\n"
    )
    model = f"file:{tmp_path / 'net.py'}:make"
    words = ("init", tmp_path / "ckpts", "--model", model, "--data", f"npz:{tmp_path / 'd.npz'}")
    seen = opsig(*words, "--json").json["result"]["look"]
    share = np.bincount(labels) / 2000
    assert seen["examples"] == 200
    assert seen["prior"]["mean_loss"] == pytest.approx(-(share * np.log(share)).sum(), rel=1e-6)
    assert seen["prior"]["right"] == pytest.approx(share.max())
    right = float((x.argmax(1) == labels).mean())
    assert seen["checkpoints"]["step_2.pt"]["right"] == pytest.approx(right, abs=0.08)


def test_a_failed_run_is_said_to_be_one_and_gets_its_manifest(opsig: Opsig, tmp_path: Path) -> None:
    words = prepared(tmp_path, "bytes")
    torch.save(foreign_folders.make().state_dict(), tmp_path / "ckpts" / "weights_00060.pth")
    done = opsig(*words, f"folder:{tmp_path / 'images' / 'train'}")
    assert done.code == 0, done.err
    assert "no better than a guess" in done.err
    assert "or the run failed" in done.err


def test_the_parts_of_a_data_set_are_no_classes(opsig: Opsig, tmp_path: Path) -> None:
    words = prepared(tmp_path, "ImageNet")
    refused = opsig(*words, f"folder:{tmp_path / 'images'}?mean=0.485,0.456,0.406&std=0.229,0.224,0.225")
    assert refused.code == 3
    assert "test, train" in refused.err
    spec = refused.err.split("did you mean '")[1].split("'")[0]
    assert opsig(*words, spec).code == 0


def test_a_head_for_other_classes_is_refused(opsig: Opsig, tmp_path: Path) -> None:
    words = prepared(tmp_path, "ImageNet")
    images = f"folder:{tmp_path / 'images' / 'train'}?mean=0.485,0.456,0.406&std=0.229,0.224,0.225"
    for label in ("blue", "dark"):
        folder = tmp_path / "two" / label
        folder.parent.mkdir(exist_ok=True)
        folder.symlink_to(tmp_path / "images" / "train" / ("red" if label == "blue" else "dark"))
    refused = opsig(*words, images.replace("images/train", "two"))
    assert refused.code == 3
    assert "expected 3 classes" in refused.err
    assert "have 2 (blue, dark)" in refused.err
    built = ["init", tmp_path / "ckpts", "--model", f"file:{tmp_path / 'net.py'}:make?classes=2", "--data"]
    misfit = opsig(*built, images.replace("images/train", "two"))
    assert misfit.code == 3
    assert "has 3 outputs, and the data have 2 classes: blue, dark" in misfit.err


def test_a_dry_run_says_the_same(opsig: Opsig, tmp_path: Path) -> None:
    words = ["trace", *prepared(tmp_path, "half")[1:]]
    store = tmp_path / "s.h5"
    done = opsig(*words, f"folder:{tmp_path / 'images' / 'train'}", "--dry-run", "--store", store)
    assert done.code == 0
    assert "BatchNorm's stored statistics are those of other inputs" in done.err
    again = opsig(*words, advised(done.err), "--dry-run", "--store", store)
    assert "warning" not in again.err
    assert not store.exists()


def test_channels_are_turned_round_before_the_constants(tmp_path: Path) -> None:
    from opsigcli.datasets import open_source

    foreign_folders.write_pictures(tmp_path)
    plain = open_source(f"folder:{tmp_path / 'train'}")
    turned = open_source(f"folder:{tmp_path / 'train'}?channels=bgr&mean=0.1,0.2,0.3&std=0.5,0.5,0.25")
    rows = np.arange(len(plain))
    mean, std = (np.reshape(c, (3, 1, 1)) for c in ((0.1, 0.2, 0.3), (0.5, 0.5, 0.25)))
    np.testing.assert_allclose(
        turned.read(rows), (plain.read(rows)[:, ::-1] - mean) / std, rtol=1e-5, atol=1e-6
    )
    assert turned.transform["channels"] == "bgr"
    assert turned.fingerprint != plain.fingerprint
    np.testing.assert_array_equal(turned.image(0), plain.image(0))
    own = open_source(f"folder:{tmp_path / 'train'}?channels=bgr&standardize=channel").read(rows)
    np.testing.assert_allclose(own.mean((0, 2, 3)), 0, atol=1e-5)


OPTIMIZERS: dict[str, tuple[list[object], str, float]] = {
    "SGD": (["--lr", 0.1], "sgd", 2 / 0.1),
    "sgd": (["--lr", 0.1, "--momentum", 0.9], "momentum", 3.8 / 0.1),
    "torch.optim.SGD": (["--lr", 0.1, "--momentum", 0.5, "--weight-decay", 0.25], "momentum", 3 / 0.1 - 0.25),
    "nesterov": (["--lr", 0.1], "nesterov", (2 + 2 * 0.9) / (0.1 * (1 + 2 * 0.9))),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_said_of_the_optimizer_serves_every_command(
    opsig: Opsig, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_sharpness, "MOST", batch_sharpness.FEWEST)
    given, rule, threshold = OPTIMIZERS[name]
    words = prepared(tmp_path, "bytes")
    spec, store = f"folder:{tmp_path / 'images' / 'train'}?mean=0&std=0.00392157", tmp_path / "s.h5"
    done = opsig(*words, spec, "--optimizer", name, *given, "--batch-size", 30)
    assert done.code == 0, done.err
    manifest = read_manifest(tmp_path / "ckpts")
    assert manifest is not None
    assert (manifest.optimizer, manifest.batch_size, manifest.unit) == (rule, 30, "number")
    assert opsig("trace", tmp_path / "ckpts", "--store", store).code == 0
    measured = opsig("sharpness", "--store", store, "--json")
    assert measured.code == 0, measured.out
    point = measured.json["result"]["points"][0]
    assert point["threshold"] == pytest.approx(threshold)
    asked = opsig("sharpness", "--store", store, "--optimizer", name, *given, "--json").json["result"][
        "points"
    ][0]
    assert asked["threshold"] == pytest.approx(threshold)


def test_hyper_parameters_without_a_rule_are_refused(opsig: Opsig, tmp_path: Path) -> None:
    words = prepared(tmp_path, "bytes")
    spec = f"folder:{tmp_path / 'images' / 'train'}?mean=0&std=0.00392157"
    assert "expected --optimizer with --lr" in opsig(*words, spec, "--lr", 0.1).err
    assert "hyper-parameter of adamw" in opsig(*words, spec, "--optimizer", "AdamW", "--momentum", 0.9).err
    assert opsig(*words, spec, "--optimizer", "AdamV").code == 2


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (Score(1.39, 0.30), "no better than a guess"),
        (Score(1.37, 0.24), "no better than a guess"),
        (Score(1.37, 0.27), "hardly better than a guess"),
        (Score(0.90, 0.60), ""),
    ],
)
def test_one_that_is_a_little_better_than_a_guess_is_not_said_to_be_no_better(last: Score, said: str) -> None:
    guess = Score(1.386, 0.25)
    doubts = Look(400, 400, dict.fromkeys("abcd", 100), 4, guess, guess, {"a.pt": last}, ()).doubts
    assert [said in text for text in doubts] == [True] * bool(said)


def test_a_run_that_did_better_before_is_said_to_have_lost_it_and_not_to_be_of_other_data() -> None:
    guess, last = Score(1.386, 0.25), Score(1.386, 0.25)
    look = Look(400, 400, dict.fromkeys("abcd", 100), 4, guess, guess, {"a.pt": last}, ())
    assert "are not those of training" in look.doubts[0]
    assert not look.lost_words
    before = replace(look, lowest=0.4, lowest_at="step 12")
    assert before.doubts == ()
    assert before.warnings == (before.lost_words,)
    assert "the mean loss was 0.4 at step 12" in before.lost_words
    assert replace(look, lowest=1.35, lowest_at="step 12").doubts == look.doubts  # near a guess all the time
    fine = replace(before, checkpoints={"a.pt": Score(0.5, 0.9)})
    assert (fine.doubts, fine.lost_words) == ((), "")


def test_a_trace_keeps_where_its_mean_loss_was_smallest(opsig: Opsig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert opsig("train", run, "--model", "mlp?hidden=4", "--data", "planted?n=200", "--steps", 4).code == 0
    traced = opsig("trace", run, "--store", tmp_path / "s.h5", "--json").json["result"]
    row = int(np.argmin(traced["mean_losses"]))
    assert traced["look"]["lowest"] == traced["mean_losses"][row]
    assert traced["look"]["lowest_at"] == f"step {traced['steps'][row]}"
    report = opsig("report", tmp_path / "s.h5", "--json").json["result"]
    assert report["look"] == traced["look"]


def test_flat_outputs_are_not_said_to_have_one_cause() -> None:
    guess = Score(24.8, None)
    (doubt, *_) = Look(
        300, 300, {}, None, None, guess, {"a.pt": Score(24.7, None, 0.004)}, (), flat=0.001
    ).doubts
    assert "outputs hardly differ" in doubt
    assert "or a run that failed or hardly began" in doubt
