"""Which examples fight each other: top loss deltas, opposing groups and pairs, loss spikes attributed.

Arrays in, records out; no torch, no files. ``mine.mine`` is the entry, ``inputs`` what it is given; ``METHODS`` has the
ways to find pairs, ``EVIDENCE`` the numbers that speak for one, ``class_matched`` the groups they are held against.
"""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

METHODS = Registry(
    "mining method",
    {
        "full": Entry(
            "opsigcli.mining.methods:by_full",
            "fixed points of refinement from many starts on the residual-adjusted gradient similarity",
        ),
        "simple": Entry(
            "opsigcli.mining.methods:by_simple",
            "average linkage and matching on the residual-adjusted gradient similarity, refined twice",
        ),
        "eigen": Entry(
            "opsigcli.mining.methods:by_eigen",
            "what the Hessian's top eigenvectors move most and against one another, refined by gradients",
        ),
        "top": Entry(
            "opsigcli.mining.methods:by_top",
            "the 20 most risen against the 20 most fallen losses at five steps",
        ),
        "losses": Entry(
            "opsigcli.mining.methods:by_losses",
            "average linkage on correlations of loss changes; needs no model",
        ),
    },
)
