"""Several workers share a trace, and the result does not tell how many there were."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Opsig
from store_case import content_of

from opsigcli.datasets import open_source
from opsigcli.errors import UsageError
from opsigcli.objective import evaluate
from opsigcli.objective.evaluate import Evaluator
from opsigcli.runs.build_objective import build_objective
from opsigcli.tracing.sharding import Sharding, find_sharding

ROOT = str(Path(__file__).parents[2])
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven checkpoints."""
    from opsigcli.cli.app import run as call

    folder = tmp_path_factory.mktemp("workers") / "run"
    words = [
        "train",
        str(folder),
        "--data",
        "planted?n=300",
        "--model",
        "mlp?hidden=32",
        "--steps",
        "6",
        "-q",
    ]
    assert call(words) == 0
    return folder


def _losses(store: Path) -> np.ndarray:
    with h5py.File(store) as file:
        return np.asarray(file["losses"][()])


@pytest.mark.parametrize("count", [2, 3])
def test_workers_give_the_bits_of_a_single_process_and_the_last_one_merges(
    opsig: Opsig, run: Path, tmp_path: Path, count: int
) -> None:
    assert opsig("trace", run, "--store", tmp_path / "one.h5", "--virtual-step").code == 0
    store = tmp_path / "many.h5"
    for worker in (2, 1, *range(3, count + 1)):
        assert not store.exists()
        result = opsig(
            "trace", run, "--store", store, "--virtual-step", "--shard", f"{worker}/{count}", "--json"
        )
        assert result.code == 0
        assert result.json["result"]["worker"] == f"{worker}/{count}"
    assert result.json["result"]["units_waited_for"] == 0
    with h5py.File(store) as many, h5py.File(tmp_path / "one.h5") as one:
        for name in (
            "losses",
            "loss_deltas",
            "virtual_deltas",
            "virtual/interference",
            "virtual/up_ids",
            "steps",
        ):
            np.testing.assert_array_equal(many[name][()], one[name][()])
    kept = store.read_bytes()
    store.unlink()
    assert opsig("trace", run, "--store", store, "--virtual-step").code == 0
    assert store.read_bytes() == kept  # all of the file, and so the command that repeats it
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.slow
def test_torchrun_needs_no_options(opsig: Opsig, run: Path, tmp_path: Path) -> None:
    assert opsig("trace", run, "--store", tmp_path / "one.h5").code == 0
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    words += ["-m", "opsigcli", "trace", str(run), "--store", str(tmp_path / "many.h5")]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(_losses(tmp_path / "many.h5"), _losses(tmp_path / "one.h5"))


@pytest.mark.slow
def test_two_processes_at_once_share_the_work(opsig: Opsig, run: Path, tmp_path: Path) -> None:
    assert opsig("trace", run, "--store", tmp_path / "one.h5").code == 0
    store = tmp_path / "many.h5"
    words = [sys.executable, "-m", "opsigcli", "trace", str(run), "--store", str(store), "-q"]
    workers = [subprocess.Popen([*words, "--shard", f"{i}/2"], env=ENVIRONMENT) for i in (1, 2)]
    assert [worker.wait(180) for worker in workers] == [0, 0]
    np.testing.assert_array_equal(_losses(store), _losses(tmp_path / "one.h5"))


def test_units_of_a_lost_worker_are_picked_up_without_computing_the_others_again(
    opsig: Opsig, run: Path, tmp_path: Path
) -> None:
    store = tmp_path / "s.h5"
    first = opsig("trace", run, "--store", store, "--shard", "1/2", "--json").json["result"]
    assert (first["units_computed"], first["units_waited_for"]) == (3, 4)
    alone = opsig("trace", run, "--store", store, "--json").json["result"]
    assert alone["units_computed"] == 4
    assert alone["steps"] == list(range(7))


def test_a_checkpoint_that_one_worker_cannot_read_does_not_stop_the_merge(
    opsig: Opsig, run: Path, tmp_path: Path
) -> None:
    import shutil

    copy, store = Path(shutil.copytree(run, tmp_path / "run")), tmp_path / "s.h5"
    (copy / "step-000001.safetensors").unlink()
    shutil.copy(run / "step-000001.safetensors", copy / "step-000001.safetensors")
    from safetensors.torch import save_file

    save_file({"other": __import__("torch").zeros(2)}, copy / "step-000001.safetensors", {"step": "1"})
    codes = [opsig("trace", copy, "--store", store, "--shard", f"{i}/2").code for i in (1, 2)]
    assert codes == [4, 4]
    with h5py.File(store) as file:
        assert file["steps"][()].tolist() == [0, 2, 3, 4, 5, 6]


def test_one_worker_twice_is_refused(opsig: Opsig, run: Path, tmp_path: Path) -> None:
    from opsigcli.store.lock import locked

    with locked(tmp_path / "s.h5.1-of-2"):
        result = opsig("trace", run, "--store", tmp_path / "s.h5", "--shard", "1/2")
    assert result.code == 3
    assert "in use by another opsig process" in result.err


def test_workers_do_not_start_anew(opsig: Opsig, run: Path, tmp_path: Path) -> None:
    result = opsig("trace", run, "--store", tmp_path / "s.h5", "--shard", "1/2", "--fresh")
    assert result.code == 2
    assert "without --fresh" in result.err


def test_shares_cover_every_unit_once() -> None:
    for units in (0, 1, 7, 100):
        for count in (1, 2, 3, 8):
            shares = [unit for i in range(count) for unit in Sharding(i, count).units(units)]
            assert shares == list(range(units))


def test_launchers_are_recognised() -> None:
    assert find_sharding(None, {"RANK": "1", "WORLD_SIZE": "4"}) == Sharding(1, 4)
    array = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "10"}
    assert find_sharding(None, array) == Sharding(2, 3)
    assert find_sharding(None, {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}) == Sharding(0, 2)
    assert find_sharding(None, {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}) is None  # sbatch without srun
    assert find_sharding(None, {"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert find_sharding("2/3", {"RANK": "0", "WORLD_SIZE": "8"}) == Sharding(1, 3)
    for wrong in ("0/3", "4/3", "x", "1"):
        with pytest.raises(UsageError, match="i/n"):
            find_sharding(wrong, {})


def test_losses_do_not_depend_on_shards_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source("planted?n=500")
    objective = build_objective("cnn?norm=batch&widths=4,8", source, "ce", device="cpu", batch_size=50)
    whole = Evaluator(objective, batch_size=32, threads=1)
    whole.hold(np.arange(500))
    expected = whole.losses()
    monkeypatch.setattr(evaluate, "RESIDENT_BYTES", 200 * 300 * 4)
    pieces = Evaluator(objective, batch_size=32, threads=3)
    assert pieces.shard_size == 192
    found = []
    for start in range(0, 500, pieces.shard_size):
        pieces.hold(np.arange(start, min(start + pieces.shard_size, 500)))
        found.append(pieces.losses())
    np.testing.assert_array_equal(np.concatenate(found), expected)
    np.testing.assert_allclose(expected, objective.losses(), rtol=1e-5, atol=1e-6)


def test_stores_of_any_number_of_workers_have_one_content_but_for_the_command(
    opsig: Opsig, run: Path, tmp_path: Path
) -> None:
    for name, shards in (("a", (None,)), ("b", ("1/2", "2/2"))):
        (tmp_path / name).mkdir()
        for shard in shards:
            words = ("--shard", shard) if shard else ()
            assert opsig("trace", run, "--store", tmp_path / name / "s.h5", *words).code == 0
    for name in ("a", "b"):
        with h5py.File(tmp_path / name / "s.h5", "r+") as file:
            del file["provenance"]
    assert content_of(tmp_path / "a" / "s.h5") == content_of(tmp_path / "b" / "s.h5")
