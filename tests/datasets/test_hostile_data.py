"""Data from elsewhere start no program, keep nobody waiting, and fill no memory."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Opsig
from PIL import Image

from opsigcli.datasets import folder as folder_source
from opsigcli.datasets import open_source, picture_files
from opsigcli.datasets.picture_files import FORMATS, open_picture, picture_of_bytes
from opsigcli.errors import DatasetError

pytestmark = pytest.mark.usefixtures("no_hang")

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once a program called ``gs`` was started."""
    mark = tmp_path / "ran"
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("gs", "gswin64c", "xv", "convert", "magick", "djpeg", "netpbm", "ppmtogif"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {mark}\nexit 0\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return mark


def images(root: Path, count: int = 3) -> Path:
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (6, 6), (40 * number, 9, 200)).save(root / label / f"{number}.png")
    return root


def table(folder: Path, cells: list[Any], **options: Any) -> str:
    import datasets

    features = datasets.Features({"image": datasets.Image(**options), "label": datasets.Value("int64")})
    found = datasets.Dataset.from_dict(
        {"image": cells, "label": [0, 1] * (len(cells) // 2)}, features=features
    )
    found.save_to_disk(str(folder / "table"))
    return f"hfds:{folder / 'table'}"


def encoded(kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def test_the_fake_program_is_found_by_pillow_where_nothing_hinders_it(
    ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    with Image.open(io.BytesIO(EPS)) as picture, contextlib.suppress(OSError):  # the fake draws nothing
        picture.load()
    assert ran.exists()


def test_postscript_in_a_folder_of_images_is_refused_and_starts_nothing(
    opsig: Opsig, ran: Path, tmp_path: Path
) -> None:
    root = images(tmp_path / "images")
    (root / "a" / "0.png").write_bytes(EPS)
    result = opsig("train", tmp_path / "run", "--data", f"folder:{root}", "--model", "mlp", "--steps", 1)
    assert result.code == 3
    assert "a/0.png" in result.err
    assert not ran.exists()


def test_postscript_in_a_table_is_refused_and_starts_nothing(ran: Path, tmp_path: Path) -> None:
    good = {"bytes": encoded(), "path": None}
    spec = table(tmp_path, [good, {"bytes": EPS, "path": "x.png"}])
    with pytest.raises(DatasetError, match="row 1"):
        open_source(spec)
    assert not ran.exists()


def test_postscript_that_own_code_opens_starts_nothing(ran: Path, tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        f"import io\nfrom PIL import Image\nclass Made:\n"
        f"    def __len__(self): return 2\n"
        f"    def __getitem__(self, i): return Image.open(io.BytesIO({EPS!r})), i\n"
    )
    with pytest.raises(DatasetError, match="example 0"):
        open_source(f"file:{tmp_path / 'data.py'}:Made")
    assert not ran.exists()


@pytest.mark.parametrize("kind", [*FORMATS])
def test_every_listed_format_is_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.png").write_bytes(encoded(kind))
    with open_picture(tmp_path / "x.png") as picture:
        assert picture.convert("RGB").size == (4, 6)
    assert picture_of_bytes(encoded(kind), "here").size == (4, 6)


def test_a_table_gives_the_pictures_that_its_library_gives(tmp_path: Path) -> None:
    import datasets

    turned = Image.Exif()
    turned[0x0112] = 6  # held upright, it is six wide and four high
    for options in ({}, {"mode": "L"}):
        place = tmp_path / str(len(options))
        cells = [
            {"bytes": encoded("JPEG", exif=turned), "path": None},
            {"bytes": encoded("JPEG", exif=turned), "path": None},
        ]
        source = open_source(table(place, cells, **options))
        theirs = datasets.load_from_disk(str(place / "table"))
        for row in range(2):
            expected = np.asarray(theirs[row]["image"].convert("RGB"))
            assert expected.shape == (4, 6, 3)
            assert np.array_equal(source.image(row), expected)


def test_a_table_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    import datasets

    Image.new("RGB", (4, 4)).save(tmp_path / "private.png")
    cells = [{"bytes": None, "path": str(tmp_path / "private.png")}] * 2
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.Value("int64")})
    found = datasets.Dataset.from_dict({"image": cells, "label": [0, 1]}, features=features)
    table_of = found.data.table
    import pyarrow as pa

    found.save_to_disk(str(tmp_path / "table"))  # puts the files in; whoever writes by hand need not
    file = str(next((tmp_path / "table").glob("*.arrow")))
    with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, table_of.schema) as writer:
        writer.write_table(table_of)
    info = tmp_path / "table" / "dataset_info.json"
    info.write_text(info.read_text().replace('"decode": false', '"decode": true'))
    with pytest.raises(DatasetError, match="the name of a file elsewhere"):
        open_source(f"hfds:{tmp_path / 'table'}")


def test_a_picture_that_claims_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = images(tmp_path / "images")
    Image.new("1", (20_000, 15_000)).save(root / "a" / "0.png")
    with pytest.raises(DatasetError, match=f"at most {picture_files.MOST_PIXELS:,} pixels"):
        open_source(f"folder:{root}?size=4")
    with pytest.raises(DatasetError, match="pixels"):
        picture_of_bytes((root / "a" / "0.png").read_bytes(), "here")


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def sock(path: Path) -> None:
    path.unlink(missing_ok=True)
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as found:
            found.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("strange", [pipe, device, sock])
def test_only_regular_files_are_data(strange: Any, tmp_path: Path) -> None:
    root = images(tmp_path / "images")
    strange(root / "a" / "1.png")
    strange(tmp_path / "data.npz")
    strange(tmp_path / "text.txt")
    strange(tmp_path / "w.npy")
    good = images(tmp_path / "good")
    saved = table(tmp_path, [{"bytes": encoded(), "path": None}] * 2)
    strange(tmp_path / "table" / "state.json")
    (tmp_path / "cifar-10-batches-py").mkdir()
    strange(tmp_path / "cifar-10-batches-py" / "batches.meta")
    for spec in (
        f"folder:{root}",
        f"npz:{tmp_path / 'data.npz'}",
        f"text:{tmp_path / 'text.txt'}",
        f"folder:{good}?weights={tmp_path / 'w.npy'}",
        saved,
        f"torchvision:CIFAR10?root={tmp_path}",
    ):
        with pytest.raises(DatasetError, match=r"it is a (named pipe|device|socket), not a regular file"):
            open_source(spec)


def test_a_link_that_leads_back_ends_no_walk(tmp_path: Path) -> None:
    root = images(tmp_path / "images")
    (root / "a" / "one").symlink_to(root / "a")
    (root / "a" / "two").symlink_to(root / "a")
    with pytest.raises(DatasetError, match="leads back"):
        open_source(f"folder:{root}")


def test_links_that_branch_are_followed_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_source, "MOST_FOLDERS", 100)
    root = images(tmp_path / "images")
    for level in range(20):
        (tmp_path / str(level)).mkdir()
        for name in ("x", "y"):
            (tmp_path / str(level) / name).symlink_to(tmp_path / str(level + 1))
    (root / "a" / "deep").symlink_to(tmp_path / "0")
    with pytest.raises(DatasetError, match="too many folders"):
        open_source(f"folder:{root}")


def test_a_link_to_images_elsewhere_is_followed_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    root, other = images(tmp_path / "images"), images(tmp_path / "other", 2)
    (root / "b" / "more").symlink_to(other / "a")
    (root / "b" / "again").symlink_to(other / "a")
    theirs = [Path(name).relative_to(root).as_posix() for name, _ in ImageFolder(root).samples]
    assert list(open_source(f"folder:{root}").names) == theirs


def test_an_archive_that_claims_more_than_the_memory_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((1000, 100), np.float32), y=np.arange(1000) % 2, z=np.zeros(9))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")  # the directory of the archive, first member
    raw[at + 24 : at + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(raw)
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size == 0xFFFFFFF0
    from opsigcli.datasets import npz_sizes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(npz_sizes, "_memory", lambda: 1 << 30)
        with pytest.raises(DatasetError, match="claims to hold 4 GiB"):
            open_source(f"npz:{path}")
    assert npz_sizes._memory() > 1 << 28
