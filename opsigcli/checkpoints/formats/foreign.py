"""Checkpoints of other kinds, recognised by name, each with the one command that converts it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from opsigcli.files import open_file, strange_kind

_LAYER = re.compile(r"layer_\d+-model_\d+-model_states\.pt")  # of a pipeline
PLAIN = re.compile(r"[\w./@+=,:-]+")  # a path that a shell takes for nothing else


# What compresses one file: what it ends with, and the program that unpacks it beside itself.
COMPRESSED = (
    ("gzip", ".gz", "gunzip"),
    ("xz", ".xz", "unxz"),
    ("bzip2", ".bz2", "bunzip2"),
    ("zstd", ".zst", "unzstd"),
)

# Behind a command: what it writes has names, and orders of axes, that a model of torch has to be made for.
TURNED = "  # kernels are (in, out) there, of convolutions (height, width, in, out): transpose them for torch"


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoint that opsig does not open."""

    what: str
    recognises: Callable[[Path], bool]  # may raise OSError
    command: str  # with {0} for the path
    parent: bool = False  # the command takes the folder around a file of it
    whole: bool = False  # and, of a folder for one step, the one around that
    often_data: bool = False  # files of this kind mostly hold no weights

    def convert(self, path: Path) -> str:
        """The command for the checkpoint at ``path``. People paste it, so a name that a shell could take for more
        than a name is left for them to fill in."""
        place = path
        if self.parent and not (path / "latest").exists() and (path.is_file() or self.whole):
            place = path.parent
            if self.whole and path.is_file() and not (place / "latest").exists():
                place = place.parent
        return self.command.format(place if PLAIN.fullmatch(str(place)) else "PATH")


def recognise(path: Path) -> Kind | None:
    """The kind of a checkpoint that opsig knows and does not open; None for anything else."""
    if strange_kind(path):  # looking into it could wait without end
        return None
    with contextlib.suppress(OSError):
        return next((kind for kind in FOREIGN if kind.recognises(path)), None)
    return None


def _inside(path: Path) -> set[str]:
    """Names in a folder; none in a file."""
    return {entry.name for entry in path.iterdir()} if path.is_dir() else set()


def _ends(path: Path, *ends: str) -> bool:
    return not path.is_dir() and path.name.lower().endswith(ends)


def _deepspeed(path: Path) -> bool:
    ends, inside = ("_model_states.pt", "_optim_states.pt"), _inside(path)
    steps = "latest" in inside and (
        "zero_to_fp32.py" in inside or any(name.startswith("global_step") for name in inside)
    )
    return not _neox(path) and (_ends(path, *ends) or steps or any(name.endswith(ends) for name in inside))


def _neox(path: Path) -> bool:
    return any(_LAYER.fullmatch(name) for name in (_inside(path) or {path.name}))


def _megatron(path: Path) -> bool:
    inside = _inside(path)
    parts = {"model_optim_rng.pt", "model_rng.pt", "distrib_optim.pt"}
    ranks = [name for name in inside if name.startswith("mp_rank_") and (path / name).is_dir()]
    old = {
        "metadata.json",
        "common.pt",
    } <= inside and ".metadata" not in inside  # distributed, of zarr arrays
    return bool(ranks) or old or (path.name.startswith("mp_rank_") and bool(inside & parts))


def _flax(path: Path) -> bool:
    if not re.fullmatch(r"(?:.*_)?checkpoint_\d+", path.name) or path.is_dir():
        return _ends(path, ".msgpack")
    with open_file(path) as file:
        start = file.read(2)
    return bool(start) and (0x81 <= start[0] <= 0x8F or start[0] in (0xDE, 0xDF))  # a mapping of msgpack


def _archive(path: Path) -> bool:
    if _ends(path, ".zip", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2"):
        return True
    if not _ends(path, ".tar"):
        return False
    with open_file(path) as file:
        return file.read(262)[257:] == b"ustar"


def _compressed(path: Path, end: str) -> bool:
    return _ends(path, end) and not _archive(path)


def _gguf(path: Path) -> bool:
    if not _ends(path, ".bin"):
        return _ends(path, ".gguf", ".ggml")
    with open_file(path) as file:
        return file.read(4) == b"GGUF"


def _keras(path: Path) -> bool:
    if not _ends(path, ".h5", ".hdf5") or _ends(path, ".weights.h5"):
        return _ends(path, ".weights.h5")
    import h5py

    with h5py.File(path, "r") as file:
        attributes = {"keras_version", "model_config", "layer_names"}
        return bool(attributes & set(file.attrs)) or "model_weights" in file


def _tensorflow(path: Path) -> bool:
    data = path.with_name(path.stem + ".data-00000-of-00001")
    return "saved_model.pb" in _inside(path) or (_ends(path, ".index") and data.exists())


FOREIGN = (
    Kind(
        "a DeepSpeed ZeRO checkpoint",
        _deepspeed,
        "python -m deepspeed.utils.zero_to_fp32 {0} {0}-fp32 --safe_serialization",
        parent=True,
        whole=True,
    ),
    Kind(
        "a GPT-NeoX checkpoint",
        _neox,
        "python tools/ckpts/convert_neox_to_hf.py --input_dir {0} --config_file CONFIG.yml --output_dir hf",
        parent=True,
    ),
    Kind(
        "a Megatron-LM checkpoint",
        _megatron,
        'python -c "from megatron.bridge import AutoBridge as A; '
        "A.from_hf_pretrained('HF_MODEL').export_ckpt('{0}', 'hf')\"  "
        "# Megatron Bridge; HF_MODEL is one of the same architecture",
    ),
    Kind(
        "a NeMo archive of weights in several files",
        lambda path: _ends(path, ".nemo"),
        "mkdir unpacked && tar -xf {0} -C unpacked  # weights there by NeMo's convert_MODEL_nemo_to_hf.py, if in parts",
    ),
    Kind(
        "a Flax checkpoint (msgpack)",
        _flax,
        'python -c "import flax.serialization as s, flax.traverse_util as f, numpy, safetensors.numpy as n; '
        "t = f.flatten_dict(s.msgpack_restore(open('{0}', 'rb').read()), sep='.'); "
        f"n.save_file(dict(zip(t, map(numpy.asarray, t.values()))), 'weights.safetensors')\"{TURNED}",
    ),
    Kind(
        "an ONNX program",
        lambda path: _ends(path, ".onnx"),
        "python -c \"import onnx, onnx.numpy_helper as h, torch; w = onnx.load('{0}').graph.initializer; "
        "torch.save({{i.name: torch.tensor(h.to_array(i)) for i in w}}, 'weights.pt')\"",
    ),
    Kind(
        "numpy arrays (.npz)",
        lambda path: _ends(path, ".npz"),
        'python -c "import numpy, torch; '
        "torch.save({{k: torch.tensor(a) for k, a in numpy.load('{0}').items()}}, 'weights.pt')\"",
        often_data=True,
    ),
    *(
        Kind(
            f"a file compressed by {what}",
            partial(_compressed, end=end),
            f"{program} -k {{0}}",
            often_data=True,
        )
        for what, end, program in COMPRESSED
    ),
    Kind(
        "an archive",
        _archive,
        "python -c \"import shutil; shutil.unpack_archive('{0}', 'unpacked')\"",
        often_data=True,
    ),
    Kind(
        "a torch.export program (.pt2)",
        lambda path: _ends(path, ".pt2"),
        "python -c \"import torch; torch.save(torch.export.load('{0}').state_dict, 'weights.pt')\"  "
        "# runs the program",
    ),
    Kind(
        "an Orbax (JAX) checkpoint",
        lambda path: bool(_inside(path) & {"_CHECKPOINT_METADATA", "manifest.ocdbt", "_METADATA"}),
        'python -c "import os, orbax.checkpoint as o, numpy, flax.traverse_util as f, safetensors.numpy as s; '
        "t = f.flatten_dict(o.PyTreeCheckpointer().restore(os.path.abspath('{0}')), sep='.'); "
        f"s.save_file(dict(zip(t, map(numpy.asarray, t.values()))), 'weights.safetensors')\"{TURNED}",
    ),
    Kind(
        "a GGUF file (quantized, for llama.cpp)",
        _gguf,
        'python -c "from transformers import AutoModelForCausalLM as A; '
        "A.from_pretrained('.', gguf_file='{0}').save_pretrained('unquantized')\"",
    ),
    Kind(
        "a Keras model",
        lambda path: _ends(path, ".keras"),
        "python -c \"import keras, safetensors.numpy as s; m = keras.saving.load_model('{0}'); "
        f"s.save_file(dict((w.path, w.numpy()) for w in m.weights), 'weights.safetensors')\"{TURNED}",
    ),
    Kind(
        "Keras weights in HDF5",
        _keras,
        "python -c \"import h5py, safetensors.numpy as s; w = {{}}; h5py.File('{0}').visititems("
        "lambda k, v: w.update({{k: v[()]}}) if hasattr(v, 'dtype') and v.dtype.kind == 'f' else None); "
        f"s.save_file(w, 'weights.safetensors')\"{TURNED}",
    ),
    Kind(
        "PaddlePaddle parameters",
        lambda path: _ends(path, ".pdparams"),
        "python -c \"import pickle, numpy, safetensors.numpy as s; t = pickle.load(open('{0}', 'rb')); "
        f"s.save_file(dict((k, v) for k, v in t.items() if hasattr(v, 'dtype')), 'weights.safetensors')\"{TURNED}",
    ),
    Kind(
        "a TensorFlow checkpoint",
        _tensorflow,
        "python -c \"import os, tensorflow as t, safetensors.numpy as s; p = '{0}'.removesuffix('.index'); "
        "r = t.train.load_checkpoint(os.path.join(p, 'variables', 'variables') if os.path.isdir(p) else p); "
        "w = r.get_variable_to_dtype_map(); s.save_file(dict((k, r.get_tensor(k)) for k in w if w[k].is_floating), "
        f"'weights.safetensors')\"{TURNED}",
    ),
)
