"""Losses of single examples, by name.

``LOSSES`` is the table, and needs no torch to be listed; ``base.open_loss`` opens one, or a function of the user's.
To add a loss: one file with a ``base.Loss``, or a ``base.Configurable`` where it has options, one line. What else
others need of a loss, its gradient and curvature with respect to the outputs, they take by differentiating it.
"""

from __future__ import annotations

from opsigcli.registry import Entry, Registry

LOSSES = Registry(
    "loss",
    {
        "ce": Entry(
            "opsigcli.objective.losses.cross_entropy:CROSS_ENTROPY",
            "softmax cross-entropy, nats: ce?label_smoothing=0.1&weight=0.2,1,5&ignore_index=255",
        ),
        "mse": Entry(
            "opsigcli.objective.losses.regression:MSE",
            "mean squared error over outputs; labels are one-hot: mse?outputs=sum&scale=0.5",
        ),
        "bce": Entry(
            "opsigcli.objective.losses.binary_cross_entropy:BCE",
            "sigmoid cross-entropy, mean over outputs; labels are one-hot, or float targets for several labels: "
            "bce?pos_weight=3",
        ),
        "lm": Entry(
            "opsigcli.objective.losses.next_token:LOSS",
            "cross-entropy of the labelled tokens of a sequence: lm?mean=tokens (as trainers do) or sequences",
        ),
        "nll": Entry(
            "opsigcli.objective.losses.cross_entropy:NLL", "as ce, of log-probabilities: nll?weight=0.2,1,5"
        ),
        "focal": Entry(
            "opsigcli.objective.losses.cross_entropy:FOCAL",
            "softmax focal loss: focal?gamma=2&weight=0.2,1,5",
        ),
        "gce": Entry(
            "opsigcli.objective.losses.cross_entropy:GCE",
            "generalised cross-entropy, (1 - p^q)/q, which is bounded: gce?q=0.7&weight=0.2,1,5",
        ),
        "sigmoid_focal": Entry(
            "opsigcli.objective.losses.binary_cross_entropy:SIGMOID_FOCAL",
            "focal loss of each output, as torchvision's: sigmoid_focal?gamma=2&alpha=0.25",
        ),
        "bce_prob": Entry(
            "opsigcli.objective.losses.binary_cross_entropy:BCE_PROB", "as bce, of probabilities"
        ),
        "l1": Entry("opsigcli.objective.losses.regression:L1", "mean absolute error over outputs"),
        "huber": Entry("opsigcli.objective.losses.regression:HUBER", "Huber's loss: huber?delta=1"),
        "smooth_l1": Entry(
            "opsigcli.objective.losses.regression:SMOOTH_L1", "Huber's loss over beta: smooth_l1?beta=1"
        ),
    },
    group="opsig.losses",
)
