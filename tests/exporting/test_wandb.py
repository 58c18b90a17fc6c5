"""The offline run of Weights & Biases that a case is written as, read back from its file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig
from PIL import Image
from store_case import write_everything

from opsigcli.checkpoints.logs.wandb_file import config, history
from opsigcli.store.reader import open_store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_everything(tmp_path / "s.h5")
    return tmp_path / "s.h5"


def logged(store: Path, tmp_path: Path) -> Path:
    """The folder of the run; the network is out of reach, and the user's home is another."""
    pytest.importorskip("wandb")
    words = [sys.executable, "-m", "opsigcli", "report", "--store", str(store), "--log", "wandb:offline"]
    paths = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    own = {"HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9", "PYTHONPATH": paths}
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "wandb: " not in done.stdout + done.stderr.replace("send it with: wandb sync", "")
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert f"wandb sync {folder}" in done.stderr.replace("\n", "")
    return folder


@pytest.mark.slow
def test_a_run_has_the_numbers_of_the_store_its_pairs_and_pictures_and_nothing_of_the_machine(
    store: Path, tmp_path: Path
) -> None:
    folder = logged(store, tmp_path)
    (file,) = folder.glob("*.wandb")
    rows = list(history(file))
    with open_store(store) as opened:
        trace, run = opened.trace, opened.run
    assert [row["_step"] for row in rows] == trace.steps.tolist()
    np.testing.assert_allclose([row["loss/mean"] for row in rows], trace.mean_losses, rtol=1e-12)
    assert [row.get("sharpness/ratio") for row in rows if "sharpness/ratio" in row] == [0.5]
    assert config(file)["data"] == run.data
    assert {path.name for path in (folder / "files").iterdir()} == {
        "media"
    }  # neither metadata nor requirements
    (pairs,) = folder.glob("files/media/table/pairs*.json")
    table = json.loads(pairs.read_text())
    row = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (row["pair"], row["side"], row["ids"], row["verdict"]) == (1, "first", "0, 1", "opposing")
    pictures = list(folder.glob("files/media/images/pairs/1/*.png"))
    assert len(pictures) == 3
    for picture in pictures:
        with Image.open(picture) as opened:
            assert opened.size == (2, 2)


def test_without_the_package_what_installs_it_is_said(
    opsig: Opsig, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = opsig("report", "--store", store, "--log", "wandb:offline")
    assert done.code == 2
    assert "pip install 'opsig[wandb]'" in done.err
