"""What ``--dry-run`` tells of a command: units of work, bytes, and seconds from operation counts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from opsigcli.examples import ExampleSource
from opsigcli.records import Run
from opsigcli.runs.build_objective import build_module
from opsigcli.runs.device import pick_device

LAUNCH = 2e-5  # seconds that a layer of a batch takes, however small it is
_SECONDS = 0.1  # spent on finding out how fast this machine multiplies


def plan_lines(result: dict[str, Any], what: str, store: Path) -> tuple[str, ...]:
    """What a plan says in the terminal: what would be done, its units, bytes and seconds."""
    seconds = result["estimated_seconds"]
    duration = "time not known" if seconds is None else f"{_duration(seconds)} (from operation counts)"
    return (
        f"dry run: {what}",
        f"{result['units']} units of work; reads {_bytes(result['bytes_to_read'])}, "
        f"writes about {_bytes(result['bytes_to_write'])} to {store}; {duration}",
        "nothing was written",
    )


def estimated_seconds(
    run: Run, source: ExampleSource, passes: int, device: str, batch_size: int
) -> float | None:
    """Time of forward passes of one example each: operations counted on the meta device, over this machine's rate."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with torch.device("meta"):
            model = build_module(run.model, source).eval()
            inputs = torch.empty(1, *source.input_shape)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.to("meta")(inputs)
    except Exception:  # whatever a model that needs values raises: then the time is not known
        return None
    calls = passes / batch_size * len(list(model.modules())) * LAUNCH
    return passes * int(counter.get_total_flops()) / _rate(device) + calls


def _rate(device: str) -> float:
    """Operations per second of this machine in float32, by a product of matrices."""
    import torch

    place = pick_device(device)
    matrix = torch.ones(512, 512, device=place)
    done, begin = 0, time.perf_counter()
    while done < 3 or time.perf_counter() - begin < _SECONDS:
        float((matrix @ matrix)[0, 0])
        done += 1
    return done * 2 * 512**3 / (time.perf_counter() - begin)


def _duration(seconds: float) -> str:
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min"), (float("inf"), 3600, "h")):
        if seconds < limit:
            return f"about {seconds / unit:.1f} {word}" if seconds >= 0.1 else "less than 0.1 s"
    return ""


def _bytes(count: int) -> str:
    size = float(count)
    for word in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {word}"
        size /= 1000
    return f"{size:.3g} TB"
