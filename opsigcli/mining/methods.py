"""The ways to find pairs, by name. Each maps the similarity S of the candidates to the two sides of each pair."""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

METHODS = Registry(
    "mining method",
    {
        "simple": Entry(
            "opsigcli.mining.simple:simple",
            "average linkage and matching on the residual-adjusted gradient cosine, refined twice",
        ),
    },
)
