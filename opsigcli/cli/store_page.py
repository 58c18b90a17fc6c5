"""The manual page of the store's format, made from the schema that stores are held against."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args, get_origin

from opsigcli.cli.topic import Topic, within_width
from opsigcli.store.schema import ATTRIBUTES, KEPT, LAYOUT, Part

_KINDS = {
    "JSON": "one text, in JSON",
    "text": "text, UTF-8",
    "bool": "true or false",
    "int": "whole numbers",
    "float": "numbers of 32 or 64 bits",
    "number": "numbers",
}


def _part(path: str, part: Part) -> str:
    lines = [f"  {path}"]
    shape = f", {part.shape}" if part.shape else ""
    always = "; always there" if part.always else ""
    lines.append(f"      {_KINDS.get(part.kind, part.kind)}{shape}{always}")
    lines.append(f"      {part.meaning}")
    if part.record is not None:
        lines.append(f"      {_record(part.record)}")
    return "\n".join(map(within_width, lines))


def _record(kind: Any) -> str:
    if get_origin(kind) is dict:
        return "an object of texts by name"
    record, *_ = get_args(kind) or (kind,)
    many = "a list of objects" if record is not kind else "an object"
    return f"{many} with {', '.join(field.name for field in fields(record))}"


def _attributes(of: str, names: dict[str, Any]) -> str:
    group = f"of the group {of}" if of else "of the file"
    lines = [f"  {group}", *(f"      {name}: {meaning}" for name, meaning in names.items())]
    return "\n".join(map(within_width, lines))


STORE_PAGE = Topic(
    "opsig-store",
    "the file that holds what is known of a run",
    (
        (
            "DESCRIPTION",
            (
                "opsig.h5 is a plain HDF5 file: h5py, h5dump, MATLAB, R and Julia read it. It holds groups and "
                "datasets alone: no links, no references, no values in other files, no filters that are plugins. "
                "Behind the end of the HDF5 file stands a seal, checksums of the bytes before it, which HDF5 passes "
                "over. opsig refuses a store that does not fit its seal or this page, so read it as you like, and "
                "write elsewhere.",
                "T is the number of checkpoints and N that of examples, one value in the whole file. Other letters "
                "have one value within their group; * is any length and ... any further axes. In a path # stands "
                "for a number and * for any name. Losses are in nats where they are log "
                "likelihoods (ce, nll, lm, bce), of others in their own unit, also where nats are said below; row t of "
                "a dataset (T, ...) is of the checkpoint steps[t], column i of one (..., N) of the example "
                "example_ids[i].",
                "  import h5py\n\n"
                '  with h5py.File("opsig.h5") as store:\n'
                '      steps, ids = store["steps"][:], store["example_ids"][:]\n'
                '      last = store["losses"][-1]  # of every example at the last checkpoint\n'
                '      one = store["losses"][:, 0]  # of one example at every checkpoint',
            ),
        ),
        (
            "DATASETS",
            tuple(_part(path, part) for path, part in LAYOUT.items() if not path.startswith(f"{KEPT}/")),
        ),
        (
            "OTHER RESULTS",
            (
                f"What a command found under other options lies in groups {KEPT}/#, from {KEPT}/0 on, each with the "
                "same names as in the root. The options of each are in its provenance.",
                "\n".join(f"  {path}" for path in LAYOUT if path.startswith(f"{KEPT}/")),
            ),
        ),
        ("ATTRIBUTES", tuple(_attributes(of, names) for of, names in ATTRIBUTES.items())),
        (
            "VERSIONS",
            (
                "format_version grows when something here changes its meaning. A newer opsig opens older stores; an "
                "older one refuses newer stores by name. Datasets that this page does not name are passed over, and "
                "so are names in objects of JSON that a version does not know.",
            ),
        ),
    ),
    section=5,
    related=("trace", "export", "inspect"),
)
