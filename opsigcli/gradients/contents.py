"""A number for the content of every example, by which the same example is known again in the store of another run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from opsigcli.examples import OWN_MEANS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from opsigcli.examples import ExampleSource
    from opsigcli.progress import Progress
    from opsigcli.records import Ints

PIECE = 256  # examples read at once


def contents(source: ExampleSource, progress: Progress, of: Ints | None = None) -> Ints:
    """64 bits of the BLAKE2 digest of each example's input and target, (N,), or of those at the positions ``of``.

    Pictures count as they are kept, before normalisation; labels by the names of their classes, whatever their order.

    Raises:
        DatasetError: an example cannot be read.
    """
    of = np.arange(len(source)) if of is None else of
    found = np.empty(len(of), dtype=np.int64)
    with progress.task("contents", len(of), "example") as task:
        for at in range(0, len(of), PIECE):
            positions = of[at : at + PIECE]
            inputs = _inputs(source, positions)
            targets = source.read_targets(positions)
            for place, (content, target) in enumerate(zip(inputs, targets, strict=True), start=at):
                found[place] = _number(*content, _target(source, target))
            task.advance(len(positions))
    return found


def _inputs(source: ExampleSource, positions: Ints) -> list[tuple[NDArray[Any], ...]]:
    """The arrays that each input is made of; of a token those up to it, in its sequence."""
    if source.sequences is not None:
        rows, places, columns = source.sequences.locate(positions)
        whole = source.sequences.whole.read(rows)
        return [
            (whole[place, : column + 1],)
            for place, column in zip(places.tolist(), columns.tolist(), strict=True)
        ]
    kept = source.pixels(positions)
    if kept is None and source.transform.get("standardize") in OWN_MEANS:
        pictures = [source.image(int(position)) for position in positions]
        if all(picture is not None for picture in pictures):
            return [(picture,) for picture in pictures if picture is not None]
    beside = [values[positions] for _, values in sorted(source.beside.items())]
    return list(zip(source.read(positions) if kept is None else kept, *beside, strict=True))


def _target(source: ExampleSource, target: Any) -> NDArray[Any]:
    label = np.asarray(target)
    named = label.ndim == 0 and label.dtype.kind == "i" and 0 <= int(label) < len(source.classes)
    return np.frombuffer(source.classes[int(label)].encode(errors="replace"), np.uint8) if named else label


def _number(*arrays: NDArray[Any]) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return int.from_bytes(digest.digest(), "little", signed=True)
