"""The page on how opsig is built names what is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "opsigcli" / "README.md").read_text()


def test_every_file_and_folder_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:\w+/)+[\w.]+)`", PAGE))
    assert len(named) > 25
    places = [(ROOT, ""), (ROOT / "opsigcli", ""), (ROOT / "opsigcli", ".py")]
    templates = {name for name in named if re.search(r"/(NAME|RULE)\.py$", name)}
    assert not {
        n for n in named - templates if not any((at / (n + suffix)).exists() for at, suffix in places)
    }


def test_every_table_has_the_suite_that_the_page_names() -> None:
    rows = re.findall(r"`(\S+\.py)` `([A-Z]+)`.*\| `(tests/\S+)` \|", PAGE)
    assert len(rows) == 13
    for place, table, suite in rows:
        assert re.search(rf"^{table}\b", (ROOT / "opsigcli" / place).read_text(), re.M)
        assert re.search(rf"\b{table}\b", (ROOT / suite).read_text()), (suite, table)


def test_the_page_names_every_room() -> None:
    rooms = {path.parent.name for path in (ROOT / "opsigcli").glob("*/__init__.py")}
    assert not {room for room in rooms if not re.search(rf"^(\d  |   ){room}\b", PAGE, re.M)}
