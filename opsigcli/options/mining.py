"""The options of ``opsig mine``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from opsigcli.options.shared import (
    DATASETS,
    STORE,
    BatchNorm,
    BatchSize,
    Data,
    Device,
    DryRun,
    Model,
    Seed,
    Store,
    TrustManifest,
    UnsafePickle,
)
from opsigcli.parameters import Option


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
            "Go on from three checkpoints at and after the onset of period two (from up to 60 updates before it, where "
            "checkpoints are farther apart than one) without the groups, and without control sets as large: of high "
            "loss, gradient and curvature, and five random ones."
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
