"""JSON Schemas of the types of answers: ``python -m opsigcli.schemas.build`` writes the files again.

What a key means is the comment on its field, so that it is said once; of a record without a comment its docstring.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import re
import sys
import tokenize
import types
import typing
from dataclasses import is_dataclass
from functools import cache
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from opsigcli import (
    comparison_records,
    look_records,
    mining_records,
    records,
    result_records,
    sharpness_records,
    spike_records,
    training_records,
)
from opsigcli.outcome import SCHEMA_VERSION
from opsigcli.schemas import ENDING, FOLDER
from opsigcli.schemas.answers import ANSWERS, Inputs, Told

_NATS = re.compile(r"\bnats\b(?! per channel)")  # of losses; of statistics per channel they are what they are
NATS_OR = "nats or the loss's own unit"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_MODULES = (
    comparison_records,
    look_records,
    mining_records,
    records,
    result_records,
    sharpness_records,
    spike_records,
    training_records,
)
# What records import for type checkers alone; arrays are lists, and pictures are not answered.
_NAMES: dict[str, Any] = {"Ints": list[int], "Floats": list[float], "Bytes": list[Any], "Bools": list[bool]}
_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # null where it is not finite
    type(None): {"type": "null"},
    Any: {},
    mining_records.GroupKey: {"type": "string"},
}
WIDTH = 110
_SHAPE = re.compile(r"\((\w+,[\w, ]*)\)")


def document(name: str) -> dict[str, Any]:
    """The schema of what a command prints, where it succeeds and where it does not.

    Args:
        name: in ANSWERS, or ``error``: of any command's error.
    """
    defs: dict[str, Any] = {}
    error = {"description": _meaning(Told), **_schema(Told, defs)}
    properties: dict[str, Any] = {
        "schema": {"description": "what this is", "const": f"opsig/{name}"},
        "schema_version": {
            "description": "keys are added within one, and nothing else",
            "const": SCHEMA_VERSION,
        },
        "opsig_version": {"description": "that printed it", "type": "string"},
    }
    made = {"$schema": DRAFT, "$id": f"urn:opsig:{name}:{SCHEMA_VERSION}", "title": f"opsig/{name}"}
    if name == "error":
        properties["schema"] = {
            "description": "opsig/ and the command",
            "type": "string",
            "pattern": "^opsig/",
        }
        return {
            **made,
            "description": _meaning(Told),
            "type": "object",
            "properties": properties | {"error": error},
            "required": ["schema", "schema_version", "error"],
            "$defs": defs,
        }
    kind = ANSWERS[name]
    properties |= {
        "inputs": {"description": _meaning(Inputs), **_schema(Inputs, defs)},
        "result": {"description": _meaning(kind), **_schema(kind, defs)},
        "warnings": {"description": "in words", "type": "array", "items": {"type": "string"}},
        "error": error,
    }
    return {
        **made,
        "description": _meaning(kind),
        "type": "object",
        "properties": properties,
        "required": ["schema", "schema_version", "opsig_version"],
        "oneOf": [{"required": ["inputs", "result", "warnings"]}, {"required": ["error"]}],
        "$defs": dict(sorted(defs.items())),
    }


def _schema(kind: Any, defs: dict[str, Any]) -> dict[str, Any]:
    """The schema of values of a type; records go to ``defs``."""
    if kind in _SIMPLE:
        return dict(_SIMPLE[kind])
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is NotRequired:
        return _schema(arguments[0], defs)
    if origin in (Union, types.UnionType):
        return _any_of([_schema(each, defs) for each in arguments])
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (list, tuple):
        whole = origin is list or arguments[1:] == (Ellipsis,)
        if whole:
            return {"type": "array", "items": _schema(arguments[0], defs)}
        items = [_schema(each, defs) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], defs)}
    if kind.__name__ not in defs:
        defs[kind.__name__] = {}  # a record may hold others of its kind
        defs[kind.__name__] = _record(kind, defs)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _any_of(each: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema of several; of simple ones the types together."""
    if all(set(one) == {"type"} for one in each):
        kinds = [
            kind for one in each for kind in (one["type"] if isinstance(one["type"], list) else [one["type"]])
        ]
        return {"type": list(dict.fromkeys(kinds))}
    return {"anyOf": each}


def _record(kind: type, defs: dict[str, Any]) -> dict[str, Any]:
    """An object with a property for every field, each with its comment."""
    names = _namespace() | vars(sys.modules[kind.__module__]) | _NAMES
    hints = get_type_hints(kind, globalns=names, include_extras=True)
    said = comments(kind)
    fields = {}
    for name, hint in hints.items():
        words, made = _NATS.sub(NATS_OR, said.get(name) or _meaning(hint)), _schema(hint, defs)
        if made.get("type") == "array" and (shape := _SHAPE.match(words)):
            for _ in shape[1].strip(",").split(",")[1:]:  # (T, k) is a list of lists
                made = {"type": "array", "items": made}
        fields[name] = {"description": words, **made}
    total = is_dataclass(kind) or getattr(kind, "__total__", True)
    needed = [name for name, hint in hints.items() if total and get_origin(hint) is not NotRequired]
    return {"description": _meaning(kind), "type": "object", "properties": fields, "required": needed}


@cache
def _namespace() -> dict[str, Any]:
    return {name: value for module in _MODULES for name, value in vars(module).items()}


def _meaning(kind: Any) -> str:
    """The first sentence of the docstring of a record, or of the one that is within a type; "" where there is none."""
    if is_dataclass(kind) or is_typeddict(kind):
        text = inspect.getdoc(typing.cast("type", kind)) or ""
        return text.partition("\n\n")[0].replace("\n", " ").rstrip(".")
    return next((found for each in get_args(kind) if (found := _meaning(each))), "")


def comments(kind: type) -> dict[str, str]:
    """The comment on each field of a record, as its source has it."""
    source = inspect.getsource(kind)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    whole = {n for n, line in enumerate(source.splitlines(), start=1) if line.lstrip().startswith("#")}
    (tree,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            within = [n for n in range(node.lineno, (node.end_lineno or node.lineno) + 1) if n in lines]
            above = node.lineno - 1
            while above in whole:
                within.insert(0, above)
                above -= 1
            found[node.target.id] = " ".join(lines[n] for n in within)
    return found


def _written(value: Any, margin: str = "") -> str:
    """JSON in which what fits into a line stands in one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(margin + line) <= WIDTH or not isinstance(value, dict):
        return line
    inner = f"{margin} "
    parts = (f"{inner}{json.dumps(key)}: {_written(item, inner)}" for key, item in value.items())
    return "{\n" + ",\n".join(parts) + f"\n{margin}}}"


def documents() -> dict[str, str]:
    """File name -> schema, for every answer and for errors."""
    return {f"{name}{ENDING}": _written(document(name)) + "\n" for name in (*ANSWERS, "error")}


if __name__ == "__main__":
    for file, text in documents().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
