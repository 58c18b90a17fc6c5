"""Checkpoints of other kinds, recognised by name, each with the one command that converts it."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

_OF_KERAS = {"keras_version", "model_config", "layer_names"}  # attributes of its HDF5 files
_KERAS = (
    "python -c \"import keras; m = keras.saving.load_model('{0}'); m.save_weights('weights.weights.h5')\""
)


_PLAIN = re.compile(r"[\w./@+=,:-]+")


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoint that opsig does not open."""

    what: str
    command: str  # with {0} for the path
    parent: bool = False  # the command takes the folder around it

    def convert(self, path: Path) -> str:
        """The command for the checkpoint at ``path``. People paste it, so a name that a shell could take for more
        than a name is left for them to fill in."""
        place = path.parent if self.parent and not (path / "latest").exists() else path
        return self.command.format(place if _PLAIN.fullmatch(str(place)) else "PATH")


DEEPSPEED = Kind(
    "a DeepSpeed ZeRO checkpoint",
    "python -m deepspeed.utils.zero_to_fp32 {0} {0}-fp32 --safe_serialization",
    parent=True,
)
PT2 = Kind(
    "a torch.export program (.pt2)",
    "python -c \"import torch; torch.save(torch.export.load('{0}').state_dict, 'weights.pt')\"  # runs the program",
)
ORBAX = Kind(
    "an Orbax (JAX) checkpoint",
    'python -c "import orbax.checkpoint as o, numpy, flax.traverse_util as f, safetensors.numpy as s; '
    "t = f.flatten_dict(o.PyTreeCheckpointer().restore('{0}'), sep='.'); "
    "s.save_file(dict(zip(t, map(numpy.asarray, t.values()))), 'weights.safetensors')\"",
)
GGUF = Kind(
    "a GGUF file (quantized, for llama.cpp)",
    'python -c "from transformers import AutoModelForCausalLM as A; '
    "A.from_pretrained('.', gguf_file='{0}').save_pretrained('unquantized')\"",
)
KERAS = Kind("a Keras model", _KERAS)
TENSORFLOW = Kind(
    "a TensorFlow checkpoint",
    "python -c \"import tensorflow as t, safetensors.numpy as s; r = t.train.load_checkpoint('{0}'); "
    "s.save_file(dict((k, r.get_tensor(k)) for k in r.get_variable_to_shape_map()), 'weights.safetensors')\"",
)


def recognise(path: Path) -> Kind | None:
    """The kind of a checkpoint that opsig knows and does not open; None for anything else."""
    with contextlib.suppress(OSError):
        return _folder(path) if path.is_dir() else _file(path)
    return None


def _folder(path: Path) -> Kind | None:
    names = {entry.name for entry in path.iterdir()}
    if any(name.endswith(("_model_states.pt", "_optim_states.pt")) for name in names) or (
        "latest" in names and any(name.startswith("global_step") for name in names)
    ):
        return DEEPSPEED
    if names & {"_CHECKPOINT_METADATA", "manifest.ocdbt", "_METADATA"}:
        return ORBAX
    return TENSORFLOW if {"saved_model.pb"} & names else None


def _file(path: Path) -> Kind | None:
    name = path.name.lower()
    if name.endswith(("_model_states.pt", "_optim_states.pt")):
        return DEEPSPEED
    if name.endswith(".pt2"):
        return PT2
    if name.endswith((".gguf", ".ggml")):
        return GGUF
    if name.endswith((".keras", ".weights.h5")):
        return KERAS
    if name.endswith(".index") and path.with_name(path.stem + ".data-00000-of-00001").exists():
        return TENSORFLOW
    if name.endswith(".bin") and path.is_file():
        with path.open("rb") as file:
            return GGUF if file.read(4) == b"GGUF" else None
    return KERAS if name.endswith((".h5", ".hdf5")) and _of_keras(path) else None


def _of_keras(path: Path) -> bool:
    import h5py

    with h5py.File(path, "r") as file:
        return bool(_OF_KERAS & set(file.attrs)) or "model_weights" in file
