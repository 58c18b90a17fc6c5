"""A manifest from elsewhere is read as what its format says, or refused with what was expected, found, and where."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from conftest import Opsig

from opsigcli.checkpoints.manifest import Manifest, Row, read_manifest
from opsigcli.errors import CheckpointError, ExitCode
from opsigcli.options import MANIFEST

pytestmark = pytest.mark.usefixtures("no_hang")

RUN: dict[str, Any] = {"model": "mlp?hidden=32,32", "data": "planted?n=400", "loss": "ce"}
ROW: dict[str, Any] = {"file": "step-000000.safetensors", "step": 0}
# Wrong values for a field of each kind; TOML has dates, and numbers beyond a float.
NUMBERS = ("nan", "inf", "-inf", "-1", "9" * 400, "9" * 5000, "true", '"3"', "1979-05-27", "1979-05-27T07:32:00Z",
           "[1]", "{a = 1}", "-0x1", "07:32:00", "1e400")  # fmt: skip
TEXTS = ("3", "true", "1979-05-27", '["a"]', "{a = 1}", "nan")
LISTS = ("3", '"abc"', "[nan]", "[-1]", "[1979-05-27]", "{a = 1}", "[[1]]", '["a", 1]')
TABLES = (
    "3",
    '"abc"',
    "[1]",
    "{a = 1979-05-27}",
    "{a = nan}",
    "{a = " + "9" * 400 + "}",
    "{a = {b = {c = nan}}}",
)


def text(run: dict[str, str] | None = None, row: dict[str, str] | None = None) -> str:
    """A manifest with some values as TOML texts in place of good ones."""
    lines = ["schema = 1", "[run]"]
    values = {key: f'"{value}"' for key, value in RUN.items()} | (run or {})
    lines += [f"{key} = {value}" for key, value in values.items()] + ["[[checkpoints]]"]
    values = {"file": f'"{ROW["file"]}"', "step": "0"} | (row or {})
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in values.items())]) + "\n"


def wrong() -> list[tuple[str, str, str]]:
    """(table, field, value) for every field and every value that does not fit it."""
    found = []
    for kind, record in (("run", Manifest), ("row", Row)):
        for field in dataclasses.fields(record):
            if field.name in ("checkpoints", "schema"):
                continue
            declared = str(field.type)
            values: tuple[str, ...] = TEXTS
            if field.name in ("hyper", "transform"):
                values = TABLES
            elif declared.startswith("tuple"):
                values = LISTS
            elif any(word in declared for word in ("Count", "Positive", "Amount", "Seed", "Number")):
                # A learning rate and a seed may be negative: what is done with them is for others to judge.
                values = tuple(
                    v
                    for v in NUMBERS
                    if not (v[:1] == "-" and v != "-inf" and declared in ("Seed | None", "Number | None"))
                )
            elif declared == "bool":
                values = ("3", '"true"', "1979-05-27")
            found += [(kind, field.name, value) for value in values]
    return found


@pytest.mark.parametrize(("table", "field", "value"), wrong(), ids=lambda v: v[:24])
def test_a_value_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, table: str, field: str, value: str
) -> None:
    if field == "classes" and value == "[-1]":
        return
    (tmp_path / MANIFEST).write_text(text(**{table: {field: value}}))
    with pytest.raises(CheckpointError) as caught:
        read_manifest(tmp_path)
    said = caught.value.message
    assert said.startswith("expected ")
    assert str(tmp_path / MANIFEST) in said
    assert "expected TOML" in said or field in said
    assert len(said) < 500 + len(str(tmp_path))
    assert caught.value.hint


@pytest.mark.parametrize(("field", "value"), [("weights", "both"), ("unit", "parsec")])
def test_a_word_that_is_none_of_the_known_ones_is_refused(tmp_path: Path, field: str, value: str) -> None:
    (tmp_path / MANIFEST).write_text(text(run={field: f'"{value}"'}))
    with pytest.raises(CheckpointError, match=f"a known value, found '{value}' for {field}"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1" + "0" * 30, "a whole number of at most 9007199254740992, found 1000"),
        ("-3", "a whole number of at least 0, found -3 for step"),
        ("1979-05-27", r"a whole number, found datetime\.date\(1979, 5, 27\) for step"),
        ("1.0", r"a whole number, found 1\.0 for step"),
    ],
)
def test_a_step_that_is_none_says_expected_found_and_where(tmp_path: Path, value: str, words: str) -> None:
    (tmp_path / MANIFEST).write_text(text(row={"step": value}))
    with pytest.raises(
        CheckpointError, match=rf"expected {words}.* at .*{re.escape(MANIFEST)}, checkpoint 1"
    ):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        "",
        ".",
        "./",
        "..",
        "a/../../b",
        "/etc/passwd",
        "a\\\\b",
        "a\\u0000b",
        "//x",
        "../step-000000.safetensors",
    ],
)
def test_a_row_names_files_of_its_folder_alone(tmp_path: Path, file: str) -> None:
    (tmp_path / MANIFEST).write_text(text(row={"file": f'"{file}"'}))
    with pytest.raises(CheckpointError, match="within the folder"):
        read_manifest(tmp_path)


def test_a_file_stands_in_one_row_alone(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(text() + '[[checkpoints]]\nfile = "step-000000.safetensors"\nstep = 9\n')
    with pytest.raises(CheckpointError, match="each file once"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["[x]\ny = 1\n", "schema = true\n", "schema = 1\nrun = 3\n", "schema = 1\ncheckpoints = {}\n", "a" * 300_000,
     "schema = 1\n[" + "a." * 200_000 + "a]\n", "schema = 1\n" + "a." * 200_000 + "a = 1\n",
     "schema = 1\na = {" + "a." * 200_000 + "a = 1}\n", "schema = 1\n[" + "a." * 2_000 + "a]\n" + "b = 1\n" * 9,
     "schema = 1\nrun = " + "[" * 200_000, "schema = " + "9" * 5000,
     "schema = 1979-05-27\n", "schema = 1\n[run]\nschema = 1\n" + 'model="a"\ndata="b"\nloss="c"\n',
     "schema = 1\n[other]\n"],
    ids=range(14),
)  # fmt: skip
def test_other_documents_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(CheckpointError, match="expected"):
        read_manifest(tmp_path)


def test_a_manifest_larger_than_any_is_not_read(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).touch()
    os.truncate(tmp_path / MANIFEST, 1 << 40)
    with pytest.raises(CheckpointError, match="more than"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "hyper", [{"betas": 3}, {"betas": [0.9]}, {"lr": "x"}, {"betas": [0.9, "x"]}, {"lr": [1.0]}, {"x": 1}]
)
def test_hyper_parameters_that_fit_no_rule_are_refused_where_they_are_used(
    opsig: Opsig, case: Path, hyper: dict[str, Any]
) -> None:
    path = case / "run" / MANIFEST
    manifest = read_manifest(case / "run")
    assert manifest is not None
    rows = [
        {k: v for k, v in dataclasses.asdict(row).items() if v is not None} for row in manifest.checkpoints
    ]
    run = RUN | {"optimizer": "adam", "hyper": {"lr": 0.1} | hyper, "fingerprint": manifest.fingerprint}
    path.write_text(tomli_w.dumps({"schema": 1, "run": run, "checkpoints": rows}))
    result = opsig("sharpness", "--store", case / "opsig.h5", "--every", 120, "--fresh")
    assert result.code in (ExitCode.OK, ExitCode.USAGE, ExitCode.INPUT, ExitCode.INCOMPLETE)
    assert opsig("inspect", case / "run").code in (0, 2, 3)


def test_a_signature_of_other_letters_is_no_signature(opsig: Opsig, case: Path) -> None:
    path = case / "run" / MANIFEST
    good = path.read_text()
    signature = re.search(r'signature = "([0-9a-f]+)"', good)
    assert signature is not None
    path.write_text(good.replace(signature[1], "é" * 64))
    result = opsig("trace", case / "run", "--store", case / "t.h5")
    assert result.code == 3
    assert "signature" in result.err
