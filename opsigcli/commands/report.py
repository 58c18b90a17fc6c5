"""``opsig report``: the whole case, from the store alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from opsigcli.commands.planted_recovery import tell_known_pairs
from opsigcli.comparison.compare import compare_stores
from opsigcli.errors import ReportError, UsageError
from opsigcli.exporting.tensorboard import log_case, log_folder
from opsigcli.mining.causes.attribute import with_causes
from opsigcli.mining.evidence import DEFINITIONS
from opsigcli.options import REPORT, ReportOptions
from opsigcli.outcome import Outcome, plain
from opsigcli.printable import without_homes
from opsigcli.progress import Progress
from opsigcli.records import Case
from opsigcli.reporting.screen import Screen
from opsigcli.reporting.training import training_facts
from opsigcli.result_records import Result
from opsigcli.store.beside import write_file
from opsigcli.store.reader import open_store


def report(options: ReportOptions, progress: Progress) -> Outcome:
    """Show a store, or several side by side: a view for the terminal, or an HTML file.

    Raises:
        UsageError: the store has no result of the name that is asked for.
        StoreError: there is no readable store.
        ReportError: the HTML file cannot be written.
    """
    if len(options.stores) > 1:
        return _compared(options)
    folder = None if options.log is None else log_folder(options.log)
    options = replace(options, store=next(iter(options.stores), options.store))
    with open_store(options.store) as store:
        wanted = [name.strip() for name in (options.result or "").split(";") if name.strip()]
        case, known_pairs = with_causes(store.case_with(wanted), store.seen), store.known_pairs
    result, mean = summary(case), case.trace.mean_loss
    messages = tell_known_pairs(known_pairs, case)
    if output := options.output or (REPORT if options.html else None):
        from opsigcli.reporting.html import render_html

        text = render_html(
            case, result, thumbnails_per_group=options.thumbnails, definitions=DEFINITIONS
        ).encode()
        messages = (*messages, _write(output, text))
        result["html"] = str(output)
    if folder is not None:
        messages = (
            *messages,
            f"wrote {log_case(case, folder)}; look at it with: tensorboard --logdir {folder}",
        )
    return Outcome(
        schema="opsig/report",
        inputs={"store": str(options.store)},
        result=result,
        warnings=(f"the mean loss is {mean.words}",) if mean.words else (),
        messages=messages,
        view=None if output else case if options.full else Screen(case),
    )


def _compared(options: ReportOptions) -> Outcome:
    """Several stores side by side."""
    for name in ("result", "log"):
        if getattr(options, name):
            raise UsageError(f"--{name} is for the report of one store", "leave it out, or name one store")
    compared = compare_stores(options.stores)
    result, messages = without_homes(plain(compared)), list[str]()
    if output := options.output or (REPORT if options.html else None):
        from opsigcli.reporting.comparison_html import render_comparison_html

        messages.append(_write(output, render_comparison_html(compared, result).encode()))
        result["html"] = str(output)
    stores = [str(path) for path in options.stores]
    return Outcome(
        "opsig/comparison", {"stores": stores}, result, tuple(messages), view=None if output else compared
    )


def _write(output: Path, text: bytes) -> str:
    """Write a page; what was done, in words."""
    if output.is_dir():
        raise ReportError(f"expected a file name, found the folder {output}", "add a file name")
    write_file(output, lambda file: file.write(text))
    return f"wrote {output} ({len(text) / 1024:.0f} KiB)"


def summary(case: Case) -> dict[str, object]:
    """The case as data, to be given to others: the run, the mean losses, and what was mined and measured."""
    data = {
        "run": plain(case.run),
        "examples": len(case.trace.example_ids),
        "unit": case.run.axis.one,
        "steps": plain(case.trace.steps),
        "mean_losses": plain(case.trace.mean_losses),
        "spikes": plain(case.spikes),
        "largest_rise": plain(case.largest_rise),
        "mining": plain(case.mining),
        "causal": plain(case.causal),
        "sharpness": plain(case.sharpness),
        "phases": plain(case.phases),
        "critical_sharpness": plain(case.critical),
        "virtual": plain(case.virtual),
        "training_log": plain(case.training_log),
        "recorded_facts": plain(training_facts(case)),
        "look": plain(case.look),
        "results": [plain(_without_pictures(result)) for result in case.results],
    }
    found: dict[str, object] = without_homes(data)
    return found


def _without_pictures(result: Result) -> Result:
    """A result as data; of one that is shown only its name and how it was made, as all else stands beside it."""
    if result.shown:
        return Result(result.name, result.command, True, result.made)
    return replace(result, thumbnails=None)
