"""What steps count is said wherever they stand, from the file names to the report."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import foreign_folders
import pytest
import torch
from conftest import Opsig
from foreign_folders import WAYS

from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.store.reader import open_store

PATTERNS = {"epoch": "ep{}.pth", "number": "weights_{:05d}.pth", "step": "step_{}.pt", "position": "w-{}.pt"}


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """Model and data of the checkpoints in ``ckpts``."""
    foreign_folders.write_pictures(tmp_path / "images")
    spec = f"folder:{tmp_path / 'images' / 'train'}?mean=0.5&std=0.5"
    return ["--model", f"file:{tmp_path / 'net.py'}:make", "--data", spec]


@pytest.mark.parametrize("unit", PATTERNS)
def test_no_axis_table_or_number_says_step_where_it_is_none(
    opsig: Opsig, tmp_path: Path, words: list[object], unit: str
) -> None:
    ckpts, store = tmp_path / "ckpts", tmp_path / "s.h5"
    foreign_folders.train(ckpts, WAYS["half"][0], PATTERNS[unit])
    order = ["--order", "name"] if unit == "position" else []
    if unit == "position":
        for new, old in (("a", 0), ("b", 20), ("c", 40)):
            (ckpts / f"w-{old}.pt").rename(ckpts / f"w-{new}.pt")
    shown = [opsig("trace", ckpts, *words, *order, "--store", store)]
    shown += [opsig("sharpness", "--store", store, "--optimizer", "sgd", "--lr", 0.1, "--max-matvecs", 60)]
    shown += [opsig("mine", "--store", store, "--surrogates", 0), opsig("report", "--full", "--store", store)]
    assert [each.code for each in shown] == [0] * 4
    for verb in ("sharpness", "mine", "report"):
        result = opsig(verb, "--store", store, "--json").json["result"]
        assert result.get("unit") == unit, verb
    opsig("report", "--store", store, "--html", "--output", tmp_path / "r.html")
    page = re.sub(r"<(script|style).*?</\1>", "", (tmp_path / "r.html").read_text(), flags=re.S)
    page = re.sub(r"<pre.*?</pre>|<[^>]*>", " ", page, flags=re.S)
    said = "\n".join([*(each.out for each in shown), page])
    assert re.search(rf"\b{unit}s? \d", said)
    if unit != "step":
        assert "optimizer steps" not in said
        assert not re.search(r"\bsteps? \d", said), re.findall(r".{30}\bsteps? \d.{20}", said)
        assert not re.search(r"^ *(from )?step  ", said, flags=re.M), re.findall(
            r"^.*\bstep\b.*$", said, re.M
        )


def test_a_manifest_keeps_the_unit(opsig: Opsig, tmp_path: Path, words: list[object]) -> None:
    foreign_folders.train(tmp_path / "ckpts", WAYS["half"][0], "ep{}.pth")
    assert opsig("init", tmp_path / "ckpts", *words).code == 0
    manifest = read_manifest(tmp_path / "ckpts")
    assert manifest is not None
    assert (manifest.unit, [row.step for row in manifest.checkpoints]) == ("epoch", [0, 20, 40])
    assert opsig("inspect", tmp_path / "ckpts", "--json").json["result"]["unit"] == "epoch"
    assert opsig("trace", tmp_path / "ckpts", "--store", tmp_path / "s.h5").code == 0
    with open_store(tmp_path / "s.h5") as store:
        assert store.run.unit == "epoch"


def test_a_unit_that_is_none_is_refused(opsig: Opsig, tmp_path: Path, words: list[object]) -> None:
    foreign_folders.train(tmp_path / "ckpts", WAYS["half"][0], "ep{}.pth")
    opsig("init", tmp_path / "ckpts", *words)
    path = tmp_path / "ckpts" / "opsig-run.toml"
    path.write_text(path.read_text().replace('unit = "epoch"', 'unit = "fortnight"'))
    refused = opsig("trace", tmp_path / "ckpts", "--store", tmp_path / "s.h5")
    assert refused.code == 3
    assert "fortnight" in refused.err


def test_epochs_become_steps_and_a_store_holds_one_kind(
    opsig: Opsig, tmp_path: Path, words: list[object]
) -> None:
    ckpts, store = tmp_path / "ckpts", tmp_path / "s.h5"
    foreign_folders.train(ckpts, WAYS["half"][0], "ep{}.pth")
    done = opsig("trace", ckpts, *words, "--steps-per-epoch", 7, "--store", store, "--json").json["result"]
    assert (done["unit"], done["steps"]) == ("step", [0, 140, 280])
    refused = opsig("trace", ckpts, *words, "--store", store)
    assert refused.code == 3
    assert "by their step, these by their epoch" in refused.err
    assert opsig("trace", ckpts, *words, "--steps-per-epoch", 7, "--store", store).code == 0
    assert opsig("init", ckpts, *words, "--steps-per-epoch", 7).code == 0
    assert opsig("trace", ckpts, "--store", store).code == 0


def test_next_steps_can_be_pasted(
    opsig: Opsig, tmp_path: Path, words: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    foreign_folders.train(tmp_path / "-my $runs", WAYS["half"][0])
    inspected = opsig("inspect", "--", "-my $runs")
    assert "opsig trace './-my $runs' --model SPEC --data SPEC" in inspected.err
    made = opsig("init", *words, "--", "-my $runs")
    line = made.err.split("next: opsig ")[1].splitlines()[0]
    store = tmp_path / "it's $mine.h5"
    done = opsig(*shlex.split(line), "--store", store)
    assert done.code == 0, done.err
    for further in done.err.split("next: ")[1].strip().split(", "):
        again = shlex.split(further)
        assert again[0] == "opsig"
        assert again[2:] == ["--store", str(store)]
        assert opsig(*again[1:], *(["--surrogates", 0] if again[1] == "mine" else [])).code == 0


def test_a_path_is_one_relative_and_absolute(
    opsig: Opsig, tmp_path: Path, words: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign_folders.train(tmp_path / "ckpts", WAYS["half"][0])
    assert opsig("init", tmp_path / "ckpts", *words).code == 0
    store = tmp_path / "s.h5"
    monkeypatch.chdir(tmp_path)
    relative = ["--model", "file:net.py:make", "--data", "folder:images/train?mean=0.5&std=0.5"]
    first = opsig("trace", "ckpts", *relative, "--store", store)
    assert (first.code, "is used, but" in first.err) == (0, False)
    monkeypatch.chdir(tmp_path / "images")
    again = opsig(
        "trace", "../ckpts", "--model", "file:../net.py:make", "--data", "folder:train?mean=0.5&std=0.5",
        "--store", "../s.h5", "--json",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert "is used, but" not in again.err
    assert again.json["result"]["units_computed"] == 0


def test_a_lightning_like_folder_is_on_an_axis_of_steps(opsig: Opsig, tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 2)
    for epoch, step in ((3, 900), (4, 1200)):
        content = {"state_dict": net.state_dict(), "epoch": epoch, "global_step": step}
        torch.save(content, tmp_path / f"epoch={epoch}-step={step}.ckpt")
    found = opsig("inspect", tmp_path, "--json").json["result"]
    assert (found["unit"], [row["step"] for row in found["checkpoints"]]) == ("step", [900, 1200])
    assert [row["epoch"] for row in found["checkpoints"]] == [3, 4]


@pytest.mark.parametrize("unit", ["epoch", "number"])
def test_neighbours_by_epoch_or_name_are_not_taken_for_one_update(
    opsig: Opsig, tmp_path: Path, words: list[object], unit: str
) -> None:
    ckpts, store = tmp_path / "ckpts", tmp_path / "s.h5"
    foreign_folders.train(ckpts, WAYS["half"][0], PATTERNS[unit])
    for new, old in ((0, 0), (1, 20), (2, 40)):  # neighbours, with many updates between them
        (ckpts / PATTERNS[unit].format(old)).rename(ckpts / PATTERNS[unit].format(new))
    told = ["--optimizer", "adam", "--lr", 0.03, "--minibatch", 30, "--store", store]
    assert opsig("trace", ckpts, *words, "--store", store).code == 0
    quick = opsig("sharpness", "--quick", *told[:4], "--store", store, "--json").json["result"]
    assert {point["direction"] for point in quick["critical_sharpness"]}.isdisjoint({"next checkpoint"})
    points = opsig("sharpness", *told, "--max-matvecs", 40, "--json").json["result"]["points"]
    checks = [point["step_check"] for point in points if point["step_check"]]
    assert checks
    assert {check["verdict"] for check in checks} == {"cannot be told"}
