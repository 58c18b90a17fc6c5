"""One frozen dataclass per command. Every option is declared here, once, with its default and its help.

The order of the fields is the order of the help. See ``parameters`` for what an ``Option`` can say. The file is longer
than others because it is one table, which the help, the manual and the settings files are made from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from opsigcli.parameters import Argument, Option
from opsigcli.shared_options import (
    DATASETS,
    LOSS,
    LOSSES,
    MODELS,
    OPTIMIZERS,
    PRESETS,
    SCHEDULES,
    STORE_VARIABLE,
    BatchNorm,
    BatchSize,
    Betas,
    Checkpoints,
    Data,
    Device,
    DryRun,
    Eps,
    Fresh,
    Key,
    Loss,
    Lr,
    LrGroups,
    Model,
    Momentum,
    Optimizer,
    Order,
    Partial,
    Seed,
    StepsPerEpoch,
    Store,
    TrustManifest,
    UnsafePickle,
    WeightDecay,
    Weights,
)

STORE = Path("opsig.h5")
REPORT = Path("opsig-report.html")
MANIFEST = "opsig-run.toml"
EXAMPLE_WEIGHTS = "opsig-examples.json"  # beside the manifest: ids that count less
STATES = ("every", "last")  # checkpoints whose optimizer state opsig train keeps
PRECISIONS = ("float32", "bf16", "tf32")  # of a trace


@dataclass(frozen=True)
class TrainOptions:
    """``opsig train``: a reference run."""

    directory: Annotated[Path, Argument("Where checkpoints and manifest go.", "DIR")]
    preset: Annotated[
        str | None,
        Option(
            "Set several options at once; those that are given besides win. "
            + "; ".join(
                f"{name}: {', '.join(f'{option} {value}' for option, value in sets.items())}"
                for name, sets in PRESETS.items()
            )
            + ".",
            "NAME",
            values=tuple(PRESETS),
        ),
    ] = None
    model: Annotated[
        str, Option("Model: mlp?hidden=64,64&activation=tanh, cnn, torchvision:NAME …", "SPEC", values=MODELS)
    ] = "mlp"
    data: Annotated[
        str,
        Option("Data: planted, folder:DIR, npz:FILE, torchvision:CIFAR10 …", "SPEC", values=DATASETS),
    ] = "planted"
    loss: Annotated[
        str, Option("{values} or py:pkg.mod:fn; options as ce?label_smoothing=0.1.", "SPEC", values=LOSSES)
    ] = "ce"
    optimizer: Annotated[
        str, Option("{choice}; options as sam?rho=0.1 or adam?betas=0.9,0.99.", "SPEC", values=OPTIMIZERS)
    ] = "gd"
    lr: Annotated[float, Option("Learning rate.", "X", min=0.0)] = 0.3
    schedule: Annotated[
        str,
        Option(
            "What becomes of the learning rate over the run: {choice}; options as cosine?end=0.1&warmup=20, "
            "step?at=60,80&factor=0.1, warmup?steps=20, onecycle?peak=0.3. The length is --steps, or cosine?steps=N.",
            "SPEC",
            values=SCHEDULES,
        ),
    ] = "constant"
    momentum: Annotated[
        float | None,
        Option(
            "Momentum, of the optimizers that have one. Default: the rule's, 0.9 for those named after it; 0 for sgd, "
            "sgdw, sam and rmsprop.",
            "X",
            min=0.0,
            max=1.0,
        ),
    ] = None
    weight_decay: Annotated[
        float | None,
        Option("Weight decay, of the optimizers that have one. Default: the rule's.", "X", min=0.0),
    ] = None
    clip: Annotated[
        float | None,
        Option("Scale gradients that are longer down to this norm. Default: none.", "X", min=1e-9),
    ] = None
    augment: Annotated[
        str | None,
        Option(
            "Change examples in training alone: flip, crop=PIXELS, mixup=ALPHA, with commas between them; a trace "
            "takes them as they are, and says so. Default: none.",
            "LIST",
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Option("Examples per optimizer update.", "full|N", min=1, values=("full",), none="full"),
    ] = None
    steps: Annotated[int, Option("Optimizer updates in all.", "N", min=1)] = 300
    save_every: Annotated[int, Option("Updates between checkpoints.", "N", min=1)] = 1
    save_steps: Annotated[
        str | None,
        Option(
            "Save checkpoints at these steps instead, from A to B every C-th: 0:100:10,100:200:1. The first and the "
            "last step are saved in any case.",
            "A:B:C,…",
        ),
    ] = None
    save_optimizer: Annotated[
        str,
        Option(
            "Keep the optimizer's state (of Adam twice the size of the weights) beside {choice} checkpoint. To go on "
            "the last one is enough; a fork, and preconditioned sharpness, need that of their own checkpoint.",
            "WHICH",
            values=STATES,
        ),
    ] = "every"
    record_losses: Annotated[
        bool,
        Option(
            "Keep the loss of every example at each checkpoint, as the gradient's own pass has it, and write the store "
            "that opsig trace would, without its passes. For updates on all examples as they are."
        ),
    ] = False
    store: Annotated[
        Path, Option("The case file that --record-losses writes (HDF5).", "FILE", envvar=STORE_VARIABLE)
    ] = STORE
    exclude: Annotated[
        Path | None, Option("Leave out the examples whose ids FILE holds (opsig mine --export).", "FILE")
    ] = None
    downweight: Annotated[
        Path | None, Option("Let the examples whose ids FILE holds count less.", "FILE")
    ] = None
    weight: Annotated[float, Option("How much examples of --downweight count.", "X", min=0.0, max=1.0)] = 0.1
    from_: Annotated[
        Path | None,
        Option(
            "Go on from this checkpoint of another run of opsig train, in a folder of its own: model, data, "
            "optimizer and its state, batches and steps are that run's, and only options that are given differ.",
            "CKPT",
        ),
    ] = None
    perturb: Annotated[
        str | None,
        Option(
            "With --from: before the first update, move the weights by this length (Euclidean, over all parameters) in "
            "a direction drawn at random; step: by as much as that update would; gradient: by the norm of the "
            "gradient. step?seed=1 draws another direction. The checkpoint it starts with is not moved.",
            "LENGTH|step|gradient",
        ),
    ] = None
    reset_state: Annotated[
        bool, Option("With --from: leave the optimizer's state (momentum, moments) behind; it begins anew.")
    ] = False
    seed: Seed = 0
    device: Device = "auto"
    trust_manifest: TrustManifest = False
    dry_run: DryRun = False
    fresh: Fresh = False
    given: frozenset[str] = field(
        default=frozenset(), compare=False, repr=False
    )  # names of those that were chosen


@dataclass(frozen=True)
class InspectOptions:
    """``opsig inspect``: what is in a folder of checkpoints, or in a store."""

    checkpoints: Annotated[
        Path, Argument("Folder of checkpoints, one checkpoint, hub:ORG/NAME, or a store.", "CKPTS")
    ]
    key: Key = None
    weights: Weights = None
    order: Order = "auto"
    steps_per_epoch: StepsPerEpoch = None


@dataclass(frozen=True)
class InitOptions:
    """``opsig init``: a manifest for checkpoints that something else made."""

    checkpoints: Checkpoints
    model: Model = None
    data: Data = None
    loss: Annotated[str, LOSS] = "ce"
    key: Key = None
    weights: Weights = None
    order: Order = "auto"
    steps_per_epoch: StepsPerEpoch = None
    optimizer: Annotated[
        str | None,
        Option(
            "The run's optimizer, also as PyTorch spells it. Default: as the checkpoints show; so for the next ones.",
            "NAME",
            values=OPTIMIZERS,
        ),
    ] = None
    lr: Lr = None
    momentum: Momentum = None
    weight_decay: WeightDecay = None
    betas: Betas = None
    eps: Eps = None
    batch_size: Annotated[
        int | None, Option("Examples in a batch of the run. Default: not known, or all.", "N", min=1)
    ] = None
    partial: Partial = False
    fresh: Annotated[bool, Option("Replace a manifest that is there.", consent=True)] = False


@dataclass(frozen=True)
class TraceOptions:
    """``opsig trace``: per-example losses at every checkpoint."""

    checkpoints: Checkpoints
    model: Model = None
    data: Data = None
    loss: Loss = None
    key: Key = None
    weights: Weights = None
    order: Order = "auto"
    steps_per_epoch: StepsPerEpoch = None
    partial: Partial = False
    unsafe_pickle: UnsafePickle = False
    dry_run: Annotated[
        bool,
        Option(
            "Say what would be done, and whether the first and the last checkpoint fit the data, by a few examples, "
            "and how long it takes, by real batches; write nothing."
        ),
    ] = False
    store: Store = STORE
    batch_size: Annotated[
        int | None,
        Option("Examples per forward pass. Default: as suits the processor's caches.", "N", min=1),
    ] = None
    examples: Annotated[
        int | None,
        Option("Trace N examples: spread over the classes, or whole sequences over the text.", "N", min=2),
    ] = None
    tokens: Annotated[bool, Option("Every token of a text is an example, not every sequence.")] = False
    precision: Annotated[
        str,
        Option(
            "float32, or bf16 or tf32: refused, with numbers, where its error would drown the loss deltas.",
            "NAME",
            values=PRECISIONS,
        ),
    ] = "float32"
    batch_norm: BatchNorm = None
    probe: Annotated[
        tuple[str, ...],
        Option(
            "Also watch an input along the run: colour:skyblue, image:FILE, text:WORDS or example:ID; may be given "
            "again. Its class probabilities at every checkpoint stay in the store.",
            "PROBE",
        ),
    ] = ()
    virtual_step: Annotated[
        bool,
        Option(
            "Also take one step of the run's optimizer from each checkpoint and store what it does to every loss."
        ),
    ] = False
    virtual_batches: Annotated[
        int | None, Option("Batches in a virtual step. Default: all examples.", "N", min=1)
    ] = None
    optimizer: Optimizer = None
    lr: Lr = None
    momentum: Momentum = None
    weight_decay: WeightDecay = None
    betas: Betas = None
    eps: Eps = None
    lr_groups: LrGroups = None
    shard: Annotated[
        str | None,
        Option(
            "Do the I-th of N parts; the last part to finish writes the store. torchrun and srun need no "
            "such option.",
            "I/N",
        ),
    ] = None
    watch: Annotated[bool, Option("Follow a run that is still going: trace checkpoints as they come.")] = (
        False
    )
    idle: Annotated[
        float, Option("Watching ends when nothing new has come for so long.", "SECONDS", min=0.0)
    ] = 3600.0
    device: Device = "auto"
    fresh: Fresh = False
    trust_manifest: TrustManifest = False

    def __post_init__(self) -> None:
        if self.virtual_batches is not None:  # batches of virtual steps ask for virtual steps
            object.__setattr__(self, "virtual_step", True)


@dataclass(frozen=True)
class MineOptions:
    """``opsig mine``: top loss deltas, opposing groups and pairs, spikes attributed."""

    top: Annotated[
        int,
        Option("Examples on each side of a step: the most risen and the most fallen losses.", "N", min=1),
    ] = 20
    method: Annotated[
        str,
        Option(
            "{choice}. eigen: loss deltas in parts along the Hessian's top eigenvectors, which are told too; top: the "
            "20 most risen against the 20 most fallen losses at five steps; losses: loss series alone (needs no model, "
            "finds less).",
            "NAME",
            values="opsigcli.mining:METHODS",
        ),
    ] = "full"
    similarity: Annotated[
        str,
        Option(
            "Compare gradients adjusted for output residuals (adjusted), as they are (raw), or without the mean "
            "of their class (centred).",
            "NAME",
            values="opsigcli.mining.similarity:SIMILARITIES",
        ),
    ] = "adjusted"
    window: Annotated[
        str,
        Option("Mine the whole run (run) or its first oscillation (first).", "NAME", values=("run", "first")),
    ] = "run"
    surrogates: Annotated[
        int,
        Option(
            "Rotated surrogates for p-values that account for the search; fewer where no pair stands out, up to 499 "
            "where a finding hangs on more. 0: no pair is tested, and none is a finding.",
            "N",
            min=0,
        ),
    ] = 39
    false_discovery_rate: Annotated[
        float,
        Option(
            "Findings are the opposing outliers of a run that pass this false discovery rate.",
            "RATE",
            min=0,
            max=1,
        ),
    ] = 0.1
    causal: Annotated[
        bool,
        Option(
            "Go on from three checkpoints at and after the onset of period two without the groups, and without "
            "control sets as large: of high loss, gradient and curvature, and five random ones."
        ),
    ] = False
    test_data: Annotated[
        str | None,
        Option(
            "Data that were never mined: whether findings swing there as well. With --causal also for test accuracy.",
            "SPEC",
            values=DATASETS,
        ),
    ] = None
    export: Annotated[
        Path | None,
        Option(
            "Write the groups' example ids to FILE: .csv (also for cleanlab and pandas), .jsonl, .npz, .json "
            "(FiftyOne), .pt (indices for torch.utils.data.Subset).",
            "FILE",
        ),
    ] = None
    candidates: Annotated[int, Option("Examples whose gradients are compared, at most.", "N", min=10)] = 2000
    gradient_checkpoints: Annotated[
        int | None,
        Option(
            "Checkpoints at which gradients are compared. Default: 8; of tokens 3 to 8, as many as let mining take a "
            "tenth of what their trace took.",
            "N",
            min=1,
        ),
    ] = None
    sketch_dimensions: Annotated[
        int, Option("Dimensions gradients are projected to at random.", "N", min=16)
    ] = 512
    eigenvectors: Annotated[
        int,
        Option(
            "Eigenvectors of the Hessian that loss deltas are parted along, with --method eigen.", "N", min=1
        ),
    ] = 3
    screening_space: Annotated[
        float,
        Option(
            "GiB of disk beside the store for gradients of screened examples, while mine runs; what does not fit is "
            "computed again.",
            "X",
            min=0.0,
        ),
    ] = 4.0
    batch_norm: BatchNorm = None
    dry_run: DryRun = False
    store: Store = STORE
    model: Model = None
    data: Data = None
    seed: Seed = 0
    batch_size: BatchSize = 256
    device: Device = "auto"
    trust_manifest: TrustManifest = False
    unsafe_pickle: UnsafePickle = False


@dataclass(frozen=True)
class SharpnessOptions:
    """``opsig sharpness``: top Hessian eigenvalues and the stability ratio."""

    top: Annotated[int, Option("Eigenvalues to compute.", "N", min=1)] = 1
    quick: Annotated[
        bool,
        Option(
            "Instead of eigenvalues, the critical sharpness along the run's update: fewer than ten forward passes."
        ),
    ] = False
    every: Annotated[int, Option("Measure every N-th checkpoint of the trace.", "N", min=1)] = 1
    tolerance: Annotated[float, Option("Relative error to reach.", "X", min=1e-6, max=0.1)] = 1e-3
    max_matvecs: Annotated[int, Option("Hessian-vector products per checkpoint, at most.", "N", min=1)] = 200
    precision: Annotated[
        str,
        Option(
            "float32; or float64, for checkpoints whose products it cannot resolve.",
            "NAME",
            values=("float32", "float64"),
        ),
    ] = "float32"
    optimizer: Optimizer = None
    lr: Lr = None
    momentum: Momentum = None
    weight_decay: WeightDecay = None
    betas: Betas = None
    eps: Eps = None
    lr_groups: LrGroups = None
    minibatch: Annotated[int | None, Option("Examples in a batch of the run.", "N", min=1)] = None
    all_parameters: Annotated[
        bool, Option("Measure over all weights, also those that do not train; then without a ratio.")
    ] = False
    batch_norm: BatchNorm = None
    steps: Annotated[str | None, Option("Only checkpoints from step A to step B.", "A:B")] = None
    budget: Annotated[
        str | None, Option("Stop after 90s, 10m, 2h or 500hvp, with what there is by then.", "B")
    ] = None
    examples: Annotated[
        int | None, Option("Measure on a random subset of N examples, and its spread.", "N", min=1)
    ] = None
    layers: Annotated[bool, Option("Largest eigenvalue of each layer's block, and of each kind's.")] = False
    per_example: Annotated[bool, Option("Each example's curvature along the top eigenvector.")] = False
    groups: Annotated[bool, Option("Each mined group's share of the sharpness.")] = False
    secant: Annotated[bool, Option("Curvature along the step to the next checkpoint.")] = False
    spectrum: Annotated[
        bool,
        Option(
            "Spectral density, outliers, trace, Gauss-Newton part: at most 381 products at each checkpoint, and "
            "--max-matvecs more."
        ),
    ] = False
    no_step_check: Annotated[
        bool, Option("Do not hold the step to the next checkpoint against the rule whose threshold is given.")
    ] = False
    store: Store = STORE
    model: Model = None
    data: Data = None
    seed: Seed = 0
    batch_size: BatchSize = 256
    device: Device = "auto"
    fresh: Fresh = False
    trust_manifest: TrustManifest = False
    unsafe_pickle: UnsafePickle = False
    dry_run: DryRun = False


@dataclass(frozen=True)
class ReportOptions:
    """``opsig report``: the whole case, or several runs side by side."""

    stores: Annotated[
        tuple[Path, ...],
        Argument("Stores: one is reported, several are compared. Default: that of --store.", "STORES"),
    ] = ()
    full: Annotated[bool, Option("Show everything in the terminal, not one screen of it.")] = False
    html: Annotated[bool, Option("Write one self-contained HTML file, opsig-report.html.")] = False
    output: Annotated[Path | None, Option("Write the HTML to FILE.", "FILE", short="-o")] = None
    figure: Annotated[
        Path | None,
        Option(
            "Write the figure for a paper to FILE.svg, FILE.pdf or FILE.png: mean loss with spikes, group losses, "
            "stability ratio, share of examples rising, on one axis. Needs opsig[figure].",
            "FILE",
        ),
    ] = None
    width: Annotated[
        float,
        Option("Width of the figure in inches: 3.3 for one column, 6.8 for two.", "X", min=2.0, max=20.0),
    ] = 3.3
    log: Annotated[
        str | None,
        Option(
            "Write numbers, pictures and tables for TensorBoard into a folder (tensorboard:DIR), or as a run of "
            "Weights & Biases that is not sent (wandb:offline, below wandb/ or WANDB_DIR; needs opsig[wandb]).",
            "PROGRAM:PLACE",
        ),
    ] = None
    result: Annotated[
        str | None,
        Option(
            "Show another of the results that the store keeps, by the name that the report gives it: "
            "'sharpness --precision float64', or several with ; between them.",
            "NAME",
        ),
    ] = None
    thumbnails: Annotated[int, Option("Pictures per group.", "N", min=0, max=24)] = 12
    fail_on: Annotated[
        tuple[str, ...],
        Option(
            "Exit with 1 where this is true: 'sharpness.ratio.max > 1.2'. Repeatable. What was not measured, or is not "
            "a finite number, trips every gate.",
            "CONDITION",
            values="opsigcli.gates.metrics:METRICS",
        ),
    ] = ()
    require: Annotated[
        tuple[str, ...],
        Option(
            "Exit with 1 where this is not true: 'loss.last <= baseline * 1.1'. Repeatable, likewise.",
            "CONDITION",
            values="opsigcli.gates.metrics:METRICS",
        ),
    ] = ()
    baseline: Annotated[
        Path | None,
        Option("What baseline is in conditions: an older report of --json, or another store.", "FILE"),
    ] = None
    list_metrics: Annotated[
        bool, Option("List what conditions can be about, with units and definitions.")
    ] = False
    markdown: Annotated[
        bool,
        Option(
            "Print Markdown, for a comment on a change; it joins $GITHUB_STEP_SUMMARY where that is set. With --figure "
            "it shows that file: keep both in one folder."
        ),
    ] = False
    junit: Annotated[Path | None, Option("Write the gates to FILE as JUnit XML.", "FILE")] = None
    store: Store = STORE


@dataclass(frozen=True)
class SchemaOptions:
    """``opsig schema``: what ``--json`` prints, as JSON Schema."""

    name: Annotated[
        str | None,
        Argument(
            "Of a schema: report, mine, sharpness, error … Without it all are listed.",
            "NAME",
            "opsigcli.schemas:names",
        ),
    ] = None


@dataclass(frozen=True)
class ExportOptions:
    """``opsig export``: a part of the store as a table for other programs."""

    what: Annotated[
        str,
        Argument("Table: losses, deltas, sharpness, pairs or examples.", "WHAT", "opsigcli.exporting:TABLES"),
    ]
    format: Annotated[
        str | None,
        Option("{choice}. Default: as FILE ends, else csv.", "NAME", values="opsigcli.exporting:FORMATS"),
    ] = None
    steps: Annotated[
        str | None, Option("Only checkpoints from step A to step B, every C-th of them.", "A:B:C")
    ] = None
    examples: Annotated[
        str | None,
        Option("Only these: ids as 3,17, or a file of ids as opsig mine --export writes it.", "IDS|FILE"),
    ] = None
    output: Annotated[Path | None, Option("Write to FILE. Default: opsig-WHAT.csv.", "FILE", short="-o")] = (
        None
    )
    store: Store = STORE


@dataclass(frozen=True)
class TerminalOptions:
    """What every command takes: how it speaks."""

    json: Annotated[bool, Option("Print the result as one JSON object on stdout.")] = False
    quiet: Annotated[bool, Option("Print warnings and errors alone: no result, no progress.", short="-q")] = (
        False
    )
    verbose: Annotated[bool, Option("Say more on the way.", short="-v")] = False


# In the order in which they are run.
COMMANDS: dict[str, type] = {
    "train": TrainOptions,
    "inspect": InspectOptions,
    "init": InitOptions,
    "trace": TraceOptions,
    "mine": MineOptions,
    "sharpness": SharpnessOptions,
    "report": ReportOptions,
    "schema": SchemaOptions,
    "export": ExportOptions,
}
