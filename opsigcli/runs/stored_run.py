"""What several commands need: a device, an objective for a run, and the weights of its checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsigcli import __version__
from opsigcli.checkpoints.manifest import Manifest
from opsigcli.errors import CheckpointError, UsageError
from opsigcli.models import MODELS
from opsigcli.records import ExampleSource, Provenance, Run
from opsigcli.runs.load_weights import Loader
from opsigcli.specs import parse
from opsigcli.trust import require_trust, sign
from opsigcli.usercode import absolute_path, absolute_spec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from opsigcli.objective.base import Objective
    from opsigcli.store.reader import Store


def pick_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the first CUDA GPU, else Apple's GPU, else the CPU.

    Raises:
        UsageError: the name is unknown, or this machine has no such device.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        text = str(error).splitlines()[0]
        raise UsageError(
            f"expected a device torch can use here, found {name!r}: {text}",
            "try --device auto or --device cpu",
        ) from error
    return device


def build_module(model: str, source: ExampleSource, seed: int = 0) -> nn.Module:
    """The model of a run, built for its source."""
    from opsigcli.models.base import build

    return build(model, input_shape=source.input_shape, outputs=source.outputs, seed=seed)


def build_objective(
    model: str,
    source: ExampleSource,
    loss: str,
    *,
    device: str,
    batch_size: int,
    seed: int = 0,
    precision: str = "float32",
) -> Objective:
    """The objective of a run: its model built for its source, on the device.

    Raises:
        UsageError: the device has no float64, and it is asked for.
    """
    import numpy as np
    import torch

    from opsigcli.models.checks import agree_twice
    from opsigcli.objective.base import Objective

    module = build_module(model, source, seed)
    if len(source):
        agree_twice(module, torch.as_tensor(source.read(np.arange(min(PROBED, len(source))))))
    chosen, wide = pick_device(device), precision == "float64"
    if wide and chosen.type == "mps":
        raise UsageError("expected a device with float64, found mps", "add --device cpu")
    dtype = torch.float64 if wide else torch.float32
    return Objective(module, source, loss, device=chosen, batch_size=batch_size, dtype=dtype)


def absolute_model(spec_text: str) -> str:
    """A model spec whose paths are absolute, so that it builds the same model from any folder."""
    spec = parse(spec_text)
    if MODELS.names_path(spec):
        return str(replace(spec, name=absolute_path(spec.name)))
    return absolute_spec(spec_text)


SPECS = ("model", "data", "loss")
PROBED = 8  # examples on which a model has to give the same outputs twice


def trusted_run(store: Store, options: Any) -> Run:
    """The run of a store, with the specs that the options give again.

    Raises:
        TrustError: the store names code and this user did not write it.
    """
    run = store.run
    given = {name: spec for name in ("model", "data") if (spec := getattr(options, name)) is not None}
    inherited = [spec for name, spec in vars(run).items() if name in SPECS and name not in given]
    require_trust(
        inherited, specs(run), store.signature, f"the store {store.path}", trusted=options.trust_manifest
    )
    return replace(run, **given)


class StoredRun:
    """The run of a store, opened again for computing: its source, its objective, its checkpoints' weights.

    Args:
        store: an open store.
        options: the command's options (``model``, ``data``, ``device``, ``batch_size``, ``trust_manifest``).

    Raises:
        TrustError: the store names code and this user did not write it.
        OpsigError: the data or the model cannot be opened, or the data is not what was traced.
    """

    def __init__(self, store: Store, options: Any) -> None:
        from opsigcli.datasets import open_source

        run = store.run
        self.run = trusted_run(store, options)
        self.files, self.sha256 = store.files, store.sha256
        self.source = open_source(self.run.data)
        if self.source.fingerprint != run.fingerprint:
            raise UsageError(
                f"the examples in {self.run.data} are not those that were traced into {store.path}",
                "restore the data, or trace again with --fresh",
            )
        self.objective = build_objective(
            self.run.model,
            self.source,
            run.loss,
            device=options.device,
            batch_size=options.batch_size,
            precision=getattr(options, "precision", "float32"),
        )
        self.unsafe = getattr(options, "unsafe_pickle", False)
        self.loader = Loader(self.objective.model, run.partial)

    def load(self, row: int) -> None:
        """Put the weights of checkpoint ``row`` of the trace into the objective.

        Raises:
            CheckpointError: the file is gone, was changed since it was traced, or cannot be read.
            ModelError: the weights do not fit.
        """
        from opsigcli.checkpoints import digest
        from opsigcli.checkpoints.formats import formats

        path = Path(self.run.checkpoints) / self.files[row]
        if not path.exists():
            raise CheckpointError(
                f"expected the checkpoint {path}, which was traced; it is gone",
                "put it back, or trace the folder that holds the checkpoints now, with --fresh",
            )
        if digest.sha256(path) != self.sha256[row]:
            raise CheckpointError(
                f"the checkpoint {path} was changed since it was traced", "trace again with --fresh"
            )
        reader = next(reader for reader in formats(self.unsafe) if reader.recognises(path))
        self.loader.load(reader.read(path, self.run.key, self.run.weights), str(path))


def specs(run: Run | Manifest) -> list[str]:
    """The specs of a run that may name code, in the order they are signed."""
    return [getattr(run, name) for name in SPECS]


def signed_manifest(source: ExampleSource, **rest: Any) -> Manifest:
    """The manifest of a run on these examples, signed by this user; ``rest`` says how the run was made."""
    manifest = Manifest(
        data=source.spec,
        input_shape=source.input_shape,
        classes=source.classes,
        fingerprint=source.fingerprint,
        transform=source.transform,
        **rest,
    )
    return replace(manifest, signature=sign(specs(manifest)))


def provenance(command: str, options: Any, objective: Objective | None = None) -> Provenance:
    """How a result came to be, for the store."""
    import torch

    from opsigcli.outcome import plain

    chosen = {name: str(v) if isinstance(v, Path) else plain(v) for name, v in vars(options).items()}
    return Provenance(
        command=command,
        options=chosen,
        opsig_version=__version__,
        torch_version=torch.__version__,
        device=str(objective.device) if objective else "",
        seed=int(getattr(options, "seed", 0)),
        dtype=getattr(options, "precision", "float32"),
    )
