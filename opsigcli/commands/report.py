"""``opsig report``: the whole case, from the store alone."""

from __future__ import annotations

from opsigcli.commands.planted_recovery import tell_known_pairs
from opsigcli.errors import ReportError
from opsigcli.mining.causes.attribute import with_causes
from opsigcli.mining.evidence import DEFINITIONS
from opsigcli.options import ReportOptions
from opsigcli.outcome import Outcome, plain
from opsigcli.progress import Progress
from opsigcli.records import Case
from opsigcli.reporting.training import training_facts
from opsigcli.store.beside import write_file
from opsigcli.store.reader import open_store


def report(options: ReportOptions, progress: Progress) -> Outcome:
    """Show a store: a view for the terminal, and an HTML file with ``options.html``.

    Raises:
        StoreError: there is no readable store.
        ReportError: the HTML file cannot be written.
    """
    with open_store(options.store) as store:
        case, known_pairs = with_causes(store.case, store.seen), store.known_pairs
    result, mean = summary(case), case.trace.mean_loss
    messages = tell_known_pairs(known_pairs, case)
    if options.html:
        from opsigcli.reporting.html import render_html

        text = render_html(
            case, result, thumbnails_per_group=options.thumbnails, definitions=DEFINITIONS
        ).encode()
        if options.output.is_dir():
            raise ReportError(f"expected a file name, found the folder {options.output}", "add a file name")
        write_file(options.output, lambda file: file.write(text))
        result["html"] = str(options.output)
        messages = (
            *messages,
            f"wrote {options.output} ({len(text) / 1024:.0f} KiB)",
        )
    return Outcome(
        schema="opsig/report",
        inputs={"store": str(options.store)},
        result=result,
        warnings=(f"the mean loss is {mean.words}",) if mean.words else (),
        messages=messages,
        view=None if options.html else case,
    )


def summary(case: Case) -> dict[str, object]:
    """The case as data: the run, the mean losses, and what was mined and measured."""
    return {
        "run": plain(case.run),
        "examples": len(case.trace.example_ids),
        "unit": case.run.axis.one,
        "steps": plain(case.trace.steps),
        "mean_losses": plain(case.trace.mean_losses),
        "spikes": plain(case.spikes),
        "largest_rise": plain(case.largest_rise),
        "mining": plain(case.mining),
        "sharpness": plain(case.sharpness),
        "critical_sharpness": plain(case.critical),
        "virtual": plain(case.virtual),
        "training_log": plain(case.training_log),
        "recorded_facts": plain(training_facts(case)),
        "look": plain(case.look),
    }
