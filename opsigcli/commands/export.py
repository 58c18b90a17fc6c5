"""``opsig export``: losses, loss deltas, sharpness, pairs or examples as a table for other programs."""

from __future__ import annotations

from pathlib import Path

from opsigcli.errors import UsageError
from opsigcli.exporting import BINARY, FORMATS, TABLES
from opsigcli.exporting.chosen import chosen_positions, chosen_rows
from opsigcli.exporting.matrices import Chosen
from opsigcli.options import ExportOptions
from opsigcli.outcome import Outcome
from opsigcli.printable import count
from opsigcli.progress import Progress
from opsigcli.store.beside import keep_stores, write_file
from opsigcli.store.reader import open_store
from opsigcli.store.streams import STDOUT, refuse_on_terminal


def export(options: ExportOptions, progress: Progress) -> Outcome:
    """Write a table of a store, block by block: what is in memory does not grow with it.

    Raises:
        UsageError: no such table or format, the store has no such checkpoints or examples, FILE is a store, or a
            terminal, which shows text alone.
        StoreError: there is no readable store, it lacks what is asked for, or the file cannot be written.
    """
    table_of, format_name = TABLES.load(options.what), _format(options)
    write = FORMATS.load(format_name)
    if options.examples is not None and options.what == "sharpness":
        raise UsageError("sharpness is of all examples together", "leave out --examples")
    if options.steps is not None and options.what == "pairs":
        raise UsageError("pairs are of the whole run", "leave out --steps")
    output = options.output or Path(f"opsig-{options.what}.{format_name}")
    if format_name in BINARY:
        refuse_on_terminal(output, format_name)
    keep_stores(output)
    with open_store(options.store) as store:
        trace = store.trace
        chosen = Chosen(
            store,
            chosen_rows(trace.steps, options.steps),
            chosen_positions(trace, options.examples, options.store),
        )
        table = table_of(chosen)
        write_file(output, lambda file: write(table, file), forward=True)
    written = f"{count(table.rows, 'row')} of {count(len(table.names), 'column')}"
    return Outcome(
        schema="opsig/export",
        inputs={
            "store": str(options.store),
            "options": {"steps": options.steps, "examples": options.examples},
        },
        result={
            "what": options.what,
            "format": format_name,
            "file": str(output),
            "rows": table.rows,
            "columns": table.names,
        },
        messages=(f"wrote {written} to {'standard output' if output == STDOUT else output}",),
    )


def _format(options: ExportOptions) -> str:
    """The name of the format that is asked for, by itself or by the ending of the file."""
    if options.format is not None:
        return options.format
    ending = "" if options.output is None else options.output.suffix.lower().removeprefix(".")
    return ending if ending in FORMATS else "csv"
