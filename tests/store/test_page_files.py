"""The folder beside a page: with the page it is replaced as one, and what is somebody's own stays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from opsigcli.errors import StoreError
from opsigcli.store.page_files import beside_page


def named(content: bytes) -> dict[str, bytes]:
    return {f"curves-{hashlib.sha256(content).hexdigest()[:16]}.js": content}


def test_the_files_of_the_page_before_go_when_the_new_page_is_there(tmp_path: Path) -> None:
    page, folder = tmp_path / "r.html", tmp_path / "r_files"
    with beside_page(page, folder, named(b"old")):
        pass
    own, alike = folder / "notes.txt", folder / "curves-0123456789abcdef.js"
    for path in (own, alike):
        path.write_text("my own")
    with beside_page(page, folder, named(b"new")):
        assert named(b"old").keys() | named(b"new").keys() <= {path.name for path in folder.iterdir()}
    assert {path.name for path in folder.iterdir()} == {*named(b"new"), own.name, alike.name}
    with beside_page(page, folder, {}):
        pass
    assert {path.name for path in folder.iterdir()} == {own.name, alike.name}


def test_where_the_page_cannot_be_written_the_old_one_keeps_its_files(tmp_path: Path) -> None:
    page, folder = tmp_path / "r.html", tmp_path / "r_files"
    with beside_page(page, folder, named(b"old")):
        pass
    with pytest.raises(KeyboardInterrupt), beside_page(page, folder, named(b"new")):
        raise KeyboardInterrupt
    assert named(b"old").keys() <= {path.name for path in folder.iterdir()}


def test_a_page_that_needs_no_folder_makes_and_removes_none(tmp_path: Path) -> None:
    (tmp_path / "r_files").mkdir()
    for folder in ("r_files", "other_files"):
        with beside_page(tmp_path / "r.html", tmp_path / folder, {}):
            pass
    assert (tmp_path / "r_files").is_dir()
    assert not (tmp_path / "other_files").exists()


def test_a_folder_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "r_files").symlink_to(tmp_path / "mine")
    with pytest.raises(StoreError), beside_page(tmp_path / "r.html", tmp_path / "r_files", named(b"new")):
        pass
    assert not list((tmp_path / "mine").iterdir())
