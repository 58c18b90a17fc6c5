"""What train, inspect, init and trace answer, key by key, and what --dry-run says."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from opsigcli.look_records import Look
from opsigcli.probe_records import Probe
from opsigcli.records import Run, VirtualSteps
from opsigcli.training_records import AgainstLog, RecordedFact


class Train(TypedDict):
    """A reference run that was made, or gone on with."""

    directory: str  # where the checkpoints and the manifest are
    checkpoints: int  # there
    steps: int  # optimizer updates made
    resumed_at: int  # updates that were made before
    mean_loss: float  # at the end, nats
    diverged: bool  # the loss stopped being finite, and training with it
    steps_per_second: float | None  # null where nothing was left to do
    store: str | None  # that has the losses which training recorded; null where it did not


class WeightSet(TypedDict):
    """A set of weights in a checkpoint."""

    tensors: int  # how many
    parameters: int  # numbers in them
    average: bool  # it is a moving average


class CheckpointRow(TypedDict):
    """A checkpoint, by its header."""

    file: str  # within the folder
    format: str  # a name in FORMATS
    step: int  # in the unit of the result
    step_source: str  # manifest, content, sidecar or name
    epoch: float | None  # where it says one
    lr: float | None  # learning rate, likewise
    optimizer: str | None  # rule that its states show
    dtype: str | None  # of most tensors
    parameters: int  # numbers in the first set of weights
    weights: dict[str, WeightSet]  # sets to choose from by --key
    bytes: int  # of the file
    notes: list[str]  # what is odd about it


class LeftOut(TypedDict):
    """A file that is no checkpoint of the series."""

    file: str  # within the folder
    reason: str  # why
    convert: str | None  # a command that makes it readable


class FailedFile(TypedDict):
    """A checkpoint that cannot be read."""

    file: str  # within the folder
    reason: str  # why
    hint: str  # what to do


class StepGap(TypedDict):
    """A place where checkpoints seem to be missing."""

    after: int  # the checkpoint before it
    before: int  # the one after it
    usual: float  # distance between neighbours


class Rule(TypedDict):
    """The optimizer that checkpoints or manifest show."""

    name: str | None  # a name that --optimizer takes
    hyper: dict[str, Any]  # lr, momentum, betas …


class Inspect(TypedDict):
    """What is in a folder of checkpoints."""

    folder: str  # that was looked into
    unit: str  # what steps count: step, epoch, number or position
    checkpoints: list[CheckpointRow]  # in their order
    skipped: list[LeftOut]  # what is no checkpoint, or one twice
    failed: list[FailedFile]  # what cannot be read
    gaps: list[StepGap]  # where some seem to be missing
    optimizer: Rule  # of the run
    recorded_facts: list[RecordedFact]  # what was written down of the training
    manifest: bool  # there is an opsig-run.toml
    suggested_model: str  # spec that the weights fit; "" where none is known


class Store(TypedDict):
    """Which run a store is of (opsig inspect STORE)."""

    run: Run  # the run
    unit: str  # what steps count
    steps: list[int]  # of the checkpoints that were traced
    examples: int  # that were traced
    subset: str | None  # which of them, where not all were
    commands: list[str]  # whose results it has


class PlannedRow(TypedDict):
    """A checkpoint in a plan."""

    file: str  # within the run's folder
    step: NotRequired[int]  # in the unit of the plan
    status: str  # todo or kept


class Plan(TypedDict):
    """What --dry-run says would be done."""

    dry_run: bool  # true
    checkpoints: NotRequired[list[PlannedRow]]  # those to compute on
    unit: NotRequired[str]  # what steps count
    examples: int  # to compute on
    candidates: NotRequired[int]  # examples whose gradients would be compared
    gradient_checkpoints: NotRequired[int]  # at which they would be compared
    units: int  # of work
    forward_passes: NotRequired[int]  # of single examples
    hessian_vector_products: NotRequired[int]  # at most
    gradients: NotRequired[int]  # of single examples
    surrogates: NotRequired[int]  # searches, at most
    arms: NotRequired[int]  # of --causal, each trained on for some updates
    bytes_to_read: int  # of checkpoints
    bytes_to_write: (
        int  # to the store; of opsig train checkpoints, optimizer states and recorded losses together
    )
    bytes_of_losses: NotRequired[int]  # of these, to the store of --record-losses
    estimated_seconds: float  # by the time of a real batch
    look: NotRequired[Look]  # how the ends of the run do on a few examples


class Init(TypedDict):
    """The manifest that was written."""

    manifest: str  # its path
    model: str  # spec
    data: str  # spec
    loss: str  # spec
    optimizer: str  # rule; "" where it is not known
    hyper: dict[str, Any]  # its hyper-parameters
    batch_size: int | None  # null is the full batch, or not known
    checkpoints: int  # rows of it
    unit: str  # what steps count
    look: Look  # how the ends of the run do beside a guess
    fit: list[str]  # how the weights were made to fit


class TracedRow(TypedDict):
    """A checkpoint of a trace."""

    file: str  # within the run's folder
    step: int  # in the unit of the result
    status: str  # computed, kept, waiting or failed


class BatchNormGap(TypedDict):
    """The loss with BatchNorm's statistics in two ways, at one checkpoint."""

    step: int  # in the unit of the result
    stored: float  # nats, with those that the checkpoint stores
    re_estimated: float  # nats, with those of the data
    examples: int  # over which both are
    frozen: bool  # the stored ones never change, though weights do


class BatchNorm(TypedDict):
    """How BatchNorm's statistics were taken."""

    statistics: str  # stored, re-estimate or batch
    gaps: list[BatchNormGap]  # at the first, the middle and the last checkpoint


class Trace(TypedDict):
    """What a trace computed."""

    store: str  # the case file
    examples: int  # N
    measured: int  # of them, those whose label does not say to ignore them
    mean: str  # how the mean loss is taken
    unit: str  # what steps count
    steps: list[int]  # (T,) of the checkpoints in the store
    mean_losses: list[float]  # (T,) nats
    checkpoints: list[TracedRow]  # of the series
    failed: dict[str, str]  # file -> why
    skipped: dict[str, str]  # file -> why
    not_finite_steps: list[int]  # where some loss is not finite
    units_computed: int  # by this process
    units_waited_for: int  # that other workers have not finished
    worker: str | None  # I/N, where the work is shared
    virtual: VirtualSteps | None  # what virtual steps did
    training_log: AgainstLog | None  # the mean loss beside the one that the run logged
    recorded_facts: list[RecordedFact]  # what training did and the trace does not
    batch_norm: BatchNorm | None  # null without BatchNorm
    look: Look | None  # the ends of the run beside a guess
    probes: list[Probe]  # inputs that are watched along the run
