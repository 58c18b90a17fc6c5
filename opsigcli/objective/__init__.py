"""Model, loss and data together: losses, gradients, HVPs. The only room that averages over examples."""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

LOSSES = Registry(
    "loss",
    {
        "ce": Entry("opsigcli.objective.losses:cross_entropy", "softmax cross-entropy, nats"),
        "mse": Entry(
            "opsigcli.objective.losses:squared_error", "mean squared error over outputs; labels are one-hot"
        ),
        "bce": Entry(
            "opsigcli.objective.losses:binary_cross_entropy",
            "sigmoid cross-entropy, mean over outputs; labels are one-hot, or float targets for several labels",
        ),
        "lm": Entry(
            "opsigcli.objective.losses:next_token", "cross-entropy of the labelled tokens of a sequence, mean"
        ),
    },
    group="opsig.losses",
)
