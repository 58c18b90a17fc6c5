"""Runs that go on from a checkpoint of another one: the same bits where nothing differs, and what differs is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Opsig
from safetensors.torch import load_file

from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.cli.app import run as command
from opsigcli.datasets import open_source
from opsigcli.runs.build_objective import build_objective

DATA, MODEL = "planted?n=200", "mlp?hidden=5"
AT = "step-000004.safetensors"
RULES: tuple[tuple[Any, ...], ...] = (
    (),
    ("--batch-size", 50, "--optimizer", "adam?betas=0.8,0.9", "--lr", 0.01, "--schedule", "cosine?warmup=2"),
    ("--optimizer", "momentum", "--momentum", 0.7, "--weight-decay", 0.01, "--clip", 0.5),
    ("--optimizer", "sam?rho=0.1", "--momentum", 0.5, "--augment", "mixup=0.4", "--seed", 3),
    ("--optimizer", "signum", "--lr", 0.01, "--save-steps", "0:4:2,4:8"),
    ("--optimizer", "split", "--lr", 0.05),
    ("--optimizer", "rmsprop", "--lr", 0.01),
)


def train(folder: Path, *words: object) -> Path:
    given = ("train", folder, "--data", DATA, "--model", MODEL, "--steps", 8, "--quiet", *words)
    assert command([str(word) for word in given]) == 0
    return folder


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("parent") / "run")


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("heavy") / "run", "--optimizer", "momentum")


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensors[name].reshape(-1).double() for name in sorted(tensors)])


def weights(file: Path) -> torch.Tensor:
    return flat(load_file(file))


def gradient(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    objective = build_objective(MODEL, open_source(DATA), "ce", device="cpu", batch_size=1000)
    objective.load(tensors)
    return flat(dict(zip(objective.parameter_names, objective.mean_loss_and_gradient()[1], strict=True)))


def gradient_at(file: Path) -> torch.Tensor:
    return gradient(load_file(file))


@pytest.mark.parametrize("words", RULES, ids=str)
def test_a_fork_in_which_nothing_differs_has_the_bits_of_its_parent(
    opsig: Opsig, tmp_path: Path, words: tuple[Any, ...]
) -> None:
    before = train(tmp_path / "run", *words)
    assert opsig("train", tmp_path / "fork", "--from", before / AT).code == 0
    files = sorted(path.name for path in (tmp_path / "fork").glob("*.safetensors"))
    assert files == sorted(
        path.name for path in before.glob("*.safetensors") if path.name >= AT.partition(".")[0]
    )
    for file in files:
        assert (tmp_path / "fork" / file).read_bytes() == (before / file).read_bytes()
    found = read_manifest(tmp_path / "fork")
    assert found is not None
    assert (found.differs, found.forked_step) == ((), 4)


def test_only_what_is_given_differs_and_the_manifest_says_it(
    opsig: Opsig, tmp_path: Path, parent: Path
) -> None:
    assert opsig("train", tmp_path / "fork", "--from", parent / AT, "--lr", 0.9, "--steps", 6).code == 0
    step = weights(tmp_path / "fork/step-000005.safetensors") - weights(parent / AT)
    assert step == pytest.approx(-0.9 * gradient_at(parent / AT), abs=1e-6)
    manifest = read_manifest(tmp_path / "fork")
    assert manifest is not None
    assert manifest.differs == ("lr 0.3 -> 0.9",)
    assert manifest.forked_from == str(parent / AT)
    assert [row.lr for row in manifest.checkpoints] == [0.9, 0.9, 0.9]


def test_a_value_that_is_given_counts_also_where_it_is_the_default(
    opsig: Opsig, tmp_path: Path, heavy: Path
) -> None:
    before = train(tmp_path / "run", "--lr", 0.05, "--seed", 4)
    assert opsig("train", tmp_path / "fork", "--from", before / AT, "--lr", 0.3).code == 0
    manifest = read_manifest(tmp_path / "fork")
    assert manifest is not None
    assert (manifest.differs, manifest.seed) == (("lr 0.05 -> 0.3",), 4)


def test_a_fork_that_was_stopped_goes_on_to_the_same_bits_moved_or_not(
    opsig: Opsig, tmp_path: Path, heavy: Path
) -> None:
    words = ("--from", heavy / AT, "--lr", 0.1, "--perturb", "step?seed=2")
    assert opsig("train", tmp_path / "whole", *words).code == 0
    assert opsig("train", tmp_path / "parts", *words).code == 0
    for file in sorted((tmp_path / "parts").glob("step-*"))[2:]:  # as if killed before an update
        file.unlink()
    for steps in (6, 8):
        assert opsig("train", tmp_path / "parts", *words, "--steps", steps).code == 0
    for file in (tmp_path / "whole").glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "parts" / file.name).read_bytes()
    refused = opsig("train", tmp_path / "parts", "--from", heavy / AT, "--lr", 0.1)
    assert refused.code == 2
    assert "perturb" in refused.err


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("0.25", lambda g: 0.25),
        ("gradient", lambda g: float(g.norm())),
        ("step", lambda g: 0.01 * float(g.norm())),
    ],
)
def test_weights_move_by_the_length_that_is_said_in_a_direction_of_their_own(
    opsig: Opsig, tmp_path: Path, parent: Path, text: str, length: Any
) -> None:
    moves = []
    for seed in (0, 1):
        fork, words = tmp_path / f"fork{seed}", ("--steps", 5, "--lr", 0.01)
        assert (
            opsig("train", fork, "--from", parent / AT, *words, "--perturb", f"{text}?seed={seed}").code == 0
        )
        assert torch.equal(weights(fork / AT), weights(parent / AT))
        # θ₁ = θ₀ + m − η g(θ₀ + m), solved for m by going round.
        start, end = load_file(parent / AT), weights(fork / "step-000005.safetensors")
        moved = start
        for _ in range(12):
            rest, now = end + 0.01 * gradient(moved), {}
            for name in sorted(start):
                now[name] = rest[: start[name].numel()].reshape(start[name].shape).float()
                rest = rest[start[name].numel() :]
            moved = now
        move = flat(moved) - flat(start)
        moves.append(move)
        assert float(move.norm()) == pytest.approx(length(gradient_at(parent / AT)), rel=2e-3)
    cosine = float(moves[0] @ moves[1] / moves[0].norm() / moves[1].norm())
    assert abs(cosine) < 4 / np.sqrt(len(moves[0]))


def test_a_rule_with_memory_needs_its_state_or_begins_anew_when_told(
    opsig: Opsig, tmp_path: Path, heavy: Path
) -> None:
    lost = tmp_path / "lost"
    shutil.copytree(heavy, lost)
    (lost / "step-000004.optimizer.safetensors").unlink()
    for words in (("--from", lost / AT), ("--from", heavy / AT, "--optimizer", "adam", "--lr", 0.01)):
        refused = opsig("train", tmp_path / "fork", *words)
        assert refused.code == 3
        assert "--reset-state" in refused.err
        assert not (tmp_path / "fork" / AT).exists()
    assert opsig("train", tmp_path / "fork", "--from", lost / AT, "--reset-state").code == 0
    step = weights(tmp_path / "fork/step-000005.safetensors") - weights(heavy / AT)
    assert step == pytest.approx(-0.3 * gradient_at(heavy / AT), abs=1e-6)
    assert opsig("train", tmp_path / "plain", "--from", lost / AT, "--optimizer", "gd").code == 0
    assert opsig("train", tmp_path / "first", "--from", lost / "step-000000.safetensors").code == 0
    assert (tmp_path / "first" / AT).read_bytes() == (heavy / AT).read_bytes()


def test_examples_that_count_less_count_less_in_the_fork_too(opsig: Opsig, tmp_path: Path) -> None:
    for name, ids in (("one", "1\n2\n3\n"), ("two", "7\n")):
        (tmp_path / name).write_text(ids)
    before = train(tmp_path / "run", "--exclude", tmp_path / "one")
    for name, words in (("same", ()), ("more", ("--exclude", tmp_path / "two"))):
        assert opsig("train", tmp_path / name, "--from", before / AT, *words).code == 0
    last = "step-000008.safetensors"
    assert (tmp_path / "same" / last).read_bytes() == (before / last).read_bytes()
    manifest = read_manifest(tmp_path / "more")
    assert manifest is not None
    assert manifest.differs == ("examples that count less 3 -> 4",)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--from", "{run}"), 2, "step-000008.safetensors"),
        (("--from", "{run}/step-000099.safetensors"), 3, "nothing"),
        (("--from", "{run}/opsig-run.toml"), 3, "opsig train"),
        (("--from", "{run}/step-000004.safetensors", "--steps", 4), 2, "--steps"),
        (("--from", "{run}/step-000004.safetensors", "--perturb", "0"), 2, "--perturb"),
        (("--from", "{run}/step-000004.safetensors", "--perturb", "far"), 2, "--perturb"),
        (("--from", "{run}/step-000004.safetensors", "--model", "mlp?hidden=6"), 3, "hidden"),
        (("--perturb", "1"), 2, "--from"),
        (("--reset-state",), 2, "--from"),
    ],
)
def test_what_cannot_be_forked_is_refused_with_a_way_out(
    opsig: Opsig, tmp_path: Path, parent: Path, words: tuple[Any, ...], code: int, said: str
) -> None:
    found = opsig("train", tmp_path / "fork", *(str(word).format(run=parent) for word in words))
    assert found.code == code
    assert said in found.err
    assert "hint:" in found.err


def test_a_fork_into_the_folder_of_its_parent_would_lose_the_parent(
    opsig: Opsig, tmp_path: Path, parent: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(parent, folder)
    assert opsig("train", folder, "--from", folder / AT, "--fresh").code == 2
    assert (folder / AT).exists()


def test_weights_that_are_not_those_of_the_manifest_are_refused(
    opsig: Opsig, tmp_path: Path, parent: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(parent, folder)
    shutil.copy(folder / "step-000005.safetensors", folder / AT)
    assert opsig("train", tmp_path / "fork", "--from", folder / AT).code == 3


def test_code_that_a_strange_manifest_names_does_not_run(opsig: Opsig, tmp_path: Path, parent: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(parent, folder)
    manifest = folder / "opsig-run.toml"
    manifest.write_text(manifest.read_text().replace(f'model = "{MODEL}"', 'model = "py:os:getcwd"'))
    found = opsig("train", tmp_path / "fork", "--from", folder / AT)
    assert found.code == 3
    assert "--trust-manifest" in found.err
