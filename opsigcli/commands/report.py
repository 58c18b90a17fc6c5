"""``opsig report``: the whole case, from the store alone."""

from __future__ import annotations

from dataclasses import replace

from opsigcli.commands.planted_recovery import tell_known_pairs
from opsigcli.errors import ReportError
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
    """Show a store: a view for the terminal, or an HTML file with ``options.html`` or ``options.output``.

    Raises:
        UsageError: the store has no result of the name that is asked for.
        StoreError: there is no readable store.
        ReportError: the HTML file cannot be written.
    """
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
        if output.is_dir():
            raise ReportError(f"expected a file name, found the folder {output}", "add a file name")
        write_file(output, lambda file: file.write(text))
        result["html"] = str(output)
        messages = (*messages, f"wrote {output} ({len(text) / 1024:.0f} KiB)")
    return Outcome(
        schema="opsig/report",
        inputs={"store": str(options.store)},
        result=result,
        warnings=(f"the mean loss is {mean.words}",) if mean.words else (),
        messages=messages,
        view=None if output else case if options.full else Screen(case),
    )


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
