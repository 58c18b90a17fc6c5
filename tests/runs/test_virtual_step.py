"""Virtual steps: the next update from each checkpoint, without saving it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.torch import load_file

from opsigcli.datasets import open_source
from opsigcli.result_records import VIRTUAL
from opsigcli.runs.build_objective import build_objective
from opsigcli.store.reader import open_store

DATA, MODEL = "planted?n=200", "mlp?hidden=16"


@pytest.mark.parametrize(
    "words",
    [
        ("--optimizer", "gd", "--lr", 0.5),
        ("--optimizer", "adam", "--lr", 0.01),
        ("--optimizer", "momentum", "--lr", 0.1),
        ("--model", "cnn?norm=batch&widths=4,8", "--lr", 0.5),
    ],
)
def test_the_virtual_delta_of_a_dense_run_is_the_real_next_delta(
    opsig: Opsig, tmp_path: Path, words: tuple[object, ...]
) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    assert opsig("train", run, "--data", DATA, "--model", MODEL, "--steps", 6, *words).code == 0
    result = opsig("trace", run, "--store", store, "--virtual-step", "--json")
    assert result.code == 0
    assert not result.json["warnings"]
    with h5py.File(store) as file:
        virtual, real = file["virtual_deltas"][()], file["loss_deltas"][()]
    assert virtual.shape == (7, 200)
    assert np.abs(real).max() > 1e-3
    np.testing.assert_allclose(virtual[:-1], real, rtol=1e-4, atol=1e-5)


def test_the_virtual_batch_is_the_one_that_training_takes_next(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    words = ("--optimizer", "sgd", "--lr", 0.5, "--batch-size", 50, "--seed", 3)
    assert opsig("train", run, "--data", DATA, "--model", MODEL, "--steps", 6, *words).code == 0
    assert opsig("trace", run, "--store", store, "--virtual-batches", 1).code == 0
    with h5py.File(store) as file:
        np.testing.assert_allclose(file["virtual_deltas"][:-1], file["loss_deltas"][()], rtol=1e-4, atol=1e-5)


@pytest.fixture
def sparse(opsig: Opsig, tmp_path: Path) -> Path:
    """A run of which every third checkpoint was kept, without a manifest."""
    assert (
        opsig("train", tmp_path / "run", "--data", DATA, "--model", MODEL, "--steps", 9, "--lr", 0.5).code
        == 0
    )
    folder = tmp_path / "sparse"
    folder.mkdir()
    for step in (0, 3, 6, 9):
        shutil.copy(tmp_path / "run" / f"step-{step:06d}.safetensors", folder)
    return folder


def test_a_virtual_step_equals_a_float64_loop_over_examples(
    opsig: Opsig, sparse: Path, tmp_path: Path
) -> None:
    store = tmp_path / "s.h5"
    words = ("--model", MODEL, "--data", DATA, "--virtual-step", "--optimizer", "gd", "--lr", 0.5)
    assert opsig("trace", sparse, "--store", store, *words).code == 0
    source = open_source(DATA)
    model = build_objective(MODEL, source, "ce", device="cpu", batch_size=200).model.double()
    with h5py.File(store) as file:
        virtual, ids, up = (file[name][()] for name in ("virtual_deltas", "example_ids", "virtual/up_ids"))
        summary = {name: file[f"virtual/{name}"][()] for name in ("mean", "interference", "fraction_up")}
    inputs = torch.as_tensor(source.read(np.arange(200))).double()
    for row, step in enumerate((0, 3, 6, 9)):
        model.load_state_dict(load_file(sparse / f"step-{step:06d}.safetensors"))
        before, gradient = [], [torch.zeros_like(p) for p in model.parameters()]
        for x, y in zip(inputs, source.labels, strict=True):
            z = model(x[None])[0]
            loss = torch.logsumexp(z, 0) - z[int(y)]
            before.append(loss.item())
            parts = torch.autograd.grad(loss, list(model.parameters()))
            gradient = [total + g / 200 for total, g in zip(gradient, parts, strict=True)]
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradient, strict=True):
                p.sub_(0.5 * g)
            z = model(inputs)
            after = torch.logsumexp(z, 1) - z[torch.arange(200), torch.as_tensor(source.labels)]
        expected = after.numpy() - np.array(before)
        np.testing.assert_allclose(virtual[row], expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(summary["mean"][row], expected.mean(), rtol=1e-4, atol=1e-7)
        d = 1 - abs(expected.sum()) / np.abs(expected).sum()
        np.testing.assert_allclose(summary["interference"][row], d, atol=1e-4)
        np.testing.assert_allclose(summary["fraction_up"][row], (expected > 0).mean(), atol=0.011)
        assert list(up[row]) == list(ids[np.argsort(-virtual[row], kind="stable")][:20])


def test_a_virtual_step_without_an_optimizer_says_what_to_add(
    opsig: Opsig, sparse: Path, tmp_path: Path
) -> None:
    words = ("--model", MODEL, "--data", DATA, "--virtual-step", "--store", tmp_path / "s.h5")
    result = opsig("trace", sparse, *words)
    assert result.code == 2
    assert "--optimizer" in result.err
    result = opsig("trace", sparse, *words, "--optimizer", "adam", "--lr", 0.01)
    assert result.code == 0
    assert "without the state of adam" in result.err


def test_batches_of_unknown_size_are_refused_until_the_manifest_tells_it(
    opsig: Opsig, sparse: Path, tmp_path: Path
) -> None:
    words = ("--store", tmp_path / "s.h5", "--virtual-batches", 2, "--optimizer", "sgd", "--lr", 0.5)
    result = opsig("trace", sparse, "--model", MODEL, "--data", DATA, *words)
    assert result.code == 2
    assert "batch_size = N under [run]" in result.err
    assert opsig("init", sparse, "--model", MODEL, "--data", DATA).code == 0
    manifest = sparse / "opsig-run.toml"
    manifest.write_text(manifest.read_text().replace("[run]", "[run]\nbatch_size = 30"))
    assert opsig("trace", sparse, *words).code == 0
    with open_store(tmp_path / "s.h5") as store:
        assert store.provenance["trace"].options["virtual"]["batch_size"] == 60


@pytest.mark.parametrize("rule", ["momentum", "adam", "adamw"])
def test_state_and_learning_rate_in_checkpoints_of_other_programs_are_used(
    opsig: Opsig, tmp_path: Path, rule: str
) -> None:
    source = open_source(DATA)
    x, y = torch.as_tensor(source.read(np.arange(200))), torch.as_tensor(source.labels)
    model = build_objective(MODEL, source, "ce", device="cpu", batch_size=200).model
    made = {
        "momentum": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=0.02),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1),
    }[rule](model.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(made, 2, 0.5)
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for step in range(7):
        both = {"model": model.state_dict(), "optimizer": made.state_dict(), "global_step": step}
        torch.save(both, folder / f"step_{step}.pt")
        made.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        made.step()
        schedule.step()
    store = tmp_path / "s.h5"
    words = ("--model", MODEL, "--data", DATA, "--store", store, "--virtual-step", "--json")
    result = opsig("trace", folder, *words)
    assert result.code == 0, result.err
    assert result.json["warnings"] == []
    with h5py.File(store) as file:
        virtual, real = file["virtual_deltas"][()], file["loss_deltas"][()]
    assert np.abs(real).max() > 1e-3
    np.testing.assert_allclose(virtual[:-1], real, rtol=1e-3, atol=1e-5)


def test_a_state_of_other_parameters_is_not_used_and_the_warning_says_why(
    opsig: Opsig, tmp_path: Path
) -> None:
    source = open_source(DATA)
    model = build_objective(MODEL, source, "ce", device="cpu", batch_size=200).model
    other = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(other.parameters(), lr=0.01)
    other(torch.ones(1, 3)).sum().backward()
    adam.step()
    for step in (1, 2):
        saved = {"model": model.state_dict(), "optimizer": adam.state_dict(), "global_step": step}
        torch.save(saved, tmp_path / f"step_{step}.pt")
    words = ("--model", MODEL, "--data", DATA, "--store", tmp_path / "s.h5", "--virtual-step")
    result = opsig("trace", tmp_path, *words)
    assert result.code == 0
    assert "2 checkpoints come without the state of adam that can be used" in result.err
    assert "does not tell which of the model's 4" in result.err


def test_virtual_steps_of_several_optimizers_stand_side_by_side(
    opsig: Opsig, sparse: Path, tmp_path: Path
) -> None:
    words = ("--model", MODEL, "--data", DATA, "--store", tmp_path / "s.h5")
    rules = [("--optimizer", "gd", "--lr", lr) for lr in (0.5, 0.1)]
    alone = []
    for rule in rules:
        path = tmp_path / f"alone-{rule[-1]}.h5"
        assert opsig("trace", sparse, *words[:4], "--store", path, "--virtual-step", *rule).code == 0
        with h5py.File(path) as file:
            alone.append(file["virtual_deltas"][()])
    assert opsig("trace", sparse, *words).code == 0  # the losses first, and steps from them later
    computed = []
    for rule in (*rules, rules[0]):
        done = opsig("trace", sparse, *words, "--virtual-step", *rule, "--json")
        assert done.code == 0, done.err
        computed.append(done.json["result"]["units_computed"])
    assert computed == [len(alone[0]), len(alone[0]), 0]
    assert opsig("trace", sparse, *words, "--fresh").code == 0  # of the same run: nothing is lost
    with open_store(tmp_path / "s.h5") as store:
        named = store.places()[VIRTUAL]
        assert list(named) == [f"{VIRTUAL} --optimizer gd --lr {rule[-1]}" for rule in rules]
        for place, deltas in zip(named.values(), alone, strict=True):
            np.testing.assert_allclose(store.file[f"{place.at}virtual_deltas"][()], deltas, atol=1e-6)
            assert place.virtual is not None
            np.testing.assert_allclose(place.virtual.mean, deltas.mean(1, dtype=np.float64), atol=1e-6)
    shown = opsig("report", "--store", tmp_path / "s.h5", "--json").json["result"]
    other = opsig("report", "--store", tmp_path / "s.h5", "--json", "--result", list(named)[1]).json["result"]
    assert [r["name"] for r in shown["results"] if r["shown"]] == list(named)[:1]
    assert shown["virtual"]["mean"] == next(r for r in other["results"] if not r["shown"])["virtual"]["mean"]
    assert shown["virtual"]["mean"] != other["virtual"]["mean"]


def test_steps_that_were_not_taken_are_no_numbers_and_are_taken_when_asked_for(
    opsig: Opsig, sparse: Path, tmp_path: Path
) -> None:
    words = ("--model", MODEL, "--data", DATA, "--store", tmp_path / "s.h5")
    rule = ("--virtual-step", "--optimizer", "gd", "--lr", 0.5)
    files = sorted(sparse.iterdir())
    last = files[-1].read_bytes()
    files[-1].unlink()
    assert opsig("trace", sparse, *words, *rule).code == 0
    files[-1].write_bytes(last)
    done = opsig("trace", sparse, *words)  # goes on without virtual steps
    assert done.code == 0, done.err
    with open_store(tmp_path / "s.h5") as store:
        virtual = store.virtual
        assert virtual is not None
        assert virtual.rows == list(range(len(files) - 1))
        assert np.isnan(virtual.mean[-1])
        assert (virtual.up_ids[-1] == -1).all()
    gated = opsig("report", "--store", tmp_path / "s.h5", "--fail-on", "interference.max > 0")
    assert (
        f"virtual steps were taken from {len(files) - 1} of {len(files)} checkpoints" in gated.out + gated.err
    )
    page = tmp_path / "r.html"
    opsig("report", "--store", tmp_path / "s.h5", "--output", page)
    assert "From 1 checkpoint none was taken." in page.read_text()
    again = opsig("trace", sparse, *words, *rule, "--json")
    assert again.json["result"]["units_computed"] == 1
    with open_store(tmp_path / "s.h5") as store:
        assert store.virtual is not None
        assert store.virtual.rows == list(range(len(files)))
        assert np.isfinite(store.virtual.mean).all()


def test_virtual_steps_in_a_store_of_an_older_version_go_on_under_their_name(
    opsig: Opsig, sparse: Path, tmp_path: Path
) -> None:
    words = (
        "--model",
        MODEL,
        "--data",
        DATA,
        "--store",
        tmp_path / "s.h5",
        "--virtual-step",
        "--optimizer",
        "gd",
    )
    assert opsig("trace", sparse, *words, "--lr", 0.5).code == 0
    with h5py.File(tmp_path / "s.h5", "r+") as file:  # as those were written
        del file["virtual/taken"], file[f"provenance/{VIRTUAL}"]
    again = opsig("trace", sparse, *words, "--lr", 0.5, "--json")
    assert again.json["result"]["units_computed"] == 0
    assert opsig("trace", sparse, *words, "--lr", 0.1).code == 0
    with open_store(tmp_path / "s.h5") as store:
        assert list(store.places()[VIRTUAL]) == [f"{VIRTUAL} --optimizer gd --lr {lr}" for lr in (0.1, 0.5)]


def test_a_manifest_that_changed_does_not_mix_steps_of_two_optimizers(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "s.h5"
    opsig("train", run, "--data", DATA, "--model", MODEL, "--steps", 3, "--lr", 0.5)
    assert opsig("trace", run, "--store", store, "--virtual-step").code == 0
    manifest = run / "opsig-run.toml"
    manifest.write_text(re.sub(r"(?m)^(lr = )0\.5", r"\g<1>0.25", manifest.read_text()))
    refused = opsig("trace", run, "--store", store, "--virtual-step", "--trust-manifest")
    assert refused.code == 3
    assert "were taken by another optimizer" in refused.err


def test_mine_and_the_reports_show_virtual_steps(opsig: Opsig, sparse: Path, tmp_path: Path) -> None:
    store, page = tmp_path / "s.h5", tmp_path / "r.html"
    words = ("--model", MODEL, "--data", DATA, "--store", store, "--virtual-step")
    shown = opsig("trace", sparse, *words, "--optimizer", "gd", "--lr", 0.5).out
    assert "interference D" in shown
    assert f"each checkpoint ({VIRTUAL} --optimizer gd --lr 0.5)" in " ".join(shown.split())
    with h5py.File(store) as file:
        labels = dict(zip(file["example_ids"][()].tolist(), file["labels"][()].tolist(), strict=True))
        first, delta = int(file["virtual/up_ids"][0, 0]), float(file["virtual/up_deltas"][0, 0])
        interference = file["virtual/interference"][()]
    named = f"{first} {open_source(DATA).classes[labels[first]]}"
    mined = opsig("mine", "--store", store, "--candidates", 40)
    assert "Virtual steps" in mined.out
    assert named in " ".join(mined.out.split())
    full = " ".join(opsig("report", "--full", "--store", store).out.split())
    assert f"Virtual steps: one optimizer step from each checkpoint ({VIRTUAL} --optimizer gd" in full
    told = opsig("report", "--store", store, "--html", "-o", page, "--json").json
    told = told["result"]["virtual"]
    np.testing.assert_allclose(told["interference"], interference, rtol=1e-6)
    html = page.read_text()
    assert '<section id="virtual">' in html
    assert f"{named} +{delta:.3g}"[: len(named) + 5] in html
