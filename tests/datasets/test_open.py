"""Which sources there are, and what an unknown one is answered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
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


def test_the_digits_come_with_the_package_and_are_ten_classes_of_eight_by_eight_pixels() -> None:
    source = open_source("digits")
    assert (len(source), source.input_shape, source.outputs) == (1797, (1, 8, 8), 10)
    assert source.labels[:10].tolist() == list(range(10))
    assert np.bincount(source.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    inputs = source.read(np.arange(len(source)))
    ink = np.round(inputs[0, 0, 0] * 16).astype(int).tolist()
    assert ink == [0, 0, 5, 13, 9, 1, 0, 0]  # the first row of the first, as the file of its makers has it
    np.testing.assert_allclose(inputs, np.round(inputs * 16) / 16, atol=2e-3)


def test_what_is_left_of_pictures_without_their_mean_colour_is_their_shape(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=pixels, y=np.arange(6) % 2)
    found = open_source(f"npz:{tmp_path}/d.npz?standardize=colour")
    assert found.pixels(np.arange(6)) is None
    plain = pixels.transpose(0, 3, 1, 2) / 255
    expected = plain - plain.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(found.read(np.arange(6)), expected, atol=1e-6)
    np.savez(tmp_path / "v.npz", x=np.ones((6, 4)), y=np.arange(6) % 2)
    with pytest.raises(UsageError, match="is for pictures"):
        open_source(f"npz:{tmp_path}/v.npz?standardize=colour")
