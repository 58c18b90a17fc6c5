"""Records that a command found, as a sequence that can be a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from opsigcli.mining_records import Evidence, Group

if TYPE_CHECKING:
    import pandas

R = TypeVar("R")


class Found(Sequence[R], Generic[R]):
    """A tuple of records.

    Args:
        records: in order.
    """

    def __init__(self, records: Sequence[R]) -> None:
        self._records = tuple(records)

    @overload
    def __getitem__(self, index: int) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> Found[R]: ...

    def __getitem__(self, index: int | slice) -> R | Found[R]:
        found = self._records[index]
        return Found(found) if isinstance(found, tuple) and isinstance(index, slice) else found  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[R]:
        return iter(self._records)

    def __repr__(self) -> str:
        return f"Found({list(self._records)!r})"

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Found | tuple | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # records hold arrays

    def to_pandas(self) -> pandas.DataFrame:
        """A row per record: its values, of an evidence value, null and p, of a group its size. Needs pandas."""
        import pandas

        return pandas.DataFrame([flat(record) for record in self._records])


def flat(record: Any) -> dict[str, Any]:
    """A record as values by name."""
    found: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Evidence):
            found |= _evidence(field.name, value)
        elif isinstance(value, Group):
            found[f"{field.name}_size"] = len(value.ids)
        elif isinstance(value, dict):
            for name, entry in value.items():
                found |= _evidence(str(name), entry) if isinstance(entry, Evidence) else {str(name): entry}
        elif not is_dataclass(value) and not (isinstance(value, tuple) and any(map(is_dataclass, value))):
            found[field.name] = value
    return found


def _evidence(name: str, entry: Evidence) -> dict[str, Any]:
    return {name: entry.value, f"{name}_null": entry.null, f"{name}_p": entry.p_value}
