"""Stores that reach outside of themselves or beyond reason, by what HDF5 offers, and the words of each refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from store_case import N, T

from opsigcli.store import guard

SECRET = b"a line of a file of the user's, which no report may show\n" * 8
Change = Callable[[h5py.File, Path], None]


def _secret_store(folder: Path) -> Path:
    path = folder / "other.h5"
    with h5py.File(path, "w") as file:
        file["losses"] = np.zeros((T, N), dtype=np.float32)
        file.create_dataset("run", data=SECRET.decode(), dtype=h5py.string_dtype())
        file.create_group("provenance")
    return path


def _drop(file: h5py.File, name: str) -> None:
    del file[name]


def _external_link(name: str, target: str) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        _drop(file, name)
        file[name] = h5py.ExternalLink(str(_secret_store(folder)), target)

    return change


def _soft_link(file: h5py.File, folder: Path) -> None:
    file.move("losses", "elsewhere")
    file["losses"] = h5py.SoftLink("/elsewhere")


def _dangling_link(file: h5py.File, folder: Path) -> None:
    file["weights2"] = h5py.SoftLink("/nowhere")


def external_storage(file: h5py.File, folder: Path) -> None:
    (folder / "secret.txt").write_bytes(SECRET)
    _drop(file, "losses")
    file.create_dataset("losses", (T, N), "f4", external=[(str(folder / "secret.txt"), 0, T * N * 4)])


def _virtual_dataset(file: h5py.File, folder: Path) -> None:
    _drop(file, "losses")
    layout = h5py.VirtualLayout(shape=(T, N), dtype="f4")
    layout[:] = h5py.VirtualSource(str(_secret_store(folder)), "losses", shape=(T, N))
    file.create_virtual_dataset("losses", layout)


def _cycle(file: h5py.File, folder: Path) -> None:
    file["groups/again"] = file["groups"]


def _root_in_itself(file: h5py.File, folder: Path) -> None:
    file["more"] = file["/"]


def _second_name(file: h5py.File, folder: Path) -> None:
    _drop(file, "labels")
    file["labels"] = file["example_ids"]


def _named_type(file: h5py.File, folder: Path) -> None:
    file["kind"] = np.dtype("f4")


def _of_a_named_type(file: h5py.File, folder: Path) -> None:
    _named_type(file, folder)
    _drop(file, "losses")
    file.create_dataset("losses", (T, N), dtype=file["kind"])


def _references(kind: np.dtype) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        _drop(file, "steps")
        file.create_dataset("steps", (T,), dtype=kind)

    return change


def _compound(file: h5py.File, folder: Path) -> None:
    _drop(file, "steps")
    file["steps"] = np.zeros(T, dtype=[("a", "i8"), ("b", "i8")])


def _filter(number: int) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        _drop(file, "losses")
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((T, N))
        if number == h5py.h5z.FILTER_SHUFFLE:
            plan.set_shuffle()
        else:
            plan.set_filter(number, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((T, N))
        h5py.h5d.create(file.id, b"losses", h5py.h5t.IEEE_F32LE, space, plan)

    return change


def _sparse(file: h5py.File, folder: Path) -> None:
    """Terabytes that are declared and nowhere."""
    _drop(file, "losses")
    file.create_dataset("losses", (T, 1 << 40), "f4", chunks=(1, 1 << 20))


def _contiguous_and_nowhere(file: h5py.File, folder: Path) -> None:
    _drop(file, "losses")
    file.create_dataset("losses", (T, N), "f4")


def _missing_chunk(file: h5py.File, folder: Path) -> None:
    _drop(file, "losses")
    file.create_dataset("losses", (T, N), "f4", chunks=(1, N))[0] = 1


def _huge_chunk(file: h5py.File, folder: Path) -> None:
    _drop(file, "losses")
    file.create_dataset("losses", (T, N), "f4", maxshape=(None, None), chunks=(1 << 14, 1 << 12))


def _bomb(file: h5py.File, folder: Path) -> None:
    for name in ("images", "ids"):
        _drop(file, f"thumbnails/{name}")
    file["thumbnails/ids"] = np.arange(3)
    images = file.create_dataset("thumbnails/images", (3, 1 << 14, 1 << 13, 3), "u1", compression=9,
                                 chunks=(1, 1 << 11, 1 << 11, 3))  # fmt: skip
    images[0, : 1 << 11, : 1 << 11] = 1


def _deep(file: h5py.File, folder: Path) -> None:
    file.create_group("/".join("a" * 40))


def _many(file: h5py.File, folder: Path) -> None:
    for number in range(guard.MOST_OBJECTS + 1):
        file.create_group(f"groups/{number}")


HOSTILE: dict[str, tuple[Change, str]] = {
    "a group in another file": (_external_link("provenance", "/provenance"), "another file at provenance"),
    "a dataset in another file": (_external_link("losses", "/losses"), "another file at losses"),
    "a text in another file": (_external_link("run", "/run"), "another file at run"),
    "a device as another file": (
        lambda file, _: file.__setitem__("x", h5py.ExternalLink("/dev/zero", "/")), "another file at x"
    ),
    "a soft link": (_soft_link, "a soft link at losses"),
    "a soft link to nothing": (_dangling_link, "a soft link at weights2"),
    "values in another file": (external_storage, "the values of losses in the store"),
    "a virtual dataset": (_virtual_dataset, "the values of losses in the store"),
    "a group in itself": (_cycle, "groups/again under another name"),
    "the whole file in itself": (_root_in_itself, "more under another name"),
    "one dataset under two names": (_second_name, "under another name"),
    "a named type": (_named_type, "a named type at kind"),
    "values of a named type": (_of_a_named_type, "a named type"),
    "references to objects": (_references(h5py.ref_dtype), "numbers or texts in steps"),
    "references to regions": (_references(h5py.regionref_dtype), "numbers or texts in steps"),
    "compound values": (_compound, "numbers or texts in steps"),
    "a filter that may be a plugin": (_filter(32_001), "found filters [32001]"),
    "a filter that opsig does not use": (_filter(h5py.h5z.FILTER_SHUFFLE), "found filters [2]"),
    "values that are nowhere": (_contiguous_and_nowhere, "48 bytes of losses in the store, found them missing"),
    "terabytes that are nowhere": (_sparse, "chunks of losses"),
    "a chunk that is missing": (_missing_chunk, "expected 3 chunks of losses"),
    "chunks beyond reason": (_huge_chunk, "chunks of at most"),
    "pictures beyond reason": (_bomb, "bytes in thumbnails/images"),
    "groups without end": (_deep, "groups at most"),
    "groups beyond number": (_many, "at most 20,000"),
}  # fmt: skip
