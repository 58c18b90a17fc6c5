"""A suite of revisions in the cache of the Hugging Face Hub is a series, as far as it is cached."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Opsig
from hub_repository import Repository
from safetensors.torch import save

from opsigcli.checkpoints.hub_cache import cache
from opsigcli.checkpoints.series import Series, open_series
from opsigcli.errors import CheckpointError, UsageError


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return Repository(tmp_path / "hub", "org/suite")


def weights(value: float, name: str = "w") -> bytes:
    return save({name: torch.full((3,), value)})


def whole(value: float) -> dict[str, bytes]:
    return {"config.json": b"{}", "model.safetensors": weights(value)}


def suite(options: str = "") -> Series:
    return open_series(Path(f"hub:org/suite{options}"))


def test_revisions_are_in_the_order_of_the_steps_in_their_refs(repository: Repository) -> None:
    for step in (143000, 0, 512, 64000):
        repository.commit(f"step{step}", whole(step))
    series = suite()
    assert (series.steps, series.unit) == ([0, 512, 64000, 143000], "step")
    assert [float(series.read(i)["w"][0]) for i in range(4)] == [0, 512, 64000, 143000]
    assert {c.step_source for c in series} == {"name"}
    assert series.checkpoints[1].header.notes[0] == "revision step512"


@pytest.mark.parametrize("order", ["auto", "name"])
def test_the_names_of_commits_say_nothing_of_the_order(repository: Repository, order: str) -> None:
    for step in range(20):
        repository.commit(f"step{step}-tokens{2 * step}B", whole(step))
    assert open_series(repository.folder, order=order).steps == list(range(20))


def test_what_is_no_cached_revision_of_the_suite_is_left_out_by_name(repository: Repository) -> None:
    for step in (1, 2):
        repository.commit(f"step{step}", whole(step))
    last = repository.commit("step3", whole(3))
    repository.refer("final", last.name)
    repository.commit("main", whole(4))
    repository.commit("refs/pr/1", whole(5))
    repository.commit("step4", {"config.json": b"{}"})
    repository.refer("step5", "f" * 40)
    repository.refer("step6", "../../elsewhere")
    index = {"weight_map": {"v": "model-00001-of-00002.safetensors", "w": "model-00002-of-00002.safetensors"}}
    part = {"model.safetensors.index.json": json.dumps(index).encode()}
    repository.commit("step7", part | {"model-00001-of-00002.safetensors": weights(7, "v")})
    alone = repository.commit(None, whole(8))
    series = suite()
    assert series.steps == [1, 2, 3]
    why = {item.file: item.reason for item in series.skipped}
    assert set(why) == {"final", "main", "refs/pr/1", "step4", "step5", "step6", "step7", alone.name}
    assert why["final"] == "the same revision as step3"
    assert why["main"] == why["refs/pr/1"] == "no step in its name"
    assert why["step5"] == why["step6"] == "nothing of it is cached"
    assert "no weights" in why["step4"]
    assert "model-00002-of-00002.safetensors" in why["step7"]
    assert why[alone.name] == "a snapshot that no ref names"
    assert any(note.endswith("and 3 more") for note in series.notes)


def test_sharded_weights_are_read_through_the_links_of_the_cache(repository: Repository) -> None:
    index = {"weight_map": {"v": "model-00001-of-00002.safetensors", "w": "model-00002-of-00002.safetensors"}}
    shards = {f"model-0000{i}-of-00002.safetensors": weights(i, n) for i, n in ((1, "v"), (2, "w"))}
    repository.commit("step1", {"model.safetensors.index.json": json.dumps(index).encode(), **shards})
    repository.commit("step2", whole(2))
    assert {name: float(t[0]) for name, t in suite().read(0).items()} == {"v": 1, "w": 2}


@pytest.mark.parametrize("of", ["model.safetensors", "config.json", "extra/deep.json", ""])
def test_a_revision_with_a_link_out_of_the_cache_is_left_out(
    repository: Repository, tmp_path: Path, of: str
) -> None:
    for step in (1, 2):
        repository.commit(f"step{step}", whole(step))
    bad = repository.commit("step3", {**whole(3), "extra/deep.json": b"{}"})
    if of:
        (tmp_path / "outside").write_bytes(weights(9))
        (bad / of).unlink()
        (bad / of).symlink_to(tmp_path / "outside")
    else:
        shutil.move(bad, tmp_path / "outside")
        bad.symlink_to(tmp_path / "outside")
    series = suite()
    assert series.steps == [1, 2]
    (left,) = series.skipped
    assert left.file == "step3"
    assert "link out of the cache" in left.reason


def test_a_shard_of_another_repository_is_no_part_of_a_snapshot(
    repository: Repository, tmp_path: Path
) -> None:
    other = Repository(tmp_path / "hub", "org/other")
    part = other.commit("main", {"model-00001-of-00001.safetensors": weights(1)})
    index = json.dumps({"weight_map": {"w": "model-00001-of-00001.safetensors"}}).encode()
    snapshot = repository.commit("main", {"model.safetensors.index.json": index})
    (snapshot / "model-00001-of-00001.safetensors").symlink_to(part / "model-00001-of-00001.safetensors")
    with pytest.raises(CheckpointError, match="incomplete"):
        open_series(snapshot)


def test_stages_of_a_training_are_several_series_and_one_is_chosen(repository: Repository) -> None:
    for step in (1000, 2000):
        repository.commit(f"stage1-step{step}-tokens{step // 250}B", whole(step))
        repository.commit(f"stage2-ingredient1-step{step + 500}-tokens3B", whole(step + 500))
    with pytest.raises(CheckpointError, match="several") as refused:
        suite()
    chosen = refused.value.hint.split("'")[1]
    assert open_series(Path(chosen)).steps == [1000, 2000]
    assert suite("?revisions=stage2-*").steps == [1500, 2500]
    assert suite("?revisions=stage1-step1000-*,stage1-step2000-*").steps == [1000, 2000]


def test_numbers_that_no_word_explains_are_no_steps(repository: Repository) -> None:
    for bits in (4, 8):
        repository.commit(f"gptq-{bits}bit", whole(bits))
    with pytest.raises(CheckpointError, match="expected step numbers"):
        suite()
    assert len(suite("?revisions=gptq-4bit")) == 1


def test_one_revision_alone_is_one_checkpoint(repository: Repository) -> None:
    repository.commit("main", whole(1))
    assert suite().steps == [0]


def test_a_revision_may_be_one_file_of_any_name(repository: Repository) -> None:
    for step in (5, 10):
        snapshot = repository.commit(f"step{step}", {"open_clip_model.safetensors": weights(step)})
    series = suite()
    assert series.steps == [5, 10]
    assert series.checkpoints[1].path == snapshot / "open_clip_model.safetensors"


def test_what_is_not_there_is_said_with_what_is(repository: Repository) -> None:
    repository.commit("main", {"config.json": b"{}"})
    for name, expected, hint in (
        ("org/siute", "found nothing of it", "did you mean hub:org/suite"),
        ("org/suite", "main .no weights of it are cached", "hf download org/suite --revision"),
        ("org/suite?revisions=step*", "expected refs like step", ""),
        ("../../etc", "expected hub:ORG/NAME", ""),
    ):
        with pytest.raises(CheckpointError, match=expected) as refused:
            open_series(Path(f"hub:{name}"))
        assert hint in refused.value.hint
    with pytest.raises(UsageError, match="option"):
        suite("?revision=main")


def test_the_cache_is_where_the_libraries_have_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    found = [cache()]
    for name, value in (
        ("XDG_CACHE_HOME", "/xdg"), ("HF_HOME", "~/hf"), ("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
        found.append(cache())
    assert [str(place) for place in found] == [
        *("/home/me/.cache/huggingface/hub", "/xdg/huggingface/hub", "/home/me/hf/hub", "/old", "/new")
    ]


def test_a_suite_is_traced_like_a_folder_of_the_same_weights(
    opsig: Opsig, finished: Path, tmp_path: Path, repository: Repository
) -> None:
    for step in (0, 60, 120):
        (file,) = (finished / "run").glob(f"*{step:04d}.safetensors")
        repository.commit(f"step{step}", {"model.safetensors": file.read_bytes()})
    store = tmp_path / "suite.h5"
    words = ("--data", "planted?n=400", "--model", "mlp?hidden=32,32", "--store", store)
    done = opsig("trace", "hub:org/suite", *words, "--json")
    assert done.code == 0, done.err
    with h5py.File(store) as found, h5py.File(finished / "opsig.h5") as truth:
        rows = [list(truth["steps"]).index(step) for step in found["steps"]]
        np.testing.assert_allclose(found["losses"][()], truth["losses"][()][rows], atol=1e-6)
    assert opsig("sharpness", "--store", store).code == 0
    inspected = opsig("inspect", "hub:org/suite")
    assert "revision step60" in inspected.out
    assert "opsig trace hub:org/suite" in inspected.err
    assert opsig("init", "hub:org/suite", *words[:4]).code == 0
    assert opsig("trace", "hub:org/suite", "--store", store).code == 0
