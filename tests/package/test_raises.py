"""What a function raises its docstring says, and what a docstring says can be raised.

Static, over the whole package. A function reaches what it names: functions that its module defines or imports, methods
of its own class by ``self``, other methods by their name in the classes its module knows (by name, or as what a
function it imports returns), entries of a table by the table. So the second test misses a claim that another method
of the same name makes true, and refuses none that is true.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import opsigcli
from opsigcli import errors

PACKAGE = Path(opsigcli.__file__).parent
SECTION = re.compile(r"^Raises:\n((?:[ \t]+.*\n?|\n)+)", re.M)
UNSAID = (
    "AssertionError",
    "NotImplementedError",
    "StopIteration",
    "SystemExit",
)  # nobody has to expect these
TARGET = re.compile(r"^(opsigcli\.[\w.]+):(\w+)$")


@dataclass
class Function:
    """One function of the package."""

    where: str
    module: str
    owner: str  # the class it is a method of, or ""
    name: str
    documented: list[str]
    has_docstring: bool
    raised: set[str] = field(default_factory=set)  # by its own body, and not caught there
    handed: set[str] = field(default_factory=set)  # exception classes that it hands to what it calls
    abstract: bool = False  # nothing but a docstring: any class's method of that name may stand for it
    reached: set[str] = field(default_factory=set)  # names it could call


def documented(docstring: str) -> list[str]:
    """The exceptions of a ``Raises:`` section."""
    found = SECTION.search(docstring + "\n")
    lines = [line for line in found[1].splitlines() if line.strip()] if found else []
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    heads = [line.strip().partition(":")[0] for line in lines if len(line) - len(line.lstrip()) == margin]
    return [name.strip().rpartition(".")[2] for head in heads for name in head.split(",")]


def names_of(node: ast.expr | None) -> list[str]:
    """The exceptions, or functions that make exceptions, that an expression stands for."""
    match node:
        case ast.Tuple():
            return [name for item in node.elts for name in names_of(item)]
        case ast.IfExp():
            return [*names_of(node.body), *names_of(node.orelse)]
        case ast.BoolOp():
            return [name for item in node.values for name in names_of(item)]
        case ast.Call():
            return names_of(node.func)
        case ast.Attribute():
            return [node.attr]
        case ast.Name():
            return [node.id]
    return []


class Collector(ast.NodeVisitor):
    """What one function's body raises, and the names it reaches."""

    def __init__(self, function: Function, makers: dict[str, str]) -> None:
        self.function, self.makers = function, makers
        self.caught: list[list[str]] = []
        self.bound: dict[str, list[str]] = {}  # names that handlers give to what they caught

    def visit_Try(self, node: ast.Try) -> None:
        self.caught.append([n for h in node.handlers for n in (names_of(h.type) or ["BaseException"])])
        for child in node.body:
            self.visit(child)
        self.caught.pop()
        for handler in node.handlers:
            before = dict(self.bound)
            self.bound[""] = self.bound[handler.name or ""] = names_of(handler.type)
            for child in handler.body:
                self.visit(child)
            self.bound = before
        for child in (*node.orelse, *node.finalbody):
            self.visit(child)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self.function.raised  # a function within raises when it is called, which may be elsewhere
        self.function.raised = set()
        self.generic_visit(node)
        self.function.handed |= self.function.raised
        self.function.raised = outer

    def visit_Raise(self, node: ast.Raise) -> None:
        for name in names_of(node.exc) if node.exc else [""]:
            again = self.bound.get(name)
            if again is None and not any(
                catches(h, self.makers.get(name, name)) for hs in self.caught for h in hs
            ):
                self.function.raised.add(self.makers.get(name, name))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.function.handed |= {name for arg in node.args for name in names_of(arg) if exception(name)}
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self.function.reached.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        self.function.reached.add(f"self.{node.attr}" if own else node.attr)
        self.generic_visit(node)


def exception(name: str) -> type[BaseException] | None:
    """The class of that name in the package's errors or among the builtins."""
    found = getattr(errors, name, None) or getattr(builtins, name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def catches(handler: str, name: str) -> bool:
    """Whether a handler, or a documented class, covers an exception."""
    above, below = exception(handler), exception(name)
    return handler == name or (above is not None and below is not None and issubclass(below, above))


def defined(node: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions with the class they belong to; functions within functions are part of those."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield owner, child
        elif isinstance(child, ast.ClassDef):
            yield from defined(child, child.name)
        elif isinstance(child, ast.If):
            yield from defined(child, owner)


@dataclass
class Module:
    """What a file of the package defines, and which names of the package it knows."""

    tree: ast.Module
    functions: dict[str, list[Function]] = field(default_factory=dict)  # by name; of a class, what makes one
    methods: dict[str, dict[str, Function]] = field(default_factory=dict)  # class -> name -> method
    bases: dict[str, set[str]] = field(default_factory=dict)  # class -> names of what it derives from
    tables: dict[str, set[tuple[str, str]]] = field(default_factory=dict)  # name -> (module, attribute)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> (module, attribute or "")
    returned: dict[str, set[str]] = field(default_factory=dict)  # function -> names in what it returns


def imports(tree: ast.Module, modules: dict[str, Module]) -> dict[str, tuple[str, str]]:
    """What a module imports from the package, anywhere in it."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("opsigcli"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                place = (whole, "") if whole in modules else (node.module or "", alias.name)
                found[alias.asname or alias.name] = place
    return found


def entries(tree: ast.Module, dotted: str) -> dict[str, set[tuple[str, str]]]:
    """What the constants of a module name: functions, and targets ``module:attribute`` of tables."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            texts = [
                c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)
            ]
            targets = {(m[1], m[2]) for text in texts if (m := TARGET.match(text))}
            known = {(dotted, n.id) for n in ast.walk(node) if isinstance(n, ast.Name)}
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found[ast.unparse(target)] = targets | known
    return found


@cache
def modules() -> dict[str, Module]:
    """Every file of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("opsigcli", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = Module(ast.parse(path.read_text()))
    made = [node for module in found.values() for _, node in defined(module.tree) if names_of(node.returns)]
    makers = {node.name: name for node in made if exception(name := names_of(node.returns)[0])}
    for dotted, module in found.items():
        module.imported, module.tables = imports(module.tree, found), entries(module.tree, dotted)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                module.bases[node.name] = {name for base in node.bases for name in names_of(base)}
        for owner, node in defined(module.tree):
            docstring = ast.get_docstring(node) or ""
            place = f"{dotted.removeprefix('opsigcli.')}:{node.lineno} {owner and owner + '.'}{node.name}"
            function = Function(place, dotted, owner, node.name, documented(docstring), bool(docstring))
            function.abstract = bool(owner) and len(node.body) == 1 and bool(docstring)
            collector = Collector(function, makers)
            for child in node.body:
                collector.visit(child)
            if not owner:
                module.functions.setdefault(node.name, []).append(function)
            else:
                module.methods.setdefault(owner, {})[node.name] = function
            if node.name in ("__init__", "__post_init__", "__enter__", "__call__"):
                module.functions.setdefault(owner, []).append(function)
            words = (
                {n.id for n in ast.walk(node.returns) if isinstance(n, ast.Name)} if node.returns else set()
            )
            module.returned.setdefault(node.name, set()).update(words)
    for module in found.values():
        del module.tree  # millions of nodes, which every later collection of garbage would walk
    return found


@cache
def functions() -> list[Function]:
    """Every function and method of the package."""
    return [
        function
        for module in modules().values()
        for function in (
            *(f for found in module.functions.values() for f in found if not f.owner),
            *(f for methods in module.methods.values() for f in methods.values()),
        )
    ]


@cache
def at_places() -> dict[str, Function]:
    """Them by where they are."""
    return {function.where: function for function in functions()}


def named(dotted: str, name: str, depth: int = 0) -> list[Function]:
    """The functions that a name stands for in a module: its own, an imported one, a table's entries."""
    module = modules().get(dotted)
    if module is None or depth > 3:
        return []
    if name in module.functions:
        return module.functions[name]
    if name in module.tables:
        return [f for at, word in module.tables[name] if word != name for f in named(at, word, depth + 1)]
    at, attribute = module.imported.get(name, ("", ""))
    return named(at, attribute, depth + 1) if attribute else []


@cache
def classes(dotted: str) -> dict[str, dict[str, Function]]:
    """Classes a module knows: its own, imported ones, and those that imported functions return."""
    module = modules()[dotted]
    known = dict(module.methods)
    for at, attribute in module.imported.values():
        other = modules().get(at)
        if other is None:
            continue
        first = {attribute} if attribute else set(other.returned)
        first |= {word for _, word in other.tables.get(attribute, ())}  # what a table is an instance of
        for word in first | {w for name in first for w in other.returned.get(name, ())}:
            place, name = other.imported.get(word, (at, word))
            if place in modules() and name in modules()[place].methods:
                known[name] = modules()[place].methods[name]
    return known


@cache
def follow(place: str) -> list[Function]:
    """The functions that the function at a place may call."""
    function = at_places()[place]
    module, found = modules()[function.module], []
    own = module.methods.get(function.owner, {})
    for other in modules().values() if function.owner else ():
        derived = [name for name, bases in other.bases.items() if function.owner in bases]
        found += [
            other.methods[c][function.name] for c in derived if function.name in other.methods.get(c, {})
        ]
    if function.abstract:
        return [f for f in functions() if f.owner and f.name == function.name and f is not function]
    for reached in function.reached:
        name = reached.removeprefix("self.")
        if name != reached and name in own:
            found.append(own[name])
            continue
        found += named(function.module, name)
        found += [methods[name] for methods in classes(function.module).values() if name in methods]
        found += [f for at, attribute in module.imported.values() if not attribute for f in named(at, name)]
    return found


def reachable(start: Function) -> set[str]:
    """Every exception that a function, or one that it reaches, raises."""
    todo, seen, raised = [start], {id(start)}, set()
    while todo:
        function = todo.pop()
        raised |= function.raised | function.handed
        for other in follow(function.where):
            if id(other) not in seen:
                seen.add(id(other))
                todo.append(other)
    return raised


def test_what_a_function_raises_is_documented() -> None:
    unsaid: dict[str, list[str]] = {}
    for function in (f for f in functions() if f.raised and f.has_docstring):
        for name in function.raised:
            ours = name[:1].isupper() and name not in UNSAID  # others are variables
            if ours and not any(catches(d, name) for d in function.documented):
                unsaid.setdefault(function.where, []).append(name)
    assert not unsaid


def test_what_is_documented_can_be_raised() -> None:
    untrue: dict[str, list[str]] = {}
    for function in (f for f in functions() if f.documented):
        raised = reachable(function)
        for name in function.documented:
            ours = (kind := exception(name)) is None or issubclass(kind, errors.OpsigError)
            if ours and not any(catches(name, other) for other in raised):
                untrue.setdefault(function.where, []).append(name)
    assert not untrue


def test_a_claim_that_is_not_true_is_noticed_in_most_functions() -> None:
    claims = [name for name in dir(errors) if name.endswith("Error")]
    noticed = []
    for function in (f for f in functions() if f.documented):
        raised = reachable(function)
        untrue = [n for n in claims if not any(catches(d, n) or catches(n, d) for d in function.documented)]
        noticed += [not any(catches(name, other) for other in raised) for name in untrue]
    assert sum(noticed) > 0.8 * len(noticed) > 800
