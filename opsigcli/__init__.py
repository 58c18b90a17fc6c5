"""opsig finds the training examples that fight each other, from a folder of saved checkpoints.

The rooms, from the ground up (imports go down, never up, and sideways only where named here):

0. ground: ``errors``, ``registry``, ``parameters``, ``options``, ``mean_loss``, ``records``, ``examples``,
   ``sharpness_records``, ``training_records``, ``spike_records``, ``command_line``, ``outcome``, ``specs``,
   ``query``, ``usercode``, ``trust``, ``progress``, ``given``
1. materials: ``checkpoints``, ``datasets``, ``models``, ``optimizers``, ``objective``, ``store``
2. instruments: ``derivatives`` (of an ``objective``), ``curvature``, ``mining``, ``reporting``,
   ``schemas``; upon ``mining`` and ``reporting`` ``gates``
3. benches, where materials and instruments meet: ``runs``; upon it ``tracing``, ``stability``, ``gradients``;
   ``comparison``, ``recording``, ``exporting``
4. ``commands``: one verb per file
5. ``cli``: the command line, the only writer to stdout and stderr; ``api``: the same for Python programs

The names in ``__all__`` are for programs (``import opsigcli as opsig``). They are imported on first use, so that this
module brings neither torch nor NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsigcli.api.calls import export, mine, report, sharpness, trace, train
    from opsigcli.api.run import Run, open
    from opsigcli.errors import OpsigError
    from opsigcli.recording.lightning_callback import LightningRecorder
    from opsigcli.recording.recorder import Recorder
    from opsigcli.recording.transformers_callback import TransformersRecorder

__version__ = "0.1.0"
__all__ = [
    "LightningRecorder",
    "OpsigError",
    "Recorder",
    "Run",
    "TransformersRecorder",
    "__version__",
    "export",
    "mine",
    "open",
    "report",
    "sharpness",
    "trace",
    "train",
]

PLACES = {  # name -> module
    **dict.fromkeys(("export", "mine", "report", "sharpness", "trace", "train"), "opsigcli.api.calls"),
    **dict.fromkeys(("Run", "open"), "opsigcli.api.run"),
    "OpsigError": "opsigcli.errors",
    "Recorder": "opsigcli.recording.recorder",
    "LightningRecorder": "opsigcli.recording.lightning_callback",
    "TransformersRecorder": "opsigcli.recording.transformers_callback",
}


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
