"""Which sources there are, and what an unknown one is answered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from opsigcli.datasets import SOURCES, open_source
from opsigcli.errors import UsageError


def test_every_source_of_the_table_can_be_imported() -> None:
    assert all(callable(SOURCES.load(name)) for name in SOURCES)


def test_opening_arrays_and_folders_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from opsigcli.datasets import SOURCES\n"
        "for name in SOURCES: SOURCES.load(name)\n"
        "assert not {'torch', 'torchvision', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("foldr:x", "unknown dataset 'foldr'", "did you mean 'folder'"),
        ("plantd?n=300", "unknown dataset 'plantd'", "did you mean 'planted'"),
        ("zzz:1", "known: planted, noise", "choose one of"),
        ("folder", "expected folder:DIR", "add what follows 'folder:'"),
        ("planted:x", "expected planted", "leave out what follows 'planted:'"),
        ("", "expected a spec like", "examples"),
        ("folder:x?size", "option 'size' given without", "key=value"),
    ],
)
def test_a_spec_that_names_no_source_is_a_usage_error(spec: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(spec)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_bare_path_is_answered_with_the_spec_to_write(tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    for path, scheme in ((tmp_path, "folder"), (tmp_path / "a.npz", "npz")):
        with pytest.raises(UsageError) as caught:
            open_source(f"{path}?limit=3")
        assert caught.value.hint == f"write {scheme}:{path}?limit=3"
