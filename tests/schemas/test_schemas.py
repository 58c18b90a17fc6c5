"""What ``--json`` prints is what the schemas say, key by key; they ship as they are made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Opsig, Result
from store_case import write_everything

from opsigcli.cli.app import app
from opsigcli.options import COMMANDS
from opsigcli.outcome import SCHEMA_VERSION
from opsigcli.schemas import FOLDER, names, schema_of, text_of
from opsigcli.schemas.answers import ANSWERS
from opsigcli.schemas.build import documents


def closed(schema: Any) -> Any:
    """The schema that lets no key through which it does not describe."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    return found | ({"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {})


def require_fit(result: Result, name: str) -> None:
    """Refuse what the closed schema of its name does not describe to the last key."""
    found = result.json
    assert found["schema"] == f"opsig/{name}"
    jsonschema.Draft202012Validator(closed(schema_of(name))).validate(found)


def test_the_files_are_those_that_are_made_of_the_types() -> None:
    made = documents()
    assert {path.name for path in FOLDER.glob("*.json")} == set(made)
    for name, text in made.items():
        assert (FOLDER / name).read_text() == text, "write them again: python -m opsigcli.schemas.build"


@pytest.mark.parametrize("name", [*ANSWERS, "error"])
def test_a_schema_is_one_and_describes_every_key(name: str) -> None:
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:opsig:{name}:{SCHEMA_VERSION}"
    for where, record in {"": schema, **schema["$defs"]}.items():
        assert record["description"], where
        for key, said in record.get("properties", {}).items():
            assert said.get("description"), f"{where}.{key} has no comment where it is declared"


def test_every_command_has_one() -> None:
    assert {str(command.name) for command in app.registered_commands} <= set(names())


def test_what_all_commands_print_fits(opsig: Opsig, case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case)
    require_fit(
        opsig(
            "train", "run", "--data", "planted?n=400", "--model", "mlp?hidden=32,32", "--steps", 122, "--json"
        ),
        "train",
    )
    require_fit(opsig("inspect", "run", "--json"), "inspect")
    require_fit(opsig("inspect", "opsig.h5", "--json"), "store")
    require_fit(opsig("trace", "run", "--dry-run", "--json"), "plan")
    require_fit(opsig("trace", "run", "--json"), "trace")
    require_fit(opsig("mine", "--dry-run", "--json"), "plan")
    require_fit(opsig("mine", "--json"), "mine")
    require_fit(opsig("sharpness", "--every", 40, "--dry-run", "--json"), "plan")
    require_fit(opsig("sharpness", "--every", 40, "--layers", "--groups", "--json"), "sharpness")
    require_fit(opsig("sharpness", "--quick", "--every", 60, "--json"), "quick-sharpness")
    (case / "old.json").write_text(opsig("report", "--json").out)
    gates = (
        "--baseline",
        "old.json",
        "--require",
        "loss.last <= baseline",
        "--fail-on",
        "interference.max > 1",
    )
    require_fit(opsig("report", *gates, "--markdown", "--html", "--json"), "report")
    shutil.copy("opsig.h5", "again.h5")
    require_fit(opsig("report", "opsig.h5", "again.h5", "--html", "--json"), "comparison")
    require_fit(opsig("export", "losses", "--steps", "0:20:10", "--json"), "export")
    require_fit(opsig("report", "--list-metrics", "--json"), "metrics")
    require_fit(opsig("schema", "report", "--json"), "schema")
    require_fit(opsig("schema", "--json"), "schema")
    (case / "run" / "opsig-run.toml").unlink()
    words = ("--model", "mlp?hidden=32,32", "--data", "planted?n=400", "--optimizer", "gd", "--lr", 0.3)
    require_fit(opsig("init", "run", *words, "--json"), "init")


def test_a_report_of_a_store_with_every_part_fits(opsig: Opsig, tmp_path: Path) -> None:
    write_everything(tmp_path / "s.h5")
    require_fit(opsig("report", "--store", tmp_path / "s.h5", "--json"), "report")
    require_fit(opsig("inspect", tmp_path / "s.h5", "--json"), "store")


SLIPS = {  # a kind of error -> what is typed after any command
    "an option that is none": ("--jsno",),
    "an option without its value": ("x", "--store"),
    "more words than it takes": ("x", "x", "x", "--store", "x"),
    "an empty word": ("",),
    "a word that no path can be": ("a\0b",),
}
BAD = {  # an input that is none, or is damaged -> of each command that reads one of its kind
    "nothing there": {
        **dict.fromkeys(("inspect", "init", "trace"), ("none",)),
        **dict.fromkeys(("mine", "sharpness", "report"), ("--store", "none.h5")),
        "export": ("losses", "--store", "none.h5"),
    },
    "no such thing inside": {
        **dict.fromkeys(("inspect", "init", "trace"), ("empty",)),
        **dict.fromkeys(("mine", "sharpness", "report"), ("--store", "torn.h5")),
        "export": ("losses", "--store", "torn.h5"),
        "train": ("torn.h5",),
    },
    "a value that is not known": {
        "train": ("new", "--optimizer", "addam"),
        "inspect": ("run", "--order", "nmae"),
        "init": ("run", "--fresh", "--loss", "x"),
        "trace": ("run", "--device", "x"),
        "mine": ("--method", "x"),
        "sharpness": ("--precision", "x"),
        "report": ("--fail-on", "loss.lst > 1"),
        "schema": ("reprot",),
        "export": ("losses", "--format", "xls"),
    },
}
ERRORS = [(verb, words) for verb in COMMANDS for words in SLIPS.values()] + [
    (verb, words) for kind in BAD.values() for verb, words in kind.items()
]


def test_every_command_ends_every_kind_of_error_with_the_object_of_the_schema(
    opsig: Opsig, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(case)
    (case / "empty").mkdir()
    (case / "torn.h5").write_bytes((case / "opsig.h5").read_bytes()[:9000])
    validator = jsonschema.Draft202012Validator(closed(schema_of("error")))
    for verb, words in [*ERRORS, ("trcae", ()), ("help", ("trcae",))]:
        result = opsig(verb, "--json", *words) if verb != "help" else opsig(verb, *words, "--json")
        assert result.code in (2, 3), (verb, words, result)
        validator.validate(result.json)
        require_fit(result, verb) if verb in COMMANDS else None
        said = result.json["error"]
        assert said["code"] == result.code
        assert all(said[key] for key in ("kind", "message", "hint")), (verb, words, said)
        assert f"error: {said['message'].splitlines()[0]}" in result.err


def test_an_answer_that_a_gate_or_a_torn_checkpoint_ends_is_a_whole_one(
    opsig: Opsig, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(case)
    (case / "run" / "step-000060.safetensors").write_bytes(b"torn")
    codes = {}
    for verb, words in (
        ("inspect", ("run",)),
        ("trace", ("run", "--fresh")),
        ("report", ("--fail-on", "trace.failed > 0", "--fail-on", "findings.count > 9")),
    ):
        result = opsig(verb, *words, "--json")
        require_fit(result, verb)
        codes[verb] = result.code
    assert codes == {"inspect": 4, "trace": 4, "report": 1}


def test_a_schema_is_printed_as_it_ships(opsig: Opsig) -> None:
    for name in ("report", "opsig/report"):
        assert opsig("schema", name).out == text_of("report")
    listed = opsig("schema").out
    assert all(f"{name}\n" in listed for name in names())
    assert opsig("schema", "reprot").code == 2


def test_a_number_that_is_none_fits_and_a_text_in_its_place_does_not() -> None:
    validator = jsonschema.Draft202012Validator(schema_of("metrics"))
    whole = {
        "schema": "opsig/metrics",
        "schema_version": 1,
        "opsig_version": "0",
        "inputs": {},
        "warnings": [],
    }
    validator.validate(whole | {"result": {"metrics": {}}})
    for result in ({}, {"metrics": {"a": 1}}, {"metrics": []}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(whole | {"result": result})
    assert json.loads(text_of("report"))["$defs"]["MetricValue"]["properties"]["value"]["type"] == [
        "number",
        "null",
    ]
