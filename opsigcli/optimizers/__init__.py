"""Optimizers by name: how to build one, where it becomes unstable, and what it preconditions with."""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

OPTIMIZERS = Registry(
    "optimizer",
    {
        "gd": Entry("opsigcli.optimizers.sgd:GD", "gradient descent on the full batch"),
        "sgd": Entry("opsigcli.optimizers.sgd:SGD", "stochastic gradient descent"),
        "momentum": Entry("opsigcli.optimizers.sgd:MOMENTUM", "heavy-ball momentum (Polyak)"),
        "nesterov": Entry("opsigcli.optimizers.sgd:NESTEROV", "Nesterov momentum"),
        "dampened": Entry("opsigcli.optimizers.sgd:DAMPENED", "momentum on an average of gradients"),
        "adam": Entry("opsigcli.optimizers.adaptive:ADAM", "Adam; weight decay is an L2 penalty"),
        "adamw": Entry("opsigcli.optimizers.adaptive:ADAMW", "Adam with decoupled weight decay"),
        "rmsprop": Entry("opsigcli.optimizers.adaptive:RMSPROP", "RMSprop, with or without momentum"),
    },
)
