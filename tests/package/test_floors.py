"""The rooms keep to their floors: imports go down, never up, and never sideways between rooms of one floor."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import opsigcli

PACKAGE = Path(opsigcli.__file__).parent
GROUND = {
    *(
        "axis",
        "loss_unit",
        "errors",
        "cores",
        "options",
        "parameters",
        "command_line",
        "records",
        "examples",
        "sharpness_records",
        "training_records",
        "spike_records",
        "look_records",
        "doubt_records",
        "result_records",
        "mining_records",
        "comparison_records",
        "gate_records",
        "probe_records",
        "sentences",
        "mean_loss",
        "outcome",
        "registry",
        "specs",
        "state_dict",
        "progress",
        "query",
        "usercode",
        "trust",
        "given",
        "files",
        "printable",
        "pickles",
        "typed",
        "token_ids",
    ),
    "__init__",
}
MATERIALS = {"checkpoints", "datasets", "models", "optimizers", "objective", "store"}
INSTRUMENTS = {"derivatives", "curvature", "mining", "reporting", "gates", "schemas"}
BENCHES = {"runs", "tracing", "stability", "gradients", "comparison", "exporting", "recording"}
# What a room may import beside the ground and itself.
MAY_IMPORT: dict[str, set[str]] = {room: set() for room in MATERIALS | INSTRUMENTS} | {
    "derivatives": {"objective"},
    "gates": {"reporting", "mining"},
    "runs": MATERIALS,
    "tracing": MATERIALS | {"runs"},
    "stability": MATERIALS | {"runs", "derivatives", "curvature", "mining"},
    "exporting": {"store", "runs", "checkpoints", "reporting"},
    "recording": MATERIALS | {"runs"},
    "gradients": MATERIALS | {"runs", "derivatives", "curvature", "mining", "reporting"},
    "comparison": {"mining", "store"},
    "commands": MATERIALS | INSTRUMENTS | BENCHES,
    "cli": {"commands", "reporting", "gates", "schemas", "store"},
    "api": {"commands", "exporting", "mining", "reporting", "store"},
    "__init__": {"api", "recording"},  # for type checkers; in a running program by name, on first use
    "__main__": {"cli"},
}
STANDARD_ONLY = GROUND


def _room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Imported modules, and whether only for type checking."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, typing_only: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.body:
                visit(child, True)
            return
        if isinstance(node, ast.Import):
            found.extend((name.name, typing_only) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [name.name for name in node.names]
            if node.module == "opsigcli":
                found.extend((f"opsigcli.{name}", typing_only) for name in names)
            else:
                found.append((node.module or "", typing_only))
        for child in ast.iter_child_nodes(node):
            visit(child, typing_only)

    visit(ast.parse(path.read_text()), False)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_its_own_room_and_the_floors_below(path: Path) -> None:
    room = _room(path)
    allowed = GROUND | {"__version__", room} | MAY_IMPORT.get(room, set())
    for module, _ in _imports(path):
        if module.startswith("opsigcli."):
            target = module.split(".")[1]
            assert target in allowed, f"{room} imports {module}"


@pytest.mark.parametrize("name", sorted(STANDARD_ONLY))
def test_the_ground_needs_nothing_but_the_standard_library(name: str) -> None:
    files = [*(PACKAGE / name).glob("*.py")] or [PACKAGE / f"{name}.py"]
    for module, typing_only in (found for file in files for found in _imports(file)):
        top = module.split(".")[0]
        own = top == {"records": "numpy", "mean_loss": "numpy", "typed": "msgspec"}.get(name)
        assert typing_only or top in ("opsigcli", "__future__") or own or _is_standard(top), module


def _is_standard(name: str) -> bool:
    import sys

    return name in sys.stdlib_module_names


def test_every_room_is_named_in_the_map() -> None:
    rooms = {_room(path) for path in PACKAGE.rglob("*.py")} - GROUND - {"__main__"}
    assert rooms == MATERIALS | INSTRUMENTS | BENCHES | {"commands", "cli", "api"}


def test_files_are_short() -> None:
    long = {
        str(path): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert not long  # a file of two nouns is two files
