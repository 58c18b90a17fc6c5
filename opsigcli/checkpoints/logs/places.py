"""Where the log of a run lies, seen from its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from opsigcli.checkpoints.logs.loss_name import OTHER_DATA, TRAIN, words
from opsigcli.checkpoints.names import natural

Files = tuple[tuple[Path, str], ...]  # of one log, with what goes before the names in each
BELOW = (
    "runs",
    "logs",
    "log",
    "tensorboard",
    "tb",
    "tb_logs",
    "events",
    "summaries",
)  # folders of event files
DEPTHS = ("*tfevents*", "*/*tfevents*", "*/*/*tfevents*")
MOST = 2000  # entries that are looked at in one place


def places(folder: Path) -> Iterator[list[Files]]:
    """Logs that may be that of the checkpoints in ``folder``, the nearest first; those of a list are of one kind.

    ``trainer_state.json`` of the last checkpoint folder; then, in the folder and in the one above it, tables
    (``*.csv``, ``*.jsonl``), event files there or below ``runs``, ``logs`` and the like, and runs in ``wandb``.
    """
    states = _glob(folder, "*/trainer_state.json")
    states = sorted(states, key=lambda path: natural(path.parent.name), reverse=True)
    for state in (*states, folder / "trainer_state.json"):
        if state.is_file():
            yield [((state, ""),)]
    whole = folder.resolve()
    for around in (folder, whole.parent):
        yield [((path, ""),) for pattern in ("*.csv", "*.jsonl") for path in sorted(_glob(around, pattern))]
        yield _own(_event_logs(around, around == folder), whole)
        yield _own(_wandb_runs(around), whole)
    yield _wandb_by_id(whole)


def wandb_logs(folder: Path) -> list[Files]:
    """W&B runs that may be that of the checkpoints in ``folder``."""
    whole = folder.resolve()
    near = [_own(_wandb_runs(around), whole) for around in (folder, whole.parent)]
    return next((logs for logs in near if logs), _wandb_by_id(whole))


def _wandb_by_id(folder: Path) -> list[Files]:
    """The W&B run whose id is in the folder's path: Lightning keeps its checkpoints in PROJECT/ID/checkpoints."""
    return [log for around in folder.parents[1:4] for log in _wandb_runs(around) if _names(log, folder)]


def _event_logs(around: Path, inside: bool) -> list[Files]:
    """Event files by the run that wrote them: those of one folder, with folders of ``train`` and ``val`` below it."""
    below = [around / name for name in BELOW]
    found = [path for pattern in DEPTHS for place in below for path in _glob(place, pattern)]
    # Folders beside that of the checkpoints are other runs.
    found += [path for pattern in (DEPTHS[:2] if inside else DEPTHS[:1]) for path in _glob(around, pattern)]
    runs: dict[Path, list[tuple[Path, str]]] = {}
    for path in sorted(set(found), key=lambda path: natural(str(path))):
        part = path.parent
        if part != around and set(words(part.name)) & (OTHER_DATA | TRAIN):
            runs.setdefault(part.parent, []).append((path, f"{part.name}/"))
        else:
            runs.setdefault(part, []).append((path, ""))
    return [tuple(files) for files in runs.values()]


def _wandb_runs(around: Path) -> list[Files]:
    """Files of W&B runs by the run's id; one that was continued has several."""
    runs: dict[str, list[tuple[Path, str]]] = {}
    for path in sorted(_glob(around, "wandb/*run-*/run-*.wandb")):
        runs.setdefault(path.name, []).append((path, ""))
    return [tuple(files) for files in runs.values()]


def _own(logs: list[Files], folder: Path) -> list[Files]:
    """The logs that bear the name of the folder of checkpoints, where there are some; else all."""
    return [log for log in logs if _names(log, folder)] or logs


def _names(log: Files, folder: Path) -> bool:
    path = log[0][0]
    own = {path.parent.name, path.stem.removeprefix("run-")}
    return bool(own & {folder.name, folder.parent.name})


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return [path for path in islice(folder.glob(pattern), MOST) if path.is_file()]
    except OSError:
        return []
