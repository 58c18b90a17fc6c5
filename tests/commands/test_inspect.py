"""``opsig inspect``: headers alone, a row per checkpoint, and what is left out and why."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import h5py
import pytest
import torch
from conftest import Opsig
from torch import nn

from opsigcli.checkpoints.writer import save_weights


def test_a_row_says_what_the_file_says(opsig: Opsig, tmp_path: Path) -> None:
    model = nn.Linear(3, 2).to(torch.bfloat16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.25)
    for step in (10, 20):
        content = {
            "model": model.state_dict(), "ema": model.state_dict(), "optimizer": optimizer.state_dict(),
            "step": step, "epoch": 1, "args": Namespace(lr=1),
        }  # fmt: skip
        torch.save(content, tmp_path / f"ckpt_{step}.pt")
    save_weights(tmp_path / "optimizer.safetensors", {"x": torch.ones(1)}, {})
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken_30.pt").write_bytes(b"")
    done = opsig("inspect", tmp_path, "--json")
    assert done.code == 4
    result = done.json["result"]
    assert result["unit"] == "step"
    row = dict(result["checkpoints"][0])
    size = row.pop("bytes")
    assert size == (tmp_path / "ckpt_10.pt").stat().st_size
    assert row == {
        "file": "ckpt_10.pt", "format": "torch", "step": 10, "step_source": "content", "epoch": 1, "lr": 0.25,
        "optimizer": "adam", "dtype": "bfloat16", "parameters": 8,
        "weights": {
            "model": {"tensors": 2, "parameters": 8, "average": False},
            "ema": {"tensors": 2, "parameters": 8, "average": True},
        },
        "notes": ["holds objects that are not opened: argparse.Namespace"],
    }  # fmt: skip
    assert {item["file"] for item in result["failed"]} == {"broken_30.pt"}
    assert {item["file"]: item["reason"] for item in result["skipped"]}["notes.txt"].startswith(
        "no checkpoint"
    )
    shown = opsig("inspect", tmp_path)
    for word in (
        "ckpt_10.pt",
        "content",
        "0.25",
        "adam",
        "bfloat16",
        "a moving average",
        "argparse.Namespace",
    ):
        assert word in shown.out
    assert "the trained weights are read" in shown.err


def test_several_unlike_sets_of_weights_ask_for_a_key(opsig: Opsig, tmp_path: Path) -> None:
    for step in (1, 2):
        torch.save(
            {"generator": {"w": torch.ones(1)}, "critic": {"w": torch.ones(1)}}, tmp_path / f"step_{step}.pt"
        )
    done = opsig("inspect", tmp_path)
    assert done.code == 0
    assert "--key generator" in done.err


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes read as Linux reports them")
def test_each_of_several_optimizers_is_named_with_its_rate(opsig: Opsig, tmp_path: Path) -> None:
    nets = {name: torch.nn.Linear(2, 2) for name in ("generator", "discriminator")}
    rules = (
        torch.optim.Adam(nets["generator"].parameters(), 1e-3),
        torch.optim.SGD(nets["discriminator"].parameters(), 0.05, momentum=0.9),
    )
    for step in (1, 2):
        states = {f"opt_{i}": rule.state_dict() for i, rule in enumerate(rules)}
        torch.save(
            {name: net.state_dict() for name, net in nets.items()} | states, tmp_path / f"step_{step}.pt"
        )
    (said,) = (w for w in opsig("inspect", tmp_path, "--json").json["warnings"] if "optimizer" in w)
    assert "2 optimizers (adam with lr 0.001, momentum with lr 0.05)" in said


def test_the_size_of_tensors_does_not_matter(opsig: Opsig, tmp_path: Path) -> None:
    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    folder = tmp_path / "ckpts"
    folder.mkdir()
    big = torch.zeros(4 << 20)
    for step in range(6):
        big[0] = step
        torch.save({"model": {"w": big}, "args": Namespace()}, folder / f"step_{step}.pt")
        save_weights(folder / f"step_{step + 10}.safetensors", {"w": big}, {})
    opsig("inspect", folder)
    before = bytes_read()
    assert opsig("inspect", folder, "--json").code == 0
    assert bytes_read() - before < (16 << 20)  # of 200 MB


def test_every_checkpoint_has_one_line_that_fits_the_terminal(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for step in range(60):
        save_weights(tmp_path / f"step-{step:06}.safetensors", {"w": torch.full((2,), float(step))}, {})
    lines = opsig("inspect", tmp_path).out.splitlines()
    assert lines[0].startswith("60 checkpoints in")
    assert "all: safetensors, float32, 2 parameters, step from name" in lines
    rows = [line.split() for line in lines if line.startswith("step-")]
    assert rows == [[f"step-{step:06}.safetensors", str(step)] for step in range(60)]
    assert len(lines) < 70


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_long_name_keeps_its_end_and_differing_columns_stay(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for step in (1, 2):
        weights = {"w": torch.zeros(step, dtype=torch.float16 if step == 1 else torch.float32)}
        torch.save(
            {"model": weights, "step": step}, tmp_path / f"a-run-with-{'a-long-' * 9}[red]name_{step:03}.pt"
        )
    lines = opsig("inspect", tmp_path).out.splitlines()
    rows = [line for line in lines if line.startswith("…")]
    assert [row.split()[0].endswith(f"name_{n:03}.pt") for n, row in enumerate(rows, start=1)] == [True, True]
    assert all(len(row) <= width for row in rows)
    assert width < 60 or ["float16" in row for row in rows] == [True, False]


def test_mixed_units_are_shown_with_what_stands_in_the_way(opsig: Opsig, tmp_path: Path) -> None:
    for name in ("step_10", "step_20", "epoch_2"):
        torch.save({"w": torch.full((2,), float(len(name)))}, tmp_path / f"{name}.pt")
    done = opsig("inspect", tmp_path, "--json")
    assert done.code == 0
    assert "expected one kind of number" in done.json["warnings"][0]
    assert len(done.json["result"]["checkpoints"]) == 3
    shown = opsig("inspect", tmp_path)
    assert "all: torch, float32, 2 parameters" in shown.out.splitlines()
    assert "opsig trace" not in shown.err  # as it stands, trace would refuse
    assert f"opsig trace {tmp_path} --order name" in opsig("inspect", tmp_path, "--order", "name").err


def test_what_is_left_out_is_said_once(opsig: Opsig, tmp_path: Path) -> None:
    for step in (1, 2):
        torch.save({"w": torch.full((2,), float(step))}, tmp_path / f"step_{step}.pt")
    (tmp_path / "last.pt").hardlink_to(tmp_path / "step_2.pt")
    shown = opsig("inspect", tmp_path)
    assert (shown.out + shown.err).count("the same file as step_2.pt") == 1


def test_gaps_are_reported(opsig: Opsig, tmp_path: Path) -> None:
    for step in (0, 10, 20, 30, 60, 70):
        torch.save({"w": torch.full((2,), float(step))}, tmp_path / f"step_{step}.pt")
    assert opsig("inspect", tmp_path, "--json").json["result"]["gaps"] == [
        {"after": 30, "before": 60, "usual": 10}
    ]


def test_inspecting_imports_no_torch(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}, "args": Namespace()}, tmp_path / "step_1.pt")
    code = (
        "import sys; from opsigcli.cli.app import run; code = run(['inspect', sys.argv[1]]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "step_1.pt" in done.stdout


def test_a_store_says_of_which_run_it_is_and_that_it_covers_a_subset(opsig: Opsig, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "opsig.h5"
    words = ("--data", "babble?sentences=60&context=16", "--model", "gpt?width=16&layers=1&heads=2")
    assert opsig("train", run, *words, "--loss", "lm", "--steps", 2).code == 0
    assert opsig("trace", run, "--store", store, "--tokens", "--examples", 50).code == 0
    done = opsig("inspect", store, "--json")
    assert done.code == 0
    result = done.json["result"]
    assert result["subset"].startswith("50 of ")
    assert (result["examples"], result["steps"], result["commands"]) == (50, [0, 1, 2], ["trace"])
    shown = opsig("inspect", store)
    assert f"a subset, {result['subset']}" in shown.out
    assert str(run) in "".join(line.strip() for line in shown.out.splitlines()).replace(" ", "")
    assert opsig("trace", run, "--store", store, "--fresh").code == 0
    assert "subset" not in opsig("inspect", store).out
    assert opsig("inspect", store, "--json").json["result"]["subset"] is None
    store.write_bytes(store.read_bytes()[:3000])
    done = opsig("inspect", store)
    assert done.code == 3
    assert "is damaged" in done.err


def test_hdf5_that_is_no_store_is_no_checkpoint(opsig: Opsig, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["format"] = "another"
    done = opsig("inspect", tmp_path / "x.h5")
    assert done.code == 3
    assert "x.h5 (no checkpoint format that opsig reads)" in " ".join(done.err.split())
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file.attrs["keras_version"] = "3"
    done = opsig("inspect", tmp_path / "x.h5")
    assert done.code == 3
    assert "Keras" in done.err


def test_weights_that_are_asked_for_and_not_there_are_not_approved(opsig: Opsig, tmp_path: Path) -> None:
    """What a trace would refuse was listed, with the trace to run next."""
    for step, key in ((0, "net"), (1, "other"), (2, "net")):
        torch.save({key: {"a.weight": torch.zeros(2, 2)}, "step": step}, tmp_path / f"step_{step}.pt")
    done = opsig("inspect", tmp_path, "--key", "foo")
    assert (done.code, "under the key 'foo'" in done.err) == (3, True)
    some = opsig("inspect", tmp_path, "--key", "net", "--json")
    assert some.code == 0
    (warning,) = (text for text in some.json["warnings"] if "under the key 'net'" in text)
    assert warning.startswith("step_1.pt")
    assert opsig("inspect", tmp_path, "--weights", "ema").code == 3
    assert opsig("inspect", tmp_path, "--weights", "model").code == 0


def test_options_of_checkpoints_have_no_part_in_a_store(opsig: Opsig, case: Path) -> None:
    for words in (("--key", "model"), ("--order", "mtime")):
        done = opsig("inspect", case / "opsig.h5", *words)
        assert (done.code, f"expected checkpoints with {words[0]}" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("rates", "said"), [((0.25, 0.5), ("adam + sgd", None)), ((0.25, 0.25), ("adam + sgd", 0.25))]
)
def test_a_row_names_every_optimizer_and_no_rate_that_is_one_of_several(
    opsig: Opsig, tmp_path: Path, rates: tuple[float, float], said: tuple[str, float | None]
) -> None:
    net, other = nn.Linear(3, 2), nn.Linear(2, 3)
    first = torch.optim.Adam(net.parameters(), lr=rates[0])
    second = torch.optim.SGD(other.parameters(), lr=rates[1])
    for step in (1, 2):
        content = {
            "net": net.state_dict(),
            "step": step,
            "opt": first.state_dict(),
            "opt2": second.state_dict(),
        }
        torch.save(content, tmp_path / f"ckpt_{step}.pt")
    row = opsig("inspect", tmp_path, "--json").json["result"]["checkpoints"][0]
    assert (row["optimizer"], row["lr"]) == said
