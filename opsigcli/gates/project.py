"""Gates of a project: ``opsig.toml``, or ``[tool.opsig]`` in ``pyproject.toml``.

Such a file comes with a cloned repository, so that it can say what fails and nothing else: it names no code, no store
and no model, and its baseline lies in its own folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from opsigcli.errors import UsageError
from opsigcli.files import read_file
from opsigcli.gates.condition import FAIL_ON, REQUIRE, read_condition
from opsigcli.gates.judge import Gate
from opsigcli.registry import did_you_mean, nearest

OWN, SHARED, TABLE = "opsig.toml", "pyproject.toml", "[tool.opsig]"
BASELINE = "baseline"
KEYS = (FAIL_ON, REQUIRE, BASELINE)
LARGEST = 1 << 20  # bytes


@dataclass(frozen=True)
class Project:
    """What a project says of its gates."""

    gates: tuple[Gate, ...] = ()
    baseline: Path | None = None


def read_project(folder: Path) -> Project:
    """The gates of the project that a folder is in: of the nearest file there, or above it in its repository.

    Raises:
        UsageError: the file is no TOML, has a key that is not known or a value of another type, names a baseline
            outside of its folder, or two files of one folder have gates.
    """
    for place in _places(folder):
        found = [
            (path, table) for path in (place / OWN, place / SHARED) if (table := _table(path)) is not None
        ]
        if len(found) > 1:
            raise UsageError(
                f"expected gates in {OWN} or in {TABLE} of {SHARED}, found both in {place}",
                "put them into one",
            )
        if found:
            return _project(*found[0])
    return Project()


def _places(folder: Path) -> Iterator[Path]:
    """The folder, and those above it up to the root of its repository; the folder alone where it is in none."""
    here = folder.resolve()
    above = [here, *here.parents]
    root = next((place for place in above if (place / ".git").exists()), here)
    yield from above[: above.index(root) + 1]


def _table(path: Path) -> Any:
    """What a file says of opsig; None where it says nothing, or is not there.

    Raises:
        UsageError: it cannot be read, or is no TOML.
    """
    try:
        data = tomllib.loads(read_file(path, LARGEST).decode())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}", "check that file and its mode"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"expected TOML in {path}: {error}", "repair it: it may hold gates") from error
    if path.name == OWN:
        return data
    tool = data.get("tool", {})
    return tool.get("opsig") if isinstance(tool, dict) else None


def _project(path: Path, table: Any) -> Project:
    name = f"{path} {TABLE}" if path.name == SHARED else str(path)
    if not isinstance(table, dict):
        raise UsageError(f"expected a table in {name}, found {type(table).__name__}", _example(path))
    for key in table:
        if key not in KEYS:
            known = f"known: {', '.join(KEYS)}"
            raise UsageError(
                f"expected {', '.join(KEYS[:-1])} or {KEYS[-1]} in {name}, found {key!r}",
                did_you_mean(nearest(key, KEYS, 1), known),
            )
    gates = []
    for sense in (FAIL_ON, REQUIRE):
        texts = table.get(sense, [])
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UsageError(f"expected a list of conditions for {sense} in {name}", _example(path))
        gates += [Gate(read_condition(text, sense), str(path)) for text in texts]
    return Project(tuple(gates), _baseline(path, name, table.get(BASELINE)))


def _baseline(path: Path, name: str, given: Any) -> Path | None:
    """The file of a baseline, which may not lie outside of the project, also not through a link.

    Raises:
        UsageError: it does, or is no name of a file.
    """
    if given is None:
        return None
    if not isinstance(given, str) or not given or "\0" in given:
        raise UsageError(
            f"expected the name of a file for {BASELINE} in {name}", f"example: {BASELINE} = 'old.json'"
        )
    root, place = path.parent.resolve(), PurePosixPath(given)
    try:
        inside = (root / given).resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # links that lead in a circle
        inside = False
    if place.is_absolute() or ".." in place.parts or not inside:
        raise UsageError(
            f"expected {BASELINE} in {name} to lie in {root}, found {given!r}",
            "name a file of the project, or give --baseline on the command line",
        )
    return root / given


def _example(path: Path) -> str:
    table = f"{TABLE} " if path.name == SHARED else ""
    return f"example: {table}{FAIL_ON} = ['sharpness.ratio.max > 1.2']"
