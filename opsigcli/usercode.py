"""Code that the user names: ``py:pkg.mod:factory`` and ``file:path.py:factory``.

Loading such a spec runs code, so commands ask ``opsigcli.trust`` first when the user did not type the spec.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import replace
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from opsigcli.errors import OpsigError, UsageError, raise_lost_signal
from opsigcli.registry import did_you_mean, nearest
from opsigcli.specs import Spec, parse


def absolute_path(text: str) -> str:
    """``text`` as an absolute path that a spec can hold, so that the spec works from any folder.

    Raises:
        UsageError: the path has a ``?``, with which the options of a spec begin; or it is none, or no text.
    """
    try:
        path = str(Path(text).expanduser().resolve())
        path.encode()
        os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # what is to be there says so itself, or is not there yet
    except (
        RuntimeError,
        ValueError,
        OSError,
    ) as problem:  # no such user, a loop of links, a NUL, no Unicode, too long
        reason = getattr(problem, "strerror", None) or problem
        raise UsageError(f"expected a path, found {text[:200]!r}: {reason}", "check the path") from problem
    if "?" in path:
        raise UsageError(
            f"a spec cannot hold the path {path!r}: '?' begins the options",
            "rename it, or use a symbolic link",
        )
    return path


def absolute_spec(spec_text: str) -> str:
    """The spec with the path of ``file:`` made absolute, also in a dataset's ``transform=``; others as they are.

    Raises:
        UsageError: the absolute path cannot stand in a spec.
    """
    spec = parse(spec_text)
    if spec.scheme == "file":
        path, attribute = _split(spec)
        spec = replace(spec, name=f"{absolute_path(path)}:{attribute}")
    transform = spec.options.get("transform")
    if isinstance(transform, str) and transform.startswith("file:"):
        inner = absolute_spec(transform)
        if any(mark in inner for mark in ",&"):
            raise UsageError(
                f"in {spec_text!r}: transform= cannot hold ',' or '&'",
                "rename the file or folder, or use a symbolic link",
            )
        spec = replace(spec, options=spec.options | {"transform": inner})
    return str(spec)


def load_factory(spec: Spec, error: type[OpsigError]) -> Callable[..., Any]:
    """The callable that a ``py:`` or ``file:`` spec names.

    ``py:`` imports with the current folder first on the import path, for the import alone; ``file:`` runs
    that one file and adds no folder.

    Raises:
        UsageError: the spec does not name a module and an attribute.
        OpsigError: (as ``error``) the code fails, is not there, or has no such callable.
    """
    place, attribute = _split(spec)
    with guarded(error, f"loading {str(spec)!r}", _hint(spec)), importable(spec):
        module = _from_file(place, error) if spec.scheme == "file" else importlib.import_module(place)
    try:
        found = reduce(getattr, attribute.split("."), module)
    except AttributeError:
        close = nearest(attribute, [name for name in vars(module) if not name.startswith("_")])
        where = getattr(module, "__file__", None) or "built in"
        raise error(
            f"expected {attribute!r} in module {place!r}; it is not there ({where})",
            did_you_mean(map(repr, close), "check the name after the last ':'"),
        ) from None
    if not callable(found):
        raise error(f"expected {str(spec)!r} to name a function or class; found {type(found).__name__}")
    return found


def call_factory(
    factory: Callable[..., Any], options: Mapping[str, Any], spec: Spec, error: type[OpsigError]
) -> Any:
    """``factory(**options)``, with the current folder importable as in :func:`load_factory`.

    Raises:
        UsageError: the options do not fit the factory's parameters.
        OpsigError: (as ``error``) the factory fails.
    """
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some compiled callables have none
        signature = None
    if signature is not None:
        try:
            signature.bind(**options)
        except TypeError as problem:
            raise UsageError(f"in {str(spec)!r}: {problem}", f"it takes {signature}") from None
    with guarded(error, f"calling {str(spec)!r}"), importable(spec):
        return factory(**options)


def parameters(factory: Callable[..., Any]) -> set[str]:
    """The names that ``factory`` takes as keywords."""
    try:
        found = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


@contextmanager
def guarded(error: type[OpsigError], doing: str, hint: str = "") -> Iterator[None]:
    """Run foreign code: what it prints goes to stderr, what it raises becomes ``error`` with its text and place."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except OpsigError:
        raise
    except (Exception, SystemExit) as problem:
        raise_lost_signal()
        raise error(f"{doing} failed: {describe(problem)}", hint) from problem


def describe(problem: BaseException) -> str:
    """The exception's kind, text and the last line of the user's own code that led to it."""
    here = f"{Path(__file__).parent}{os.sep}"
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if not f.filename.startswith("<frozen")]
    own = [f for f in frames if not f.filename.startswith(here)]
    user = [f for f in own if "site-packages" not in f.filename] or own
    where = f" ({user[-1].filename}:{user[-1].lineno}, in {user[-1].name})" if user else ""
    return f"{type(problem).__name__}: {problem}{where}"


def importable(spec: Spec) -> Any:
    """A context in which the current folder is first on the import path, for ``py:`` specs only."""
    return _current_folder_first() if spec.scheme == "py" else nullcontext()


@contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with suppress(ValueError):  # the code may have taken it away
            sys.path.remove(folder)


def _split(spec: Spec) -> tuple[str, str]:
    place, _, attribute = spec.name.rpartition(":")
    if not place or not attribute:
        form = "py:package.module:factory" if spec.scheme == "py" else "file:path.py:factory"
        raise UsageError(f"expected {form}, found {str(spec)!r}", "put ':' before the name of the factory")
    return place, attribute


def _from_file(place: str, error: type[OpsigError]) -> ModuleType:
    path = Path(absolute_path(place))
    if not path.is_file():
        raise error(f"expected a Python file at {path}; there is none", "check the path after 'file:'")
    # A name of its own, so that two files called net.py do not shadow each other or an installed module.
    name = f"opsig_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    plan = importlib.util.spec_from_file_location(name, path)
    if plan is None or plan.loader is None:
        raise error(f"expected a Python file (*.py), found {path}")
    module = importlib.util.module_from_spec(plan)
    sys.modules[name] = module  # dataclasses and typing look their module up there
    try:
        plan.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _hint(spec: Spec) -> str:
    if spec.scheme == "file":
        return "a file: spec imports installed packages only; use py: for code that imports its neighbours"
    return "run from the folder that holds the package, or install it, or use file:path.py:factory"
