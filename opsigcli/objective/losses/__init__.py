"""Losses of single examples, by name.

``LOSSES`` is the table, and needs no torch to be listed; ``base.open_loss`` opens one, or a function of the user's.
To add a loss: one file with a ``base.Loss``, one line. What else others need of a loss, its gradient and curvature with
respect to the outputs, they take by differentiating it.
"""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

LOSSES = Registry(
    "loss",
    {
        "ce": Entry("opsigcli.objective.losses.cross_entropy:LOSS", "softmax cross-entropy, nats"),
        "mse": Entry(
            "opsigcli.objective.losses.squared_error:LOSS",
            "mean squared error over outputs; labels are one-hot",
        ),
        "bce": Entry(
            "opsigcli.objective.losses.binary_cross_entropy:LOSS",
            "sigmoid cross-entropy, mean over outputs; labels are one-hot, or float targets for several labels",
        ),
        "lm": Entry(
            "opsigcli.objective.losses.next_token:LOSS",
            "cross-entropy of the labelled tokens of a sequence, mean",
        ),
    },
    group="opsig.losses",
)
