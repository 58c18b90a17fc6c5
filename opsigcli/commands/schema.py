"""``opsig schema``: the JSON Schema of what a command prints under ``--json``."""

from __future__ import annotations

from opsigcli.options import SchemaOptions
from opsigcli.outcome import Outcome
from opsigcli.progress import Progress
from opsigcli.schemas import names, schema_of, text_of


def schema(options: SchemaOptions, progress: Progress) -> Outcome:
    """Print a schema as it ships, or the names of all.

    Raises:
        UsageError: there is none of that name.
    """
    if options.name is None:
        listed = "".join(f"{name}\n    {schema_of(name)['description']}\n" for name in names())
        return Outcome("opsig/schema", inputs={}, result={"names": names()}, document=listed)
    result = {"names": names(), "schema": schema_of(options.name)}
    return Outcome("opsig/schema", inputs={}, result=result, document=text_of(options.name))
