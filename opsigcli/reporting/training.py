"""What the run recorded of its training, beside what was traced: its log of the loss, and what the trace leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from opsigcli.axis import Axis
from opsigcli.printable import printable
from opsigcli.reporting.format import number, shorten
from opsigcli.reporting.tables import head, table_of
from opsigcli.training_records import AgainstLog, RecordedFact

if TYPE_CHECKING:
    from rich.console import RenderableType

    from opsigcli.look_records import Look
    from opsigcli.records import Case

TITLE = "Training beside the trace"
ROWS = 6  # checkpoints at which both losses are shown in a terminal
HTML_ROWS = 60
LONGEST = 240  # characters of a value


def training_facts(case: Case) -> list[RecordedFact]:
    """What is recorded of the training, and the steps that the weights made otherwise than the rule."""
    unlike = [
        (point.step, point.step_check)
        for point in case.sharpness
        if point.step_check is not None and point.step_check.verdict == "contradicted"
    ]
    facts = list(case.recorded_facts)
    if unlike:
        (step, check), more = unlike[0], len(unlike) - 1
        where = f"the weights at {case.run.axis.at(step)}" + (f" and at {more:,} more" if more else "")
        facts.append(RecordedFact("steps of another rule", "", where, check.reason))
    return facts


def training_words(
    log: AgainstLog | None, facts: Sequence[RecordedFact], look: Look | None = None
) -> tuple[str, ...]:
    """What a command says of it in passing; what is wrong is a warning, and not said here."""
    lines = [look.sentence] if look is not None else []
    if log is not None:
        lines += [log.words] if log.verdict in ("below", "alike") else []
        lines += [f"a log of the training loss is not read: {line}" for line in log.not_read]
    open_facts = [fact for fact in facts if not fact.matched]
    if open_facts:
        named = ", ".join(dict.fromkeys(fact.name for fact in open_facts))
        lines.append(f"training did what the trace does not ({named}): see opsig report")
    return tuple(lines)


def trace_warnings(log: AgainstLog | None, look: Look | None) -> tuple[str, ...]:
    """For commands that build on the trace: that its losses are not those the run logged, or its data not the run's."""
    off = log is not None and log.verdict in ("above", "below")
    logged = (f"{log.words}; see opsig report",) if log is not None and off else ()
    return (*(() if look is None else look.doubts), *logged)


def fact_lines(facts: Sequence[RecordedFact]) -> list[tuple[str, str]]:
    """Each fact as a heading and a sentence."""
    return [
        (heading(fact), remedy(fact) if fact.matched else f"{fact.effect}; {remedy(fact)}") for fact in facts
    ]


def heading(fact: RecordedFact) -> str:
    """The fact, and where it was found."""
    return " ".join(part for part in (fact.name, shorten(fact.value, LONGEST), f"({fact.found_in})") if part)


def remedy(fact: RecordedFact) -> str:
    """What to give for a trace that has it."""
    if fact.matched:
        return "matched: the trace has it too"
    if not fact.option:
        return "no option puts it into a trace"
    return f"give: {shorten(fact.option, LONGEST)}" + (
        " (whole with --json)" if len(fact.option) > LONGEST else ""
    )


def training_view(case: Case) -> dict[str, Any] | None:
    """The same for the HTML report; None where there is neither."""
    facts, log, look = training_facts(case), case.training_log, look_lines(case.look)
    if not facts and log is None and not look:
        return None
    losses = log_rows(log, HTML_ROWS) if log is not None and log.steps else []
    return {"title": TITLE, "facts": fact_lines(facts), "log": look + _log_lines(log), "losses": losses}


def render_training(case: Case) -> list[RenderableType]:
    """The log's verdict with some of its numbers, and a paragraph for each fact; [] where there is neither."""
    facts, log, look = training_facts(case), case.training_log, look_lines(case.look)
    if not facts and log is None and not look:
        return []
    shown: list[RenderableType] = [head(TITLE), *(Text(printable(line)) for line in look)]
    shown += _log(log, case.run.axis) if log is not None else []
    return shown + render_facts(facts)


def render_facts(facts: Sequence[RecordedFact]) -> list[RenderableType]:
    """A heading and a paragraph for each."""
    shown: list[RenderableType] = []
    for first, then in fact_lines(facts):
        shown += [Text(f"- {printable(first)}"), Padding(Text(printable(then), style="dim"), (0, 0, 0, 2))]
    return shown


def look_lines(look: Look | None) -> list[str]:
    """How the ends of the run do beside a guess, and what speaks against its data, as sentences."""
    if look is None:
        return []
    return [
        f"{line[:1].upper()}{line[1:]}."
        for line in (f"right answers and losses of {look.sentence}", *look.warnings)
    ]


def _log(log: AgainstLog, axis: Axis) -> list[RenderableType]:
    shown: list[RenderableType] = [Text(printable(line)) for line in _log_lines(log)]
    if log.steps:
        table = table_of(
            (axis.one, "right"), ("traced", "right"), ("logged", "right"), ("allowed apart", "right")
        )
        for row in log_rows(log, ROWS):
            table.add_row(*row)
        shown.append(table)
    return shown


def _log_lines(log: AgainstLog | None) -> list[str]:
    """What the comparison says, and which logs are not read, as sentences."""
    if log is None:
        return []
    said = [f"{log.words[:1].upper()}{log.words[1:]}."] if log.words else []
    return said + [f"Not read: {line}." for line in log.not_read]


def log_rows(log: AgainstLog, most: int) -> list[tuple[str, ...]]:
    """Step, traced loss, logged loss and what they may differ by, at some checkpoints, evenly spread."""
    last = len(log.steps) - 1
    rows = sorted({round(i * last / max(most - 1, 1)) for i in range(most)})
    numbers = (log.traced, log.logged, log.allowed)
    return [(f"{log.steps[i]:,}", *(number(column[i]) for column in numbers)) for i in rows]
