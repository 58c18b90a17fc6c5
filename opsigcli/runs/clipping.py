"""Clipping of gradients as a run's manifest says it."""

from __future__ import annotations

from pathlib import Path

from opsigcli.checkpoints.manifest import read_manifest
from opsigcli.errors import CheckpointError
from opsigcli.runs.tuning import Clip


def clip_of(folder: Path) -> Clip | None:
    """How the gradients of a run were clipped; None where nothing is said."""
    try:
        manifest = read_manifest(folder)
    except CheckpointError:  # said where the run is opened
        return None
    if manifest is None or manifest.clip is None:
        return None
    return Clip(manifest.clip, manifest.batch_size is None)
