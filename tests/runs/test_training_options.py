"""Schedules, clipping, weight decay and changes of examples in ``opsig train``: exact, resumable, and said."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.torch import load_file

from opsigcli.datasets import open_source
from opsigcli.optimizers import OPTIMIZERS
from opsigcli.options import PRESETS
from opsigcli.runs.batch_changes import BatchChanges
from opsigcli.runs.build_objective import build_objective
from opsigcli.runs.gradients import clipped
from opsigcli.runs.trainer import Trainer

DATA, MODEL = "planted?n=200", "mlp?hidden=6"
WORDS = ("--data", DATA, "--model", MODEL, "--lr", 0.1)
EVERY = (
    ("--schedule", "cosine?steps=8&warmup=3"),
    ("--schedule", "onecycle?steps=8", "--optimizer", "adam?betas=0.8,0.9", "--batch-size", 64),
    ("--clip", 0.05, "--weight-decay", 0.1, "--optimizer", "momentum"),
    ("--augment", "flip,crop=2,mixup=0.4", "--batch-size", 32),
    ("--optimizer", "sam?rho=0.2", "--momentum", 0.5, "--schedule", "step?every=3"),
)


def objective(batch_size: int = 1000) -> Any:
    return build_objective(MODEL, open_source(DATA), "ce", device="cpu", batch_size=batch_size)


def manifest(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "opsig-run.toml").read_text())


def weights(folder: Path, step: int) -> torch.Tensor:
    return torch.cat([t.reshape(-1) for t in load_file(folder / f"step-{step:06d}.safetensors").values()])


@pytest.mark.parametrize("words", EVERY, ids=str)
def test_a_run_that_stopped_in_the_middle_goes_on_to_the_same_bits(
    opsig: Opsig, tmp_path: Path, words: tuple[Any, ...]
) -> None:
    assert opsig("train", tmp_path / "whole", *WORDS, *words, "--steps", 8).code == 0
    for steps in (5, 8):
        assert opsig("train", tmp_path / "parts", *WORDS, *words, "--steps", steps).code == 0
    for file in (path.name for path in (tmp_path / "whole").glob("*.safetensors")):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


def test_a_longer_run_under_a_schedule_of_another_length_is_refused(opsig: Opsig, tmp_path: Path) -> None:
    words = (*WORDS, "--schedule", "cosine")
    assert opsig("train", tmp_path, *words, "--steps", 3).code == 0
    found = opsig("train", tmp_path, *words, "--steps", 5)
    assert found.code == 2
    assert "cosine?steps=3" in found.err


def test_every_checkpoint_has_the_learning_rate_of_the_update_that_starts_from_it(
    opsig: Opsig, tmp_path: Path
) -> None:
    assert opsig("train", tmp_path, *WORDS, "--schedule", "step?every=2&factor=0.5", "--steps", 4).code == 0
    rates = [row["lr"] for row in manifest(tmp_path)["checkpoints"]]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
    told = build_objective(MODEL, open_source(DATA), "ce", device="cpu", batch_size=1000)
    for step, lr in enumerate(rates[:-1]):
        told.load(load_file(tmp_path / f"step-{step:06d}.safetensors"))
        _, gradient = told.mean_loss_and_gradient()
        by_name = dict(zip(told.parameter_names, gradient, strict=True))
        before, after = (load_file(tmp_path / f"step-{at:06d}.safetensors") for at in (step, step + 1))
        for name, g in by_name.items():
            torch.testing.assert_close(after[name], before[name] - lr * g)


def test_clipping_scales_the_whole_gradient_to_the_norm_and_leaves_shorter_ones() -> None:
    gradient = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    short = clipped(gradient, 2.5)
    torch.testing.assert_close(torch.cat([g.reshape(-1) for g in short]), torch.tensor([1.5, 0.0, 2.0]))
    assert all(a is b for a, b in zip(clipped(gradient, 5.0), gradient, strict=True))


@pytest.mark.parametrize("rule", ["sam", "ngd", "split", "signum"])
def test_a_full_batch_in_pieces_makes_the_step_of_the_whole(rule: str) -> None:
    found = []
    for size in (1000, 7):
        made = objective(size)
        hyper = {"lr": 0.1, "sign_lr": 0.0} if rule == "split" else {"lr": 0.1}
        trainer = Trainer(made, OPTIMIZERS.load(rule).build(made.parameters, hyper), None, 0)
        for _ in range(2):
            trainer.update()
        found.append(torch.cat([p.detach().reshape(-1) for p in made.parameters]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=0.02 if rule == "signum" else 1e-5)
    assert float((found[1] - found[0]).abs().mean()) < 1e-4


def test_changed_examples_in_pieces_make_the_step_of_the_whole_batch_written_out() -> None:
    source = open_source(DATA)
    changes = BatchChanges.of("flip,crop=2,mixup=0.4", source)
    assert changes is not None
    assert str(changes) == "flip,crop=2,mixup=0.4"
    found = []
    for size in (1000, 9):
        made = objective(size)
        trainer = Trainer(
            made, OPTIMIZERS.load("gd").build(made.parameters, {"lr": 0.1}), None, 3, changes=changes
        )
        found.append(trainer.update())
        parts = [p.grad.clone() for p in made.parameters]
        found.append(torch.cat([g.reshape(-1) for g in parts]))
    made = objective()
    drawn, n = changes.draw(200, 3, 0), 200
    inputs = source.read(np.arange(n))
    changed = np.zeros_like(inputs)
    for i in range(n):
        picture = inputs[i][:, :, ::-1].copy() if drawn.flips[i] else inputs[i]
        padded = np.pad(picture, ((0, 0), (2, 2), (2, 2)))
        down, right = drawn.offsets[i]
        changed[i] = padded[:, down : down + 10, right : right + 10]
    mixed = drawn.share * changed + (1 - drawn.share) * changed[drawn.partners]
    outputs = made.model(torch.as_tensor(mixed))
    labels = torch.as_tensor(source.labels)
    each = torch.nn.functional.cross_entropy
    loss = drawn.share * each(outputs, labels) + (1 - drawn.share) * each(outputs, labels[drawn.partners])
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, made.parameters)])
    for value, gradient in ((found[0], found[1]), (found[2], found[3])):
        assert value == pytest.approx(float(loss.detach()), rel=1e-5)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_what_is_drawn_depends_on_seed_and_step_alone() -> None:
    changes = BatchChanges(flip=True, crop=2, mixup=0.3)
    one, same, other = changes.draw(50, 1, 7), changes.draw(50, 1, 7), changes.draw(50, 1, 8)
    assert np.array_equal(one.offsets, same.offsets)
    assert one.share == same.share != other.share
    assert not np.array_equal(one.flips, other.flips)


@pytest.mark.parametrize("text", ["blur", "crop", "flip=2", "crop=1.5", "mixup=0", "crop=10", "flip,flip"])
def test_other_changes_are_refused_in_words(opsig: Opsig, tmp_path: Path, text: str) -> None:
    found = opsig("train", tmp_path / "run", *WORDS, "--augment", text, "--steps", 1)
    assert found.code == 2
    assert "--augment" in found.err


def test_pictures_alone_are_cropped_and_no_tokens_mixed(opsig: Opsig, tmp_path: Path) -> None:
    for data, text in (("planted?scenario=vec3&n=200", "crop=1"), ("babble?sentences=20", "mixup=0.2")):
        model, loss = ("gpt", "lm") if data.startswith("babble") else ("mlp", "ce")
        words = ("--data", data, "--model", model, "--loss", loss, "--steps", 1)
        assert opsig("train", tmp_path / "run", *words, "--augment", text).code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--optimizer", "sam?rho=0.1&rho=0.2"), "rho"),
        (("--optimizer", "adam?lr=0.1"), "lr"),
        (("--optimizer", "momentum?momentum=0.5", "--momentum", 0.9), "momentum"),
        (("--optimizer", "gd", "--momentum", 0.9), "momentum"),
        (("--optimizer", "ngd", "--weight-decay", 0.1), "weight_decay"),
        (("--optimizer", "adam?betas=0.9"), "betas"),
    ],
)
def test_a_hyper_parameter_that_is_not_the_rules_or_is_given_twice_is_refused(
    opsig: Opsig, tmp_path: Path, words: tuple[Any, ...], said: str
) -> None:
    found = opsig("train", tmp_path / "run", *WORDS, *words, "--steps", 1)
    assert found.code == 2
    assert said in found.err


def test_trace_says_what_training_did_that_no_traced_loss_has(opsig: Opsig, tmp_path: Path) -> None:
    words = (*WORDS, "--augment", "flip,mixup=0.2", "--clip", 0.5, "--steps", 2)
    assert opsig("train", tmp_path / "run", *words).code == 0
    facts = opsig("inspect", tmp_path / "run", "--json").out
    for name in ("augmentation", "mixup", "gradient clipping"):
        assert name in facts


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("--optimizer", "sam?rho=0.1"),
        ("--optimizer", "ngd"),
        ("--optimizer", "split"),
        ("--optimizer", "signum", "--weight-decay", 0.1),
        ("--clip", 0.1, "--weight-decay", 0.05),
        ("--optimizer", "adam", "--clip", 0.1, "--schedule", "cosine"),
    ],
    ids=str,
)
def test_the_step_check_and_virtual_steps_know_every_way_of_training(
    opsig: Opsig, tmp_path: Path, words: tuple[Any, ...]
) -> None:
    run, store = tmp_path / "run", tmp_path / "o.h5"
    assert opsig("train", run, *WORDS, *words, "--steps", 3).code == 0
    assert opsig("trace", run, "--store", store, "--virtual-step").code == 0
    points = opsig("sharpness", "--store", store, "--steps", "1:2", "--json").json["result"]["points"]
    assert points[0]["step_check"]["verdict"] == "confirmed"
    assert points[0]["step_check"]["relative_error"] < 1e-3
    assert (points[0]["ratio"] is None) == ("signum" in words)


@pytest.mark.slow
def test_a_clipped_gradient_raises_the_threshold_as_a_lower_learning_rate_would(
    opsig: Opsig, tmp_path: Path
) -> None:
    words = (*WORDS, "--clip", 0.1, "--weight-decay", 0.05, "--steps", 2)
    assert opsig("train", tmp_path / "run", *words).code == 0
    assert opsig("trace", tmp_path / "run", "--store", tmp_path / "o.h5").code == 0
    found = opsig("sharpness", "--store", tmp_path / "o.h5", "--steps", "1:2", "--json").json["result"]
    told = objective()
    told.load(load_file(tmp_path / "run" / "step-000001.safetensors"))
    _, gradient = told.mean_loss_and_gradient()
    norm = float(sum(g.square().sum() for g in gradient)) ** 0.5
    assert norm > 0.1
    point = found["points"][0]
    assert point["threshold"] == pytest.approx((2 / 0.1 - 0.05) * norm / 0.1, rel=1e-4)
    assert "clipped" in point["reason"]


def test_a_preset_sets_its_options_and_those_that_are_given_win(opsig: Opsig, tmp_path: Path) -> None:
    assert opsig("train", tmp_path / "axis", "--preset", "one-axis", "--steps", 3).code == 0
    found = manifest(tmp_path / "axis")["run"]
    assert (found["model"], found["hyper"]["lr"], found["steps"]) == ("one-axis", 1.25, 3)
    words = ("--preset", "paper-mlp", "--data", DATA, "--model", MODEL, "--lr", 0.3, "--steps", 2)
    assert opsig("train", tmp_path / "own", *words).code == 0
    found = manifest(tmp_path / "own")["run"]
    assert (found["model"], found["hyper"]["lr"]) == (MODEL, 0.3)  # also where it is the default
    assert opsig("train", tmp_path / "no", "--preset", "two-layer").code == 2


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_run(opsig: Opsig, tmp_path: Path, name: str) -> None:
    pictures = () if "data" in PRESETS[name] else ("--data", "noise?n=24&shape=3,16,16")
    assert opsig("train", tmp_path, "--preset", name, *pictures, "--steps", 1).code == 0
    run = manifest(tmp_path)["run"]
    for key, value in PRESETS[name].items():
        assert key == "steps" or str({**run, **run["hyper"]}[key]).startswith(str(value))
