"""The event file of a case, read by the reader of logs and field by field."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import Opsig
from store_case import write_everything

from opsigcli.checkpoints.logs.event_file import scalars
from opsigcli.checkpoints.logs.protobuf import fields
from opsigcli.exporting.tensorboard import FILE, _safe
from opsigcli.store.reader import open_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_everything(tmp_path / "s.h5")
    return tmp_path / "s.h5"


def _log(opsig: Opsig, store: Path, folder: Path) -> Path:
    done = opsig("report", "--store", store, "--log", f"tensorboard:{folder}")
    assert done.code == 0, done.err
    assert f"wrote {folder / FILE}" in done.err.replace("\n", "")
    return folder / FILE


def test_numbers_by_step_are_those_of_the_store(opsig: Opsig, store: Path, tmp_path: Path) -> None:
    rows = list(scalars(_log(opsig, store, tmp_path / "logs")))
    with open_store(store) as opened:
        mean = opened.trace.mean_losses
    assert [row["loss/mean"] for row in rows if "loss/mean" in row] == np.float32(mean).tolist()
    assert [(row["step"], row["sharpness/ratio"]) for row in rows if "sharpness/ratio" in row] == [(1, 0.5)]
    assert [row["sharpness/threshold"] for row in rows if "sharpness/threshold" in row] == [4.0]


def _values(file: Path) -> dict[str, dict[int, bytes | int]]:
    """What each tag's last value holds, by the number of its field."""
    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        event = dict(fields(data[at + 12 : at + 12 + length]))
        at += 16 + length
        if 5 in event:
            value = dict(fields(dict(fields(event[5]))[1]))  # type: ignore[arg-type]
            found[value[1].decode()] = value  # type: ignore[union-attr]
    return found


def test_pairs_have_a_table_and_their_mean_pictures(opsig: Opsig, store: Path, tmp_path: Path) -> None:
    values = _values(_log(opsig, store, tmp_path / "logs"))
    tensor = dict(fields(values["pairs/1"][8]))  # type: ignore[arg-type]
    text = tensor[8].decode()  # type: ignore[union-attr]
    assert tensor[1] == 7
    assert "**opposing**" in text
    assert "| first | 2 | class 0 2 | 0, 1 |" in text
    image = dict(fields(values["pairs/1/first"][4]))  # type: ignore[arg-type]
    assert (image[1], image[2], image[3]) == (2, 2, 3)
    png = image[4]
    assert isinstance(png, bytes)
    assert png[:4] == b"\x89PNG"
    at = png.index(b"IDAT")
    assert len(zlib.decompress(png[at + 4 :])) == 2 * 7


def test_words_of_the_data_are_no_markup() -> None:
    assert _safe("a|b <script> [x](y) `c`\n# d") == "a&#124;b &lt;script&gt; &#91;x](y) &#96;c&#96; # d"


def test_written_again_the_log_is_replaced(opsig: Opsig, store: Path, tmp_path: Path) -> None:
    for _ in range(2):
        _log(opsig, store, tmp_path / "logs")
    assert [path.name for path in (tmp_path / "logs").iterdir()] == [FILE]


@pytest.mark.parametrize("text", ["wandb:online", "wandb", "tensorboard", "tensorboard:", ":x", "runs"])
def test_other_places_of_logs_are_refused(opsig: Opsig, store: Path, text: str) -> None:
    done = opsig("report", "--store", store, "--log", text)
    assert done.code == 2
    assert "expected --log tensorboard:DIR" in done.err


def test_a_folder_that_is_a_file_is_refused(opsig: Opsig, store: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("mine")
    done = opsig("report", "--store", store, "--log", f"tensorboard:{tmp_path / 'logs'}")
    assert done.code == 3
    assert (tmp_path / "logs").read_text() == "mine"
