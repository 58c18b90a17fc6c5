"""How much single examples count in a run of ``opsig train``: a file beside its manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from opsigcli.checkpoints import atomic
from opsigcli.errors import CheckpointError
from opsigcli.files import read_file
from opsigcli.options import EXAMPLE_WEIGHTS

_LARGEST = 1 << 30  # bytes


def write_example_weights(folder: Path, digest: str, less: Mapping[int, float]) -> None:
    """Write which examples count less than 1; without a digest, all count alike and the file goes.

    Args:
        folder: of the run.
        digest: of the weights of all examples.
        less: example id -> weight.

    Raises:
        CheckpointError: it cannot be written.
    """
    path = folder / EXAMPLE_WEIGHTS
    if not digest:
        path.unlink(missing_ok=True)
        return
    weights = {str(example): float(weight) for example, weight in less.items()}
    atomic.write(path, json.dumps({"sha256": digest, "weights": weights}).encode())


def read_example_weights(folder: Path) -> tuple[str, dict[int, float]]:
    """The digest of the weights, and example id -> weight of those that count less; ("", {}) where all count alike.

    Raises:
        CheckpointError: the file is not one that ``write_example_weights`` wrote, or cannot be read.
    """
    path = folder / EXAMPLE_WEIGHTS
    try:
        found = json.loads(read_file(path, _LARGEST))
        digest, less = found["sha256"], {int(i): float(w) for i, w in found["weights"].items()}
        if not isinstance(digest, str) or not all(math.isfinite(w) and 0 <= w <= 1 for w in less.values()):
            raise ValueError("other values")
    except FileNotFoundError:
        return "", {}
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}", "check that file") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"expected sha256 and weights between 0 and 1 by example id, found something else in {path}",
            "restore that file, or start anew with --fresh",
        ) from error
    return digest, less
