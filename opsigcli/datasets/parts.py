"""Which parts of an example of a map-style dataset are its input and its target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opsigcli.errors import DatasetError
from opsigcli.specs import Spec

OPTIONS = ("input", "target")
INPUTS = ("image", "img", "pixel_values", "input_ids", "x", "input", "inputs", "features", "data")
TARGETS = ("label", "labels", "target", "targets", "y", "fine_label", "mask")


@dataclass(frozen=True)
class Parts:
    """``input=`` and ``target=``: a key of a mapping (``batch.image`` of one within), or a place in a tuple; None = the
    usual one."""

    input: str | int | None = None
    target: str | int | None = None

    @classmethod
    def of_spec(cls, spec: Spec) -> Parts:
        """As a spec says."""
        first, second = (spec.options.get(name) for name in OPTIONS)
        return cls(
            *(part if isinstance(part, int) or part is None else str(part) for part in (first, second))
        )

    def of(self, found: Any, what: str) -> tuple[Any, Any]:
        """Input and target of one example.

        Raises:
            DatasetError: it has no such parts, or it cannot be told which they are.
        """
        if isinstance(found, Mapping):
            found = {str(key): value for key, value in found.items()} | self._within(found)
            keys = [str(key) for key in found]
            first = self._key(self.input, "input", keys, INPUTS, what)
            second = self._key(self.target, "target", keys, TARGETS, what)
            # What says something of tokens stands beside them in the mapping.
            return found if first == "input_ids" else found[first], found[second]
        if not isinstance(found, tuple | list) or (
            len(found) != 2 and (self.input is None or self.target is None)
        ):
            size = f" of length {len(found)}" if isinstance(found, tuple | list) else ""
            raise DatasetError(
                f"expected {what} to be a pair (input, target); found {type(found).__name__}{size}",
                "say which parts they are: add input=0&target=1 to --data, or other places"
                if size and len(found) > 2
                else "wrap the dataset so that dataset[i] returns (input, target)",
            )
        places = (self.input if self.input is not None else 0, self.target if self.target is not None else 1)
        for name, place in zip(OPTIONS, places, strict=True):
            if not isinstance(place, int) or not -len(found) <= place < len(found):
                raise DatasetError(
                    f"expected {what} to have a part {place!r}; found {type(found).__name__} of length {len(found)}",
                    f"let {name}= be a place from 0 to {len(found) - 1}",
                )
        return found[int(places[0])], found[int(places[1])]

    def _within(self, found: Mapping[Any, Any]) -> dict[str, Any]:
        """What the options name by keys with dots between them, in mappings within a mapping."""
        named = {}
        for asked in (self.input, self.target):
            value: Any = found
            for key in str(asked).split(".") if asked is not None and asked not in found else ():
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None and value is not found:
                named[str(asked)] = value
        return named

    def _key(
        self, asked: str | int | None, option: str, keys: list[str], usual: tuple[str, ...], what: str
    ) -> str:
        if asked is not None and str(asked) in keys:
            return str(asked)
        fitting = [name for name in usual if name in keys] if asked is None else []
        if len(fitting) == 1:
            return fitting[0]
        told = (
            f"has no {asked!r}"
            if asked is not None
            else f"has {len(fitting) or 'no'} usual names of the {option}"
        )
        raise DatasetError(
            f"expected {what} to name its {option}; it {told}, and has {', '.join(keys)}",
            f"add {option}=NAME to --data",
        )


PAIR = Parts()  # the usual ones
