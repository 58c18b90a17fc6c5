"""What mining depends on, so that a store that was mined in the same way is not mined again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from opsigcli import __version__
from opsigcli.mining_records import (
    Mining,
)
from opsigcli.options import MineOptions
from opsigcli.store.names import MINE

if TYPE_CHECKING:
    from opsigcli.gradients.sketch_store import Sketches
    from opsigcli.store.reader import Store

KEY = "configuration"  # among the options of the provenance
CHOICES = (
    *("top", "method", "similarity", "window", "surrogates", "false_discovery_rate", "data", "test_data"),
    "eigenvectors",
)
# Of similarity and evidence; changes when numbers do.
DEFINITION = (
    "remainders of the usual gradient, evened where directions are few, of eight outputs and more too; halves; growth "
    "where no statistics move; apart in labels; mixtures where candidates are chosen, and all are stood for; the "
    "middle half where directions are few; halves of proposals; pairs told from one another "
    "where candidates are chosen"
)


def mining_key(options: MineOptions, store: Store, sketches: Sketches) -> str:
    """The hash of all that the result depends on: trace, gradients, choices, sharpness, version."""
    parts = {
        "gradients": sketches.key,
        "trace": [*store.sha256, *map(int, store.file["steps"][()])],
        "sharpness": [(point.step, *point.eigenvalues) for point in store.sharpness],
        "seen": sorted(
            (store.seen or ({},))[0]
        ),  # features of the examples, of whose data the gradients know
        "weights": None if store.weights is None else hashlib.sha256(store.weights.tobytes()).hexdigest(),
        "version": __version__,
        "definition": DEFINITION,
        **{name: getattr(options, name) for name in CHOICES},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def mined_before(store: Store, key: str) -> Mining | None:
    """What the store has of the same mining, shown or kept; None where it has none."""
    for place in store.places()[MINE].values():
        if place.provenance[MINE].options.get(KEY) == key:
            return place.mining
    return None
