"""What a call did, as its caller has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsigcli.api.found import Found
from opsigcli.api.run import Run
from opsigcli.errors import ExitCode
from opsigcli.mining_records import Pair, Spike
from opsigcli.outcome import Outcome
from opsigcli.sharpness_records import CriticalSharpness, SharpnessPoint


@dataclass(frozen=True, repr=False)
class Done:
    """What a command did. Nothing of it was printed."""

    outcome: Outcome
    options: Any  # of the command, filled in

    @property
    def result(self) -> dict[str, Any]:
        """The result, with the names that ``--json`` prints."""
        return self.outcome.result

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the command line would warn of."""
        return self.outcome.warnings

    @property
    def messages(self) -> tuple[str, ...]:
        """What it would say besides."""
        return self.outcome.messages

    @property
    def complete(self) -> bool:
        """Whether nothing failed; where some checkpoints did, what succeeded is kept."""
        return self.outcome.exit_code != ExitCode.INCOMPLETE

    def to_json(self) -> str:
        """The object that ``--json`` prints."""
        return self.outcome.to_json()

    def __repr__(self) -> str:
        warned = "".join(f"\n  warning: {text}" for text in self.warnings)
        return f"<{self.outcome.schema}>" + "".join(f"\n  {text}" for text in self.messages) + warned


@dataclass(frozen=True, repr=False)
class Stored(Done):
    """What a command did that stands on a store."""

    @property
    def run(self) -> Run:
        """The store, opened."""
        return Run(self.options.store)

    def _repr_html_(self) -> str:
        return self.run._repr_html_()


class Traced(Stored):
    """What ``trace`` did: ``run.losses``, ``run.deltas``."""


class Mined(Stored):
    """What ``mine`` found."""

    @property
    def pairs(self) -> Found[Pair]:
        """The pairs that were proposed."""
        return Found(self.result.get("pairs", ()))

    @property
    def findings(self) -> Found[Pair]:
        """Of the pairs, those that stand apart beyond chance."""
        return Found([pair for pair in self.pairs if pair.finding])

    @property
    def spikes(self) -> Found[Spike]:
        """The spikes, attributed to the groups."""
        return Found(self.result.get("spikes", ()))


class Measured(Stored):
    """What ``sharpness`` measured."""

    @property
    def points(self) -> Found[SharpnessPoint | CriticalSharpness]:
        """A point per checkpoint, by step; with ``quick`` critical sharpness."""
        return Found(self.result.get("points") or self.result.get("critical_sharpness") or ())


class Reported(Stored):
    """What ``report`` shows; ``html`` is the file where one was written."""

    @property
    def html(self) -> Path | None:
        """The page that was written."""
        return Path(self.result["html"]) if "html" in self.result else None

    @property
    def tripped(self) -> tuple[str, ...]:
        """The gates that tripped, in words; those of the project too."""
        return tuple(map(str, self.outcome.failures))

    @property
    def run(self) -> Run:
        """The store that was reported, opened; of several the first."""
        return Run(next(iter(self.options.stores), self.options.store))


class Trained(Done):
    """What ``train`` made."""

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return Path(self.result["directory"])


class Exported(Stored):
    """What ``export`` wrote."""

    @property
    def file(self) -> Path:
        """The table."""
        return Path(self.result["file"])
