"""The case as Markdown, for a comment on a change or the summary of a pipeline.

Texts from data can neither make markup, links, pictures or mentions, nor end the line they stand in.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from rich.console import Console

from opsigcli.printable import count, printable, without_home
from opsigcli.reporting.first_screen import held_together, spike_lines, stability
from opsigcli.reporting.format import NOTHING
from opsigcli.reporting.headline import headline
from opsigcli.reporting.terminal import loss_plot

if TYPE_CHECKING:
    from opsigcli.gate_records import GateResult, MetricValue
    from opsigcli.records import Case

WIDTH, ROWS = 80, 10  # of the plot, characters
_SPECIAL = re.compile(r"[\\`*_{}\[\]()!|~$^]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# A mark alone in an element is none of a mention, an issue or a list.
_MARKS = re.compile(r"[@#]|:(?=[:/])|(?<=:):|(?<=www)\.|^[-+=]", re.IGNORECASE)
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def escaped_text(text: str) -> str:
    """``text`` in one line of Markdown that shows it as it is."""
    shown = "".join(_ENTITIES.get(c, c) for c in printable(text).strip())
    shown = _SPECIAL.sub(lambda found: f"\\{found[0]}", shown)
    shown = _MARKS.sub(lambda found: f"<span>{found[0]}</span>", shown)
    return _NUMBERED.sub(r"\1<span>\2</span>", shown)


def render_markdown(
    case: Case,
    metrics: Mapping[str, MetricValue],
    gates: Sequence[GateResult],
    before: Mapping[str, float | None] | None,
) -> str:
    """The verdict, the gates, the numbers beside those of the baseline, and the loss.

    Args:
        case: what is reported.
        metrics: its numbers.
        gates: what came of the gates.
        before: the numbers of the baseline; None without one.
    """
    said = headline(case)
    lines = [f"## opsig: {escaped_text(said.title)}", ""]
    if gates:
        tripped = sum(gate.tripped for gate in gates)
        lines += [
            f"**{tripped} of {count(len(gates), 'gate')} tripped.**" if tripped else "**All gates passed.**",
            "",
        ]
        lines += _table(("", "gate", "found"), map(_gate, gates))
    together = held_together(case)
    lines += [f"- {escaped_text(line)}" for line in said.found]
    lines += [f"- {escaped_text(f'{together}.')}"] if together else []
    lines += [
        f"- {escaped_text(f'{line.span}, {line.rise}{case.run.loss_unit.after}, {line.strength}: {line.words}')}"
        for line in spike_lines(case)
    ]
    lines += [f"- {escaped_text(stability(case))}"]
    lines += [f"- {escaped_text(without_home(line))}" for line in said.missing] + [""]
    measured = {name: m for name, m in metrics.items() if m.value is not None}
    head = (
        ("metric", "value", "unit", "of") if before is None else ("metric", "value", "baseline", "unit", "of")
    )
    lines += ["<details><summary>numbers</summary>", ""]
    lines += _table(head, (_metric(name, value, before) for name, value in measured.items()))
    lines += ["</details>", "", "```text", *_plot(case), "```"]
    return "\n".join(lines) + "\n"


def figure_link(figure: Path) -> str:
    """A line that shows a figure beside the document, by its path from here, or its name alone where that is elsewhere.

    GitHub and others take SVG and ``data:`` out of Markdown, so that a picture can only be a file that is linked.
    """
    place = quote(
        (figure.name if figure.is_absolute() or ".." in figure.parts else figure.as_posix()), safe="/"
    )
    shown = "" if figure.suffix.lower() == ".pdf" else "!"
    return f"\n{shown}[mean loss, groups and stability ratio by step](./{place})\n"


def _gate(gate: GateResult) -> tuple[str, ...]:
    mark = "passed" if not gate.tripped else "**tripped**" if gate.measured else "**not measured**"
    return mark, escaped_text(f"{gate.sense}: {gate.condition}"), escaped_text(gate.words)


def _metric(name: str, found: MetricValue, before: Mapping[str, float | None] | None) -> tuple[str, ...]:
    old = () if before is None else (_number(before.get(name)),)
    return escaped_text(name), _number(found.value), *old, escaped_text(found.unit), escaped_text(found.words)


def _number(value: float | None) -> str:
    return NOTHING if value is None else escaped_text(f"{value:.6g}")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *body, ""]


def _plot(case: Case) -> list[str]:
    """The loss as text, which is no markup within its fence: it holds numbers and names of the axis alone."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, highlight=False)
    console.print(loss_plot(case.trace, case.spikes, ROWS))
    assert isinstance(console.file, io.StringIO)
    return [line.replace("`", "'").rstrip() for line in console.file.getvalue().rstrip().splitlines()]
