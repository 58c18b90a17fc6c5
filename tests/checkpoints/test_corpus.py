"""The hostile corpus, opened by the commands: nothing runs, nothing is written but the store, and no traceback."""

from __future__ import annotations

import contextlib
import copyreg
from collections.abc import Iterator
from pathlib import Path

import hostile
import pytest
from conftest import Opsig

CORPUS = hostile.corpus()


@pytest.fixture(autouse=True)
def extensions() -> Iterator[None]:
    """Pickle's extension registry holds os.system under number 240, as another package could put it there."""
    copyreg.add_extension("posix", "system", 240)
    yield
    copyreg.remove_extension("posix", "system", 240)


def everything(root: Path) -> dict[Path, int]:
    return {
        path: path.lstat().st_mtime_ns for path in root.rglob("*") if not path.is_dir() or path.is_symlink()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CORPUS)
def test_nothing_in_the_corpus_runs_or_writes(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, mark, out = tmp_path / "ckpts", tmp_path / "mark", tmp_path / "out"
    for each in (folder, mark, out):
        each.mkdir()
    CORPUS[name](folder, mark)
    data = hostile.write_data(tmp_path)
    monkeypatch.chdir(out)
    before = everything(tmp_path)
    codes = [
        opsig("inspect", folder).code,
        opsig("trace", folder, "--model", "mlp?hidden=4", "--data", data, "--store", out / "opsig.h5").code,
        opsig("init", folder, "--data", data).code,
    ]
    assert set(codes) <= {0, 2, 3, 4}
    after = everything(tmp_path)
    assert not (mark / "ran").exists()
    assert {path for path in after if after[path] != before.get(path)} <= {out / "opsig.h5"}
    assert set(before) <= set(after)


def test_the_payloads_of_the_corpus_work(tmp_path: Path) -> None:
    """Opened by pickle, the programs do run: the corpus is not harmless by mistake."""
    import pickle

    ran = 0
    for number, (_, payload) in enumerate(hostile.programs(tmp_path).items()):
        mark = tmp_path / str(number)
        mark.mkdir()
        program = list(hostile.programs(mark).values())[number]
        assert len(program) >= len(payload) - 8
        with contextlib.suppress(Exception):  # some end in an error after they ran
            pickle.loads(b"\x80\x04" + program + b".")
        ran += (mark / "ran").exists()
    assert ran >= 10


def test_a_deep_nesting_of_honest_values_is_no_trouble(opsig: Opsig, tmp_path: Path) -> None:
    import torch

    nested: list[object] = []
    for _ in range(400):
        nested = [nested]
    for step in (1, 2):
        torch.save({"model": hostile.state(step), "config": nested}, tmp_path / f"step_{step}.pt")
    assert opsig("inspect", tmp_path).code == 0


def test_markup_in_names_is_text_in_every_report(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "ckpts"
    folder.mkdir()
    CORPUS["file names with markup and control characters"](folder, tmp_path)
    data = hostile.write_data(tmp_path)
    shown = opsig("inspect", folder)
    assert "\x1b]0;" not in shown.out + shown.err
    assert "[bold]step_2.pt" in shown.out
    assert opsig("trace", folder, "--model", "mlp?hidden=4", "--data", data).code == 0
    assert opsig("report", "--html", "-o", "r.html").code == 0
    assert "<img src=x" not in (tmp_path / "r.html").read_text()


def test_unsafe_pickle_runs_code_only_when_asked_for_in_the_call(
    opsig: Opsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for step in (1, 2):  # sparse weights, which opsig itself refuses
        state = {key: value.to_sparse() for key, value in hostile.state(step).items()}
        torch.save({"model": state, "extra": hostile.Runs(tmp_path)}, folder / f"step_{step}.pt")
    data = hostile.write_data(tmp_path)
    words = ("trace", folder, "--model", "mlp?hidden=4", "--data", data)
    monkeypatch.setenv("OPSIG_UNSAFE_PICKLE", "1")
    (tmp_path / "opsig.toml").write_text("unsafe_pickle = true\n")
    refused = opsig(*words)
    assert refused.code == 3
    assert "sparse tensors" in refused.err
    assert not (tmp_path / "ran").exists()
    assert opsig(*words, "--unsafe-pickle").code == 0
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    opsig("sharpness")
    assert not (tmp_path / "ran").exists()
