"""Optimizers by name: how to build and recognise one, where it becomes unstable, and what it preconditions with.

A new one is a module here with an ``Optimizer`` record, and a line in this table; ``tests/optimizers/test_contract.py``
wants a case of it.
"""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

OPTIMIZERS = Registry(
    "optimizer",
    {
        "gd": Entry("opsigcli.optimizers.gd:GD", "gradient descent on the full batch"),
        "sgd": Entry("opsigcli.optimizers.sgd:SGD", "stochastic gradient descent"),
        "momentum": Entry("opsigcli.optimizers.momentum:MOMENTUM", "heavy-ball momentum (Polyak)"),
        "nesterov": Entry("opsigcli.optimizers.nesterov:NESTEROV", "Nesterov momentum"),
        "dampened": Entry("opsigcli.optimizers.dampened:DAMPENED", "momentum on an average of gradients"),
        "adam": Entry("opsigcli.optimizers.adam:ADAM", "Adam; weight decay is an L2 penalty"),
        "adamw": Entry("opsigcli.optimizers.adamw:ADAMW", "Adam with decoupled weight decay"),
        "rmsprop": Entry("opsigcli.optimizers.rmsprop:RMSPROP", "RMSprop, with or without momentum"),
    },
)
