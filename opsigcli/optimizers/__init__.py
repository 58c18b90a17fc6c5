"""Optimizers by name: how to build and recognise one, where it becomes unstable, and what it preconditions with.

A new one is a module here with an ``Optimizer`` record, and a line in this table; ``tests/optimizers/test_contract.py``
wants a case of it. One that opsig only recognises stands below, among those that are not offered.
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
        "sgdw": Entry("opsigcli.optimizers.sgdw:SGDW", "SGD with decoupled weight decay"),
        "adam": Entry("opsigcli.optimizers.adam:ADAM", "Adam; weight decay is an L2 penalty"),
        "adamw": Entry("opsigcli.optimizers.adamw:ADAMW", "Adam with decoupled weight decay"),
        "nadam": Entry("opsigcli.optimizers.nadam:NADAM", "Adam with Nesterov momentum"),
        "radam": Entry("opsigcli.optimizers.radam:RADAM", "Adam with a rectified learning rate"),
        "adamax": Entry("opsigcli.optimizers.adamax:ADAMAX", "Adam with the largest gradient"),
        "adagrad": Entry("opsigcli.optimizers.adagrad:ADAGRAD", "divides by the sum of squared gradients"),
        "rmsprop": Entry("opsigcli.optimizers.rmsprop:RMSPROP", "RMSprop, with or without momentum"),
        "rmsproptf": Entry("opsigcli.optimizers.rmsproptf:RMSPROPTF", "RMSprop as TensorFlow has it"),
        "sam": Entry("opsigcli.optimizers.sam:SAM", "SGD on a gradient taken further up"),
        "ngd": Entry("opsigcli.optimizers.ngd:NGD", "gradient descent with steps of one length"),
        "signum": Entry(
            "opsigcli.optimizers.signum:SIGNUM", "the sign of an average of gradients; no threshold"
        ),
        "split": Entry(
            "opsigcli.optimizers.split:SPLIT", "small gradients as they are, large ones by their sign"
        ),
    },
    unlisted={
        "lars": Entry("opsigcli.optimizers.lars:LARS", "SGD whose steps follow the norm of each tensor"),
        "adamw_hf": Entry("opsigcli.optimizers.adamw_hf:ADAMW_HF", "AdamW as transformers had it"),
        "bitsandbytes_adamw": Entry(
            "opsigcli.optimizers.bitsandbytes:BITSANDBYTES_ADAMW", "AdamW with moments in 8 bits"
        ),
        "schedulefree_sgd": Entry(
            "opsigcli.optimizers.schedulefree:SGD_SCHEDULE_FREE", "SGD on an average of its own weights"
        ),
        "schedulefree_adamw": Entry(
            "opsigcli.optimizers.schedulefree:ADAMW_SCHEDULE_FREE", "the same, with Adam's preconditioner"
        ),
    }
    | {
        name: Entry(f"opsigcli.optimizers.named:{attribute}", "recognised; no threshold")
        for name, attribute in {
            "dadaptation": "DADAPTATION",
            "lion": "LION",
            "muon": "MUON",
            "lamb": "LAMB",
            "adafactor": "ADAFACTOR",
            "adadelta": "ADADELTA",
            "schedulefree": "SCHEDULE_FREE",
            "lookahead": "LOOKAHEAD",
            "lbfgs": "LBFGS",
            "sparseadam": "SPARSE_ADAM",
            "bitsandbytes": "BITSANDBYTES",
            "sgdp": "SGDP",
            "adamp": "ADAMP",
            "adopt": "ADOPT",
            "mars": "MARS",
            "adan": "ADAN",
            "adabelief": "ADABELIEF",
            "madgrad": "MADGRAD",
            "prodigy": "PRODIGY",
            "kron": "KRON",
            "soap": "SOAP",
            "asgd": "ASGD",
            "rprop": "RPROP",
            "sam_other": "SAM_OTHER",
            "cautious": "CAUTIOUS",
            "novograd": "NOVOGRAD",
            "laprop": "LAPROP",
            "nadamlegacy": "NADAM_LEGACY",
            "adahessian": "ADAHESSIAN",
            "sophia": "SOPHIA",
            "came": "CAME",
            "galore": "GALORE",
            "shampoo": "SHAMPOO",
            "nadamw": "NADAMW",
            "corrected_weight_decay": "CORRECTED",
        }.items()
    },
)
