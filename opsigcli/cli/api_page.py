"""The page of the Python interface, ``opsig-api(3)``, made of the docstrings without importing what they are of."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import opsigcli
from opsigcli.cli.topic import Topic, within_width
from opsigcli.options import COMMANDS

_Def = ast.FunctionDef | ast.ClassDef
# What calls return, beside the names that are public by themselves.
RESULTS = ("opsigcli.api.done", "opsigcli.api.found", "opsigcli.api.matrix")


def api_page() -> Topic:
    """A section for each public name, for what calls return, and what stays."""
    return Topic(
        "opsig-api",
        "opsig in a Python program",
        (
            (
                "USE",
                (
                    "import opsigcli as opsig brings neither torch nor NumPy; names are imported on first use. Nothing "
                    "is printed: calls return what they did, and errors are OpsigError with a message and a hint.",
                    "The functions take the options of the command of their name (--batch-size 64 is batch_size=64), "
                    "with the same defaults and the same checks. model and data also take an nn.Module and a map-style "
                    "Dataset.",
                    "The names here, their options, and the fields that --json prints change only with a new minor "
                    "version, and what goes is named in the changelog a version ahead.",
                ),
            ),
            *((name, tuple(_told(name, definition))) for name, definition in public()),
            *((of.name, tuple(_told(of.name, of))) for module in RESULTS for of in _classes(module)),
        ),
        section=3,
        related=("trace", "mine", "sharpness", "report", "export", "train"),
    )


def public() -> Iterator[tuple[str, _Def]]:
    """The public names with their definitions, but for ``__version__``, which is a text."""
    for name in opsigcli.__all__:
        if place := opsigcli.PLACES.get(name):
            yield name, next(of for of in _definitions(place) if of.name == name)


def _definitions(module: str) -> list[_Def]:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return [of for of in ast.parse(Path(spec.origin).read_text()).body if isinstance(of, _Def)]


def _classes(module: str) -> list[ast.ClassDef]:
    return [of for of in _definitions(module) if isinstance(of, ast.ClassDef) and of.name[0] != "_"]


def _told(name: str, definition: _Def) -> Iterator[str]:
    """The paragraphs of a name: how it is called, what it says of itself, and of a class its members."""
    if isinstance(definition, ast.FunctionDef):
        yield within_width(f"  {_call(name, definition)}")
        yield from _paragraphs(definition)
        if name in COMMANDS:
            yield f"Options by name: those of opsig {name}, which opsig-{name}(1) describes, and progress."
        return
    members = [of for of in definition.body if isinstance(of, ast.FunctionDef)]
    made = next((of for of in members if of.name == "__init__"), None)
    if made is not None:
        yield within_width(f"  {_call(name, made)}")
    yield from _paragraphs(definition)
    for of in members:
        if of.name[0] != "_" and (said := ast.get_docstring(of)):
            called = of.name if _is_property(of) else _call(of.name, of)
            summary = " ".join(said.split("\n\n")[0].replace("``", "").split())
            yield f"{called}: {summary}"


def _is_property(of: ast.FunctionDef) -> bool:
    return any(isinstance(by, ast.Name) and by.id == "property" for by in of.decorator_list)


def _call(name: str, of: ast.FunctionDef) -> str:
    """How it is called, without types and without the object itself."""
    names = [argument for argument in of.args.args if argument.arg != "self"]
    first = len(names) - len(of.args.defaults)
    words = [
        n.arg if i < first else f"{n.arg}={ast.unparse(of.args.defaults[i - first])}"
        for i, n in enumerate(names)
    ]
    if of.args.vararg:
        words.append(f"*{of.args.vararg.arg}")
    elif of.args.kwonlyargs:
        words.append("*")
    for argument, default in zip(of.args.kwonlyargs, of.args.kw_defaults, strict=True):
        words.append(argument.arg if default is None else f"{argument.arg}={ast.unparse(default)}")
    if of.args.kwarg:
        words.append(f"**{of.args.kwarg.arg}")
    return f"{name}({', '.join(words)})"


def _paragraphs(definition: _Def) -> Iterator[str]:
    """Those of a docstring; what is indented, and examples, as they are."""
    for part in (ast.get_docstring(definition) or "").split("\n\n"):
        lines = part.splitlines()
        if lines and lines[0] in ("Args:", "Raises:", "Attributes:", "Returns:"):
            plain = textwrap.dedent("\n".join(lines[1:])).replace("``", "")
            told = [line if line[0] != " " else f" {line.strip()}" for line in plain.splitlines()]
            joined = "\n".join(told).replace("\n ", " ").splitlines()  # what a name means, in one line again
            yield "\n".join([f"  {lines[0]}", *(within_width(f"      {line}") for line in joined)])
        elif any(line.startswith((" ", ">>>")) for line in lines):
            yield "\n".join(f"  {line}" for line in lines)
        elif part:
            yield " ".join(part.replace("``", "").replace("::", ":").split())
