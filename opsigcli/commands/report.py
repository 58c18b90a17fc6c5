"""``opsig report``: the whole case, from the store alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsigcli.command_line import command
from opsigcli.commands.planted_recovery import tell_known_pairs
from opsigcli.comparison.compare import compare_stores
from opsigcli.errors import ExitCode, ReportError, UsageError
from opsigcli.exporting.logs import log_of
from opsigcli.gates.asked import asked, require_gates, unheld
from opsigcli.gates.baseline import Baseline, likeness_of, read_baseline
from opsigcli.gates.hold import add_to_summary, hold
from opsigcli.gates.junit import junit
from opsigcli.gates.metrics import METRICS, listing, measure, values_of
from opsigcli.gates.project import read_project
from opsigcli.mining.causes.attribute import with_causes
from opsigcli.mining.evidence import DEFINITIONS
from opsigcli.mining_records import Mining
from opsigcli.options import REPORT, STORE, STORE_VARIABLE, ReportOptions
from opsigcli.outcome import Outcome, plain
from opsigcli.parameters import require_use
from opsigcli.printable import count, without_homes
from opsigcli.progress import Progress
from opsigcli.records import Case
from opsigcli.reporting.markdown import figure_link, render_markdown
from opsigcli.reporting.probes import probes_data
from opsigcli.reporting.screen import Screen
from opsigcli.reporting.summary import defined
from opsigcli.reporting.training import training_facts
from opsigcli.result_records import Result
from opsigcli.runs.given_hyper import settings_of
from opsigcli.store.beside import keep_stores, write_file
from opsigcli.store.page_files import beside_page
from opsigcli.store.paths import named_from
from opsigcli.store.reader import open_store
from opsigcli.store.recognise import is_store
from opsigcli.store.streams import refuse_stdout, takes_bytes


def report(options: ReportOptions, progress: Progress) -> Outcome:
    """Show a store, or several side by side: a view for the terminal, an HTML file, Markdown, or the figure of one.

    The gates of the command line and of the project are held against a store; where one trips, the exit code is 1.

    Raises:
        UsageError: the store has no result of the name that is asked for, a gate is not understood, a figure has an
            unknown ending, an option has no part, stores are named in two ways, a page is named where stores are, or a
            store where something is to be written.
        StoreError: there is no readable store, or the gates cannot be written.
        ReportError: the HTML file cannot be written, the baseline cannot be read, or matplotlib is missing.
    """
    if options.list_metrics:
        return _list_metrics()
    _refuse_pages(options.stores)
    _refuse_both(options)
    _refuse_idle(options)
    for path in filter(None, (options.output, options.figure, options.junit)):  # before anything is written
        keep_stores(path)
    if len(options.stores) > 1:
        return _compared(options)
    log = None if options.log is None else log_of(options.log)
    options = replace(options, store=next(iter(options.stores), options.store))
    gates = asked(options.fail_on, options.require, options.baseline, Path.cwd())
    if options.junit is not None:
        require_gates(gates.gates, "--junit")
    case, known_pairs, before = _open(options.store, options.result)
    held = hold(case, gates.gates, None if gates.baseline is None else _baseline(gates.baseline))
    result, mean = summary(case) | without_homes(held.data), case.trace.mean_loss
    messages = [*tell_known_pairs(known_pairs, case), *held.passed]
    warnings = [*([f"the mean loss is {mean.words}"] if mean.words else []), *held.warnings]
    warnings += [*before, *([] if options.markdown else unheld(gates, options.baseline))]
    if options.figure:  # refused before anything is written
        from opsigcli.reporting.figure import draw_figure

        drawn, missing = draw_figure(case, options.figure.suffix.lower(), options.width)
    if output := options.output or (REPORT if options.html else None):
        from opsigcli.reporting.html import render_files

        folder = output.with_name(f"{output.stem}_files")
        alone = takes_bytes(output)  # a pipe, or a terminal
        page, files = render_files(
            case,
            result,
            "" if alone else folder.name,
            thumbnails_per_group=options.thumbnails,
            definitions=DEFINITIONS,
        )
        with beside_page(output, folder, files):
            messages.append(_write(output, named_from(page, options.store).encode()))
        messages += [f"and {count(len(files), 'file')} in {folder}, which belongs to it"] if files else []
        result["html"] = str(output)
    if log is not None:
        messages.append(log(case))
    if options.figure:
        messages += [*missing, _write(options.figure, drawn)]
        result["figure"] = str(options.figure)
    if options.junit is not None:
        write_file(options.junit, lambda file: file.write(junit(held.results)))
        messages.append(f"wrote {options.junit}")
    document = render_markdown(case, held.metrics, held.results, held.before) if options.markdown else ""
    if document:
        warnings += add_to_summary(document)  # without a picture: a summary shows none that is beside it
        document += figure_link(options.figure) if options.figure else ""
        result["markdown"] = document
    return Outcome(
        schema="opsig/report",
        inputs={"store": str(options.store)},
        result=result,
        warnings=tuple(warnings),
        messages=tuple(messages),
        failures=held.tripped,
        exit_code=ExitCode.GATE if held.tripped else ExitCode.OK,
        view=None if output or options.figure else case if options.full else Screen(case),
        document=document,
    )


def _refuse_pages(stores: Sequence[Path]) -> None:
    """The word after ``--html`` is no value of it: words are stores, and a page is named by ``--output``.

    Raises:
        UsageError: a store has the name of a page.
    """
    for path in stores:
        if path.suffix.lower() in (".html", ".htm"):
            others = [other for other in stores if other != path]
            hint = f"to write the page there: {command('report', *others, options=('--output', str(path)))}"
            raise UsageError(f"expected a store, found {path}, which is named like a page", hint)


def _refuse_both(options: ReportOptions) -> None:
    """Refuse stores named in both ways, of which one would be ignored; the environment is a default of either.

    Raises:
        UsageError: words name stores, and ``--store`` another one.
    """
    usual = (STORE, Path(os.environ.get(STORE_VARIABLE, STORE)))
    if options.stores and options.store not in (*usual, *options.stores):
        words = ", ".join(map(str, options.stores))
        raise UsageError(
            f"expected stores as words or with --store, found {words} and --store {options.store}",
            "leave one of them out; several words are put side by side",
        )


def _refuse_idle(options: ReportOptions) -> None:
    """Refuse options that nothing would look at, and a second thing where standard output takes one.

    Raises:
        UsageError: a width without a figure, pictures without a page, everything in the terminal where nothing or
            a comparison is shown there, or two things on standard output.
    """
    page = (options.html or options.output is not None) and len(options.stores) < 2
    if options.figure is None:
        require_use(options, ("width",), "--figure", "add --figure FILE.pdf")
    if not page:
        require_use(options, ("thumbnails",), "the page of one store", "add --html")
    if options.html or options.output or options.figure or options.markdown or len(options.stores) > 1:
        hint = "name one store and neither --html, --output, --figure nor --markdown; a page has everything"
        require_use(options, ("full",), "the report of one store in the terminal", hint)
    refuse_stdout(options.junit, "--junit")
    refuse_stdout(options.output if options.markdown else None, "--output")


def _compared(options: ReportOptions) -> Outcome:
    """Several stores side by side.

    Raises:
        UsageError: an option is for the report of one store, or a project's gate is not understood.
        StoreError: a store is not there or not sound, or the file cannot be written.
        ReportError: the page would take the place of a folder.
    """
    for_one = ("result", "fail_on", "require", "baseline", "junit", "markdown", "figure", "log")
    if given := [f"--{name.replace('_', '-')}" for name in for_one if getattr(options, name)]:
        raise UsageError(f"{given[0]} is for the report of one store", "leave it out, or name one store")
    gates = read_project(Path.cwd()).gates
    warnings = (
        [f"the project's gates ({len(gates)}) are for the report of one store: none was held"]
        if gates
        else []
    )
    compared = compare_stores(options.stores)
    result, messages = without_homes(plain(compared)), list[str]()
    if output := options.output or (REPORT if options.html else None):
        from opsigcli.reporting.comparison_html import render_comparison_html

        messages.append(_write(output, render_comparison_html(compared, result).encode()))
        result["html"] = str(output)
    stores = [str(path) for path in options.stores]
    return Outcome(
        "opsig/comparison",
        {"stores": stores},
        result,
        messages=tuple(messages),
        warnings=tuple(warnings),
        view=None if output else compared,
    )


def _write(output: Path, text: bytes) -> str:
    """Write a page; what was done, in words.

    Raises:
        ReportError: a folder is in its place.
        StoreError: it cannot be written.
    """
    if output.is_dir():
        raise ReportError(f"expected a file name, found the folder {output}", "add a file name")
    write_file(output, lambda file: file.write(text))
    return f"wrote {output} ({len(text) / 1024:.0f} KiB)"


def _list_metrics() -> Outcome:
    listed = {
        name: {"unit": metric.unit, "definition": metric.definition} for name, metric in METRICS.items()
    }
    return Outcome("opsig/metrics", inputs={}, result={"metrics": listed}, document=f"{listing()}\n")


def _open(path: Path, names: str | None = None) -> tuple[Case, Any, list[str]]:
    """The case of a store, its planted pairs, and a warning where points were judged by what is no longer known.

    Raises:
        UsageError: the names of results name none, or one that the store does not have.
        StoreError: there is no readable store.
    """
    wanted = [name.strip() for name in (names or "").split(";") if name.strip()]
    if names is not None and not wanted:
        raise UsageError(
            f"expected --result to name a result, found {names!r}", "opsig report --full lists them"
        )
    with open_store(path) as store:
        case = with_causes(store.case_with(wanted), store.seen)
        return case, store.known_pairs, _judged_before(case, store.lrs.tolist())


def _judged_before(case: Case, lrs: list[float]) -> list[str]:
    """A warning of points whose threshold is of an optimizer, or a rate, that the run is no longer said to have."""
    steps = case.trace.steps.tolist()
    now = {step: settings_of(case.run, lr, lrs) for step, lr in zip(steps, lrs, strict=True)}
    old = [p for p in case.sharpness if p.settings and p.step in now and p.settings != now[p.step]]
    if not old:
        return []
    return [
        f"{len(old)} of {count(len(case.sharpness), 'point')} of sharpness were judged by what was known of the run "
        "before; "
        f"judge them anew: {command('sharpness', store=case.store)}"
    ]


def _baseline(path: Path) -> Baseline:
    """What an older report, or another store, has of the metrics."""
    if not is_store(path):
        return read_baseline(path)
    case, *_ = _open(path)
    return Baseline(path, values_of(measure(case)), likeness_of(case))


def summary(case: Case) -> dict[str, Any]:
    """The case as data, to be given to others: the run, the mean losses, and what was mined and measured."""
    data = {
        "run": plain(case.run),
        "examples": len(case.trace.example_ids),
        "unit": case.run.axis.one,
        "steps": plain(case.trace.steps),
        "mean_losses": plain(case.trace.mean_losses),
        "spikes": plain(case.spikes),
        "largest_rise": plain(case.largest_rise),
        "mining": plain(_defined(case.mining)),
        "causal": plain(case.causal),
        "sharpness": plain(case.sharpness),
        "phases": plain(case.phases),
        "critical_sharpness": plain(case.critical),
        "virtual": plain(case.virtual),
        "training_log": plain(case.training_log),
        "recorded_facts": plain(training_facts(case)),
        "look": plain(case.look),
        "failed": plain(case.failed),
        "probes": probes_data(case),
        "results": [plain(_without_pictures(result)) for result in case.results],
    }
    found: dict[str, Any] = named_from(without_homes(data), case.store)
    return found


def _defined(mining: Mining | None) -> Mining | None:
    return None if mining is None else replace(mining, pairs=defined(mining.pairs, DEFINITIONS))


def _without_pictures(result: Result) -> Result:
    """A result as data; of one that is shown only its name and how it was made, as all else stands beside it."""
    if result.shown:
        return Result(result.name, result.command, True, result.made)
    return replace(result, mining=_defined(result.mining), thumbnails=None)
