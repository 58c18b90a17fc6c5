"""What commands answer under ``--json``: types by the name of their schema. What is not finite is null."""

from __future__ import annotations

from typing import Any, TypedDict

from opsigcli.records import Run
from opsigcli.schemas.result_answers import (
    Compared,
    Export,
    Metrics,
    Mine,
    QuickSharpness,
    Report,
    Schema,
    Sharpness,
)
from opsigcli.schemas.run_answers import Init, Inspect, Plan, Store, Trace, Train


class Inputs(TypedDict, total=False):
    """What the command was called with."""

    store: str  # the case file
    stores: list[str]  # the case files, of several runs
    checkpoints: str  # folder or file
    order: str  # how checkpoints were put in order
    run: Run  # as options and manifest say
    options: dict[str, Any]  # every option by its name, as the help of the command has them


class Told(TypedDict):
    """What a command could not do."""

    code: int  # the exit status
    kind: str  # of the error
    message: str  # what was expected, what was found, where
    hint: str  # one thing to try; "" where there is none


ANSWERS: dict[str, type] = {
    "train": Train,
    "inspect": Inspect,
    "store": Store,
    "plan": Plan,
    "init": Init,
    "trace": Trace,
    "mine": Mine,
    "sharpness": Sharpness,
    "quick-sharpness": QuickSharpness,
    "report": Report,
    "comparison": Compared,
    "export": Export,
    "metrics": Metrics,
    "schema": Schema,
}
