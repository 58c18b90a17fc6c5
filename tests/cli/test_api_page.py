"""opsig-api(3) tells of everything that is public, by what it says of itself."""

from __future__ import annotations

import inspect

import opsigcli
from opsigcli.api.done import Mined
from opsigcli.cli.api_page import api_page, public
from opsigcli.options import COMMANDS


def test_every_public_name_has_a_section_that_begins_with_how_it_is_called() -> None:
    sections = dict(api_page().sections)
    assert {name for name, _ in public()} == set(opsigcli.__all__) - {"__version__"}
    for name in set(opsigcli.__all__) - {"__version__"}:
        call, said, *_ = sections[name]
        assert call.startswith(f"  {name}(")
        found = inspect.getdoc(getattr(opsigcli, name)) or ""
        assert said.split(",")[0][:30] in " ".join(found.replace("``", "").split()), name


def test_functions_refer_to_the_options_of_their_command() -> None:
    sections = dict(api_page().sections)
    for name in set(opsigcli.__all__) & set(COMMANDS):
        assert f"opsig-{name}(1)" in sections[name][-1]


def test_what_calls_return_is_told_with_its_members() -> None:
    told = dict(api_page().sections)["Mined"]
    members = [name for name, of in vars(Mined).items() if isinstance(of, property)]
    assert len(members) >= 3
    assert all(any(line.startswith(f"{name}: ") for line in told) for name in members)
