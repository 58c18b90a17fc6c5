"""A report opens the file of its store a few times, however many examples and checkpoints it shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from benchmarks.store import content
from reporting_case import make_case, show

from opsigcli.commands.report import report
from opsigcli.exporting.groups import export_groups
from opsigcli.gradients.thumbnails import wanted_ids
from opsigcli.options import ReportOptions
from opsigcli.progress import NoProgress
from opsigcli.records import Case
from opsigcli.reporting.terminal import render_report
from opsigcli.store.reader import open_store
from opsigcli.store.writer import write_mining, write_trace

PAIRS = 3
SPIKE = 4  # opens: bottom and top, for groups and for names
HTML = (
    16 + 5 * PAIRS + SPIKE + 4
)  # opens: store, mean loss, group curves, top examples, curves of the explorer; losses and names of every group, and
# deltas at its strongest change, and of what a spike moved
TERMINAL = 3 + 2 * PAIRS + SPIKE
PICTURES = 2 * PAIRS


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for every time a store is opened."""
    seen: list[str] = []
    plainly = h5py.File.__init__

    def counted(self: h5py.File, name: object, *args: object, **options: object) -> None:
        if isinstance(name, str | Path):  # and not the handle of a file that is open
            seen.append(str(name))
        plainly(self, name, *args, **options)

    monkeypatch.setattr(h5py.File, "__init__", counted)
    return seen


def write(path: Path, checkpoints: int, examples: int) -> Case:
    """A store with several pairs, whose names and losses stay in the file."""
    case = make_case(checkpoints=checkpoints, examples=examples, pairs=PAIRS)
    assert case.mining is not None
    nearest = [
        replace(
            pair,
            first=replace(pair.first, nearest=int(pair.first.ids[0])),
            second=replace(pair.second, nearest=int(pair.second.ids[0])),
        )
        for pair in case.mining.pairs
    ]
    trace = replace(
        content(examples, checkpoints),
        rows=iter(case.trace.losses),
        example_ids=case.trace.example_ids,
        labels=case.trace.labels,
        names=case.trace.names,
    )
    write_trace(path, trace)
    mining = replace(case.mining, pairs=tuple(nearest), provenance=case.provenance["mine"])
    write_mining(path, mining, case.thumbnails)
    with open_store(path) as store:
        return store.case


@pytest.mark.parametrize("what", ["html", "terminal", "pictures", "export"])
def test_opens_are_few_and_as_many_for_a_larger_case(tmp_path: Path, opens: list[str], what: str) -> None:
    found = []
    for checkpoints, examples in ((41, 60), (90, 400)):
        path = tmp_path / f"{examples}.h5"
        case = write(path, checkpoints, examples)
        assert case.mining is not None
        opens.clear()
        if what == "html":
            report(
                ReportOptions(html=True, output=tmp_path / "r.html", thumbnails=24, store=path), NoProgress()
            )
        elif what == "terminal":
            show(render_report(report(ReportOptions(full=True, store=path), NoProgress()).view))
        elif what == "pictures":
            wanted_ids(case.mining, case.trace)
        else:
            export_groups(tmp_path / "groups.csv", case.mining, case.trace, ("a", "b", "c"))
        found.append(len(opens))
    assert found[0] == found[1]
    assert (
        0 < found[0] <= {"html": HTML, "terminal": TERMINAL, "pictures": PICTURES, "export": 2 * PAIRS}[what]
    )
