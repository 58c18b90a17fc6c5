"""The logs that training programs write are found beside the checkpoints and read, or named with the reason why not."""

from __future__ import annotations

import csv
import json
import shutil
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsigcli.checkpoints.logs import LOGS as KINDS_OF_LOGS
from opsigcli.checkpoints.logs import reader_of
from opsigcli.checkpoints.logs.broken import BrokenLog
from opsigcli.checkpoints.logs.columns import STEPS as STEPS_NAMED
from opsigcli.checkpoints.logs.columns import read_columns
from opsigcli.checkpoints.logs.event_file import masked_crc
from opsigcli.checkpoints.logs.loss_name import may_be_loss, training_loss
from opsigcli.checkpoints.logs.wandb_file import BLOCK, HEAD, config, history
from opsigcli.checkpoints.training_log import find_log

LOGS = (
    Path(__file__).parents[1] / "data" / "logs"
)  # written by torch 2.14, tensorboardX 2.6.5 and wandb 0.31.0
STEPS = list(range(0, 21, 5))


def trained(step: int) -> float:
    """The loss that the files of ``LOGS`` hold."""
    return 2.0 / (1 + step / 10)


def rows(path: Path) -> list[dict[str, object]]:
    reader = reader_of(path)
    assert reader is not None
    return [dict(row) for row in reader(path)]


def table(path: Path, *lines: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)


def test_every_kind_of_log_gives_the_step_and_the_loss_that_were_written(tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text(
        json.dumps({"log_history": [{"step": 4, "loss": trained(4)}]})
    )
    (tmp_path / "a.jsonl").write_text(json.dumps({"step": 4, "train": {"loss": trained(4)}}))
    table(tmp_path / "a.csv", ["step", "loss"], [4, trained(4)])
    for file in ("events.out.tfevents.torch", "run-qcc0oifm.wandb"):
        shutil.copy(LOGS / file, tmp_path)
    for pattern in KINDS_OF_LOGS:
        (path,) = tmp_path.glob(pattern)
        columns = read_columns([(path, "")]).losses
        points = columns[next(axis for axis in STEPS_NAMED if axis in columns)]
        column, _ = training_loss(points)
        assert points[column][4] == pytest.approx(trained(4))


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("events.out.tfevents.torch", "Loss/train"),
        ("events.out.tfevents.tensorboardX", "train/loss"),
        ("run-qcc0oifm.wandb", "train/loss"),
    ],
)
def test_what_tensorboard_and_wandb_wrote_is_read_number_by_number(
    tmp_path: Path, file: str, column: str
) -> None:
    place = tmp_path / ("wandb/offline-run-1-qcc0oifm" if file.endswith("wandb") else ".")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(LOGS / file, place)
    found, not_read = find_log(tmp_path, STEPS, "step")
    assert found is not None
    assert (found.path.name, found.column, not_read) == (file, column, ())
    want = [*range(0, 20, 2), *([20, 21] if file.endswith("torch") else [])]
    assert found.steps.tolist() == want
    np.testing.assert_allclose(found.losses, [trained(step) for step in want], rtol=1e-6)


def test_a_scalar_is_read_in_each_form_that_tensorboard_has_for_it() -> None:
    found = {(row["step"], *row.keys()): row for row in rows(LOGS / "events.out.tfevents.torch")}
    assert found[4.0, "step", "lr"]["lr"] == pytest.approx(0.1)  # a tensor
    assert found[21.0, "step", "Loss/train"]["Loss/train"] == trained(21)  # of float64
    assert {name for row in found.values() for name in row} == {"step", "Loss/train", "Loss/val", "lr"}


def test_the_configuration_of_a_wandb_run_is_read() -> None:
    found = config(LOGS / "run-qcc0oifm.wandb")
    assert found == {"label_smoothing": 0.1, "lr": 0.1, "aug": {"mixup": 0.2}}


def _wandb(records: list[bytes]) -> bytes:
    """A naive writer: one piece after another, split where a block ends."""
    out = bytearray(HEAD)
    for record in records:
        left, first = record, True
        while left or first:
            room = BLOCK - len(out) % BLOCK
            if room < 7:
                out += bytes(room)
                room = BLOCK
            piece, left = left[: room - 7], left[room - 7 :]
            kind = (1 if first else 4) if not left else (2 if first else 3)
            check = zlib.crc32(piece, zlib.crc32(bytes([kind])))
            out += struct.pack("<IHB", check, len(piece), kind) + piece
            first = False
    return bytes(out)


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _bytes(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 90_000), min_size=1, max_size=8))
def test_records_over_any_number_of_blocks_come_back(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("run") / "run-a.wandb"
    records = [
        _bytes(
            2, _bytes(1, _bytes(1, b"n") + _bytes(16, str(i).encode())) + _bytes(1, _bytes(1, b"x" * size))
        )
        for i, size in enumerate(sizes)
    ]
    path.write_bytes(_wandb(records))
    assert [row["n"] for row in history(path)] == list(range(len(sizes)))


def test_checks_of_records_are_those_of_the_format() -> None:
    # RFC 3720, B.4: CRC-32C of 32 bytes of zeros is 8A9136AA.
    crc = 0x8A9136AA
    assert masked_crc(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize("file", ["events.out.tfevents.torch", "run-qcc0oifm.wandb"])
def test_a_log_cut_off_anywhere_gives_what_came_before_and_damage_is_never_read(
    tmp_path: Path, file: str
) -> None:
    whole, path = (LOGS / file).read_bytes(), tmp_path / file
    true = rows(LOGS / file)
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(whole), 60).tolist():
        path.write_bytes(whole[:cut])
        found = []
        try:
            for row in reader_of(path)(path):  # type: ignore[misc]
                found.append(row)
        except BrokenLog:
            pass
        assert found == true[: len(found)]
    for place in rng.integers(0, len(whole), 200).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        found = []
        try:
            for row in reader_of(path)(path):  # type: ignore[misc]
                found.append(row)
        except BrokenLog:
            pass
        assert all(row in true for row in found)


@settings(max_examples=150, deadline=2000)
@given(
    st.binary(max_size=400),
    st.sampled_from(["e.tfevents.x", "run-a.wandb", "a.csv", "a.jsonl", "trainer_state.json"]),
)
def test_garbage_is_no_log(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    place = folder / "wandb" / "run-1" if name.endswith("wandb") else folder
    place.mkdir(parents=True, exist_ok=True)
    for head in (b"", HEAD):
        (place / name).write_bytes(head + content)
        began = time.process_time()
        assert find_log(folder, STEPS, "step")[0] is None
        assert time.process_time() - began < 5


def test_logs_are_found_where_frameworks_put_them(tmp_path: Path) -> None:
    events = LOGS / "events.out.tfevents.torch"
    for case, (checkpoints, log) in enumerate(
        [
            ("lightning_logs/version_0/checkpoints", "lightning_logs/version_0/events.out.tfevents.1.host.0"),
            ("output", "output/runs/Nov26_host/events.out.tfevents.1.host.0"),  # Hugging Face
            ("project/ckpts", "project/runs/Nov26_host/events.out.tfevents.1.host.0"),  # SummaryWriter()
            ("project/models", "project/logs/events.out.tfevents.1.host.0"),
        ]
    ):
        folder, path = tmp_path / str(case) / checkpoints, tmp_path / str(case) / log
        folder.mkdir(parents=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(events, path)
        found, _ = find_log(folder, STEPS, "step")
        assert found is not None
        assert found.path == path
    # Lightning with W&B: PROJECT/ID/checkpoints beside wandb.
    folder = tmp_path / "wb" / "project" / "qcc0oifm" / "checkpoints"
    folder.mkdir(parents=True)
    for run in ("qcc0oifm", "another1"):
        place = tmp_path / "wb" / "wandb" / f"offline-run-1-{run}"
        place.mkdir(parents=True)
        shutil.copy(LOGS / "run-qcc0oifm.wandb", place / f"run-{run}.wandb")
    found, _ = find_log(folder, STEPS, "step")
    assert found is not None
    assert found.path.name == "run-qcc0oifm.wandb"


def test_the_log_of_the_trainer_and_of_lightning_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for step, losses in ((9, [3.0]), (10, [3.0, 2.0])):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        history = [{"step": 5 * n, "loss": loss, "epoch": 0.1} for n, loss in enumerate(losses, 1)]
        extra = [
            {"step": 10, "eval_loss": 9.0},
            "odd",
            {"step": "x", "loss": 1},
            {"step": 10, "train_loss": 7.0},
        ]
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(
            json.dumps({"log_history": [*history, *extra]})
        )
    found, _ = find_log(folder, [9, 10], "step")
    assert found is not None
    assert (found.steps.tolist(), found.losses.tolist()) == ([5, 10], [3.0, 2.0])  # of the last checkpoint

    other = tmp_path / "version_0" / "checkpoints"
    other.mkdir(parents=True)
    table(
        other.parent / "metrics.csv",
        ["epoch", "step", "train_loss_epoch", "train_loss_step", "val_loss"],
        *([0, 1, "", 2.5, ""], [0, 3, "", 2.0, ""], [0, 3, 2.25, "", ""], [0, 3, "", "", 9.0]),
    )
    found, _ = find_log(other, [2, 4], "step")
    assert found is not None
    assert (found.column, found.steps.tolist(), found.losses.tolist()) == (
        "train_loss_step",
        [1, 3],
        [2.5, 2.0],
    )


def test_checkpoints_by_epoch_are_held_against_a_column_of_epochs(tmp_path: Path) -> None:
    table(tmp_path / "log.csv", ["epoch", "train_loss", "val_loss"], *([e, 2.0 / e, 9] for e in range(1, 6)))
    found, not_read = find_log(tmp_path, [1, 5], "epoch")
    assert found is not None
    assert (found.steps.tolist(), not_read) == ([1, 2, 3, 4, 5], ())
    found, not_read = find_log(tmp_path, [100, 500], "step")
    assert found is None
    assert "no step" in not_read[0]


def _columns(**columns: list[float]) -> dict[str, dict[int, float]]:
    return {name.replace("__", "/"): dict(enumerate(values)) for name, values in columns.items()}


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (_columns(loss=[2, 1], val_loss=[9, 9]), "loss"),
        (_columns(Loss__train=[2, 1], Loss__test=[9, 9]), "Loss/train"),
        (_columns(trainLoss=[2, 1], loss=[3, 3]), "trainLoss"),
        (_columns(train_loss_step=[3, 2, 1], train_loss_epoch=[2.5]), "train_loss_step"),
        (_columns(train_loss_epoch=[2.5, 2]), "train_loss_epoch"),
        (_columns(loss=[2, 1], train_loss=[1.5]), "loss"),  # the Trainer's mean over the whole run
        (_columns(train__loss=[2, 1], train__total_loss=[2, 1]), "train/loss"),
        (_columns(train__loss=[2, 1], train__total_loss=[3, 2]), ""),
        (_columns(train__loss_cls=[2, 1], train__loss_bbox=[3, 2]), ""),
        (_columns(loss_G=[2, 1], loss_D=[3, 2]), ""),
    ],
)
def test_the_training_loss_is_the_column_that_says_so_and_in_doubt_none(
    columns: dict[str, dict[int, float]], chosen: str
) -> None:
    found, reason = training_loss({name: points for name, points in columns.items() if may_be_loss(name)})
    assert (found, bool(reason)) == (chosen, not chosen)


def test_doubt_is_named_with_a_way_out(tmp_path: Path) -> None:
    table(tmp_path / "log.csv", ["step", "loss_cls", "loss_box"], *([s, 1 / (s + 1), 2] for s in range(20)))
    found, not_read = find_log(tmp_path, STEPS, "step")
    assert found is None
    assert "loss_cls, loss_box" in not_read[0]
    assert "write a CSV" in not_read[0]
    table(tmp_path / "train.csv", ["step", "train_loss"], *([s, 1 / (s + 1)] for s in range(20)))
    found, _ = find_log(tmp_path, STEPS, "step")
    assert found is not None
    assert found.path.name == "train.csv"


def test_of_two_runs_beside_the_checkpoints_none_is_guessed(tmp_path: Path) -> None:
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for run in ("one", "two"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        shutil.copy(LOGS / "events.out.tfevents.torch", tmp_path / "runs" / run)
    found, not_read = find_log(folder, STEPS, "step")
    assert found is None
    assert "none says which run" in not_read[0]
    named = tmp_path / "saved" / "two"  # as one of the runs is
    named.mkdir(parents=True)
    shutil.move(tmp_path / "runs", tmp_path / "saved" / "runs")
    found, _ = find_log(named, STEPS, "step")
    assert found is not None
    assert found.path.parent.name == "two"


def test_the_log_of_a_sibling_is_not_that_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "other").mkdir()
    shutil.copy(LOGS / "events.out.tfevents.torch", tmp_path / "other")
    assert find_log(tmp_path / "mine", STEPS, "step") == (None, ())


def test_steps_that_count_something_else_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "wandb" / "run-1-a").mkdir(parents=True)
    records = [
        _bytes(2, _bytes(1, _bytes(1, b"loss") + _bytes(16, b"1.5")) + _bytes(2, _varint(8) + _varint(step)))
        for step in range(20)
    ]
    (tmp_path / "wandb" / "run-1-a" / "run-a.wandb").write_bytes(_wandb(records))
    assert find_log(tmp_path, [10, 20], "step")[0] is not None
    found, not_read = find_log(tmp_path, [1000, 2000], "step")  # every hundredth step was logged
    assert found is None
    assert "may count other things" in not_read[0]


@pytest.mark.parametrize(
    "text", ["", "step,accuracy\n1,0.5\n", "\x00\xff", "step,loss\n1e400,nan\n", '{"a": [' * 9]
)
def test_a_table_of_other_things_is_passed_over_in_silence(tmp_path: Path, text: str) -> None:
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    assert find_log(tmp_path, STEPS, "step") == (None, ())


def test_a_log_without_a_loss_is_named(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(b"no event file")
    assert find_log(tmp_path, STEPS, "step") == (
        None,
        ("events.out.tfevents.1: it is cut off or damaged, or no event file",),
    )
