"""A case for TensorBoard: mean loss and sharpness by step, the pairs with their pictures, and the spikes in words."""

from __future__ import annotations

import html
import time
from pathlib import Path
from typing import BinaryIO

from opsigcli.exporting.event_file import EventFile
from opsigcli.exporting.logs import Log, refused, scalars
from opsigcli.records import Case
from opsigcli.reporting.findings import by_standing
from opsigcli.reporting.pictures import png
from opsigcli.store.beside import cannot_write, write_file

# Of one name: what was written before is replaced, and not shown twice.
FILE = "events.out.tfevents.0000000000.opsig"


def log_to_folder(place: str) -> Log:
    """What writes a case into the folder of ``tensorboard:DIR``.

    Raises:
        UsageError: no folder is named.
    """
    if not place:
        raise refused("tensorboard:")

    def log(case: Case) -> str:
        folder = Path(place)
        return f"wrote {log_case(case, folder)}; look at it with: tensorboard --logdir {folder}"

    return log


def log_case(case: Case, folder: Path) -> Path:
    """Write a case into a folder of logs; returns the file.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error

    def fill(file: BinaryIO) -> None:
        events = EventFile(file, time.time())
        for tag, step, value in scalars(case):
            events.scalar(tag, step, value)
        _pairs(case, events)
        for number, spike in enumerate(case.spikes, 1):
            words = spike.cause.words if spike.cause else ""
            between = case.run.axis.between(spike.step, spike.next_step)
            events.text(
                f"spikes/{number}",
                spike.next_step,
                _safe(f"{between}, +{spike.rise:.4g}{case.run.loss_unit.after}. {words}"),
            )

    write_file(folder / FILE, fill)
    return folder / FILE


def _pairs(case: Case, events: EventFile) -> None:
    if case.mining is None:
        return
    means = case.thumbnails.means if case.thumbnails else ()
    for standing, pairs in by_standing(case.mining).items():
        for number, pair in pairs:
            rows = [
                f"| {side} | {len(group.ids)} | {_safe(', '.join(f'{n} {c}' for n, c in group.labels.items()))} | "
                f"{', '.join(map(case.trace.naming.id, group.ids[:20].tolist()))} |"
                for side, group in pair.groups.items()
            ]
            head = f"**{_safe(pair.verdict)}** ({_safe(standing)}), opposition {pair.opposition.value:.3g}"
            table = "\n".join(["| group | examples | labels | ids |", "|---|---|---|---|", *rows])
            events.text(f"pairs/{number}", pair.strongest_step, f"{head}\n\n{table}")
            for name, image in zip(
                ("first", "second", "difference"), means[3 * number - 3 : 3 * number], strict=False
            ):
                height, width, _ = image.shape
                events.picture(f"pairs/{number}/{name}", pair.strongest_step, png(image), height, width)


def _safe(text: str) -> str:
    """Words from data, which are neither markup nor the end of a cell."""
    return (
        html.escape(" ".join(text.split())).replace("|", "&#124;").replace("[", "&#91;").replace("`", "&#96;")
    )
