"""Tables of names, each with the place its code is imported from on first use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from opsigcli.errors import UsageError
from opsigcli.specs import Spec


@dataclass(frozen=True)
class Entry:
    """A name's target ``module:attribute``, one line that says what it is, and the form of specs that name it."""

    target: str
    summary: str  # the form of its specs up to the first ": ", where it has one
    bare: bool = False  # its specs are ``name?key=value``, without a scheme
    path: str = ""  # "folder" or "file": the name in ``scheme:name`` is the path of one

    def load(self) -> Any:
        """Import the target."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


class Registry:
    """Name to entry; an unknown name is an error that lists the closest ones.

    Args:
        noun: what the names stand for.
        entries: the names of opsig itself; they win over plug-ins.
        group: the entry points under which installed packages add names of their own.
        unlisted: names that can be loaded, but are not offered.
    """

    def __init__(
        self, noun: str, entries: dict[str, Entry], group: str = "", unlisted: dict[str, Entry] | None = None
    ) -> None:
        self.noun = noun
        self.entries = entries
        self.group = group
        self.unlisted = unlisted or {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def load(self, name: str) -> Any:
        """Import and return what ``name`` stands for.

        Raises:
            UsageError: the name is not in the table.
        """
        if name in self.entries:
            return self.entries[name].load()
        if name in self.unlisted:
            return self.unlisted[name].load()
        plugins = self.plugins()
        if name in plugins:
            return plugins[name].load()
        raise unknown(self.noun, name, [*self.entries, *plugins])

    def load_for(self, spec: Spec) -> Any:
        """Import and return what opens ``spec``: its scheme's entry, or that of its name where it has no scheme.

        Raises:
            UsageError: it is not in the table, or the spec has not the form of its entry. Plug-ins take both forms.
        """
        key = spec.scheme or spec.name
        if key.endswith(".py") and "file" in self.entries and key not in self.plugins():
            raise UsageError(
                f"expected a {self.noun}, found the file {key!r}",
                f"name what is in it: file:{spec if spec.scheme else f'{key}:FUNCTION'}",
            )
        found, entry = self.load(key), self.entries.get(key)
        if entry is not None and entry.bare == bool(spec.scheme):
            raise UsageError(
                f"expected {entry.summary.split(': ')[0]}, found {str(spec)!r}",
                f"{'leave out' if spec.scheme else 'add'} what follows '{key}:'",
            )
        return found

    def names_path(self, spec: Spec) -> bool:
        """Whether the name in ``spec`` is a path."""
        return spec.scheme in self.entries and bool(self.entries[spec.scheme].path)

    def plugins(self) -> dict[str, Entry]:
        """The names that installed packages add."""
        if not self.group:
            return {}
        return {
            point.name: Entry(
                point.value, f"from {point.dist.name if point.dist else 'an installed package'}"
            )
            for point in entry_points(group=self.group)
            if point.name not in self.entries
        }

    def forms(self) -> dict[str, str]:
        """What a spec begins with (``mlp``, ``torchvision:``) and its summary, for every name, plug-ins' too."""
        return {
            f"{name}:" if entry.summary.startswith(f"{name}:") else name: entry.summary
            for name, entry in (self.entries | self.plugins()).items()
        }


_ELSEWHERE = {  # what other tools call a thing, and what it is called here
    **dict.fromkeys(("normalize", "normalise", "norm", "normalization"), ("mean", "std")),
    **dict.fromkeys(("resize", "image_size", "img_size", "resolution"), ("size",)),
    **dict.fromkeys(("num_labels", "n_classes", "nb_classes", "classes"), ("num_classes",)),
    **dict.fromkeys(("max_length", "seq_len", "block_size", "max_seq_len"), ("context",)),
    **dict.fromkeys(("n", "max_samples", "subset", "num_samples"), ("limit",)),
}


def nearest(name: str, known: Iterable[str], count: int = 3, cutoff: float = 0.4) -> list[str]:
    """The up to ``count`` known names closest to ``name``, alike to ``cutoff`` of 1 or more."""
    return get_close_matches(name, list(known), n=count, cutoff=cutoff)


def did_you_mean(close: Iterable[str], otherwise: str) -> str:
    """The hint that offers these names, or ``otherwise`` where there are none."""
    names = " or ".join(close)
    return f"did you mean {names}?" if names else otherwise


def unknown(noun: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in a table."""
    names = list(known)
    every = ", ".join(names)
    meant = [ours for ours in _ELSEWHERE.get(name.casefold(), ()) if ours in names]
    hint = did_you_mean(map(repr, meant or nearest(name, names)), f"choose one of: {every}")
    return UsageError(f"unknown {noun} {name!r}; known: {every}", hint)
