"""Files of pickle.dump: weights as tensors or numpy arrays by name, whatever the file is called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from opsigcli.checkpoints.base import Header, NotWeights
from opsigcli.checkpoints.formats.foreign import PLAIN
from opsigcli.checkpoints.formats.plain_pickle import looks_like_one
from opsigcli.checkpoints.formats.torch_container import START, saved_by_torch
from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.errors import CheckpointError
from opsigcli.files import open_file

# What parameters and states of a module of Haiku or Flax are called.
LEAVES = {"w", "b", "scale", "offset", "embeddings", "kernel", "bias", "embedding"} | {
    "average", "hidden", "counter", "mean", "var", "w_i", "w_h", "pos_embs",
}  # fmt: skip
# It loads the file as its owner does, which runs what stands in it.
TREE = (
    "python -c \"import pickle, numpy, safetensors.numpy as s; t = pickle.load(open('{0}', 'rb')); "
    "t = t.get('params', t); f = lambda d, p='': [x for k, v in d.items() for x in (f(v, p + k + '.') "
    "if hasattr(v, 'items') else [(p + k, numpy.ascontiguousarray(v))])]; "
    "s.save_file(dict(f(t)), 'weights.safetensors')\"  # a w or kernel is the transpose of torch's weight"
)


class PickleFile(TorchFile):
    """One file of pickle.dump. Programs keep much else in such files: one without weights is left out, and said."""

    name = "pickle"
    suffixes = (".pkl", ".pickle", ".pk", ".p")

    def unsafe(self) -> PickleFile:
        """The same: what is no tensor in it stays data."""
        return self

    def recognises(self, path: Path) -> bool:
        """Files that begin and end as a pickle does, and are none of torch.save or of Paddle, whose linear weights
        are the transposes of torch's: square ones would fit."""
        if not path.is_file() or path.suffix == ".pdparams":
            return False
        try:
            with open_file(path) as file:
                start = file.read(START)
                file.seek(-1, os.SEEK_END)
                return looks_like_one(start, file.read(1)) and not saved_by_torch(start)
        except OSError:
            return False

    def describe(self, path: Path) -> Header:
        """Names, types, shapes and training state.

        Raises:
            NotWeights: it holds none that opsig reads.
            CheckpointError: it holds the parameters of a program of JAX.
        """
        try:
            found = super().describe(path)
        except CheckpointError as error:
            if " jax." in error.message:  # among what it holds and opsig does not read
                raise _tree(path) from error
            raise NotWeights(error.message, error.hint) from error
        if of_jax(found.candidates):
            raise _tree(path)
        return found


def _tree(path: Path) -> CheckpointError:
    return CheckpointError(
        "expected weights by the names of torch, found a tree of modules and their parameters, as Haiku and Flax keep "
        f"them, in {path}",
        f"convert it: {TREE.format(path if PLAIN.fullmatch(str(path)) else 'PATH')}",
    )


def of_jax(sets: Mapping[str, Iterable[str]]) -> bool:
    """Whether sets of weights are the parameters of single modules, by names that JAX's libraries have."""
    inner = [set(names) for names in sets.values()]
    return (
        "" not in sets
        and all(found <= LEAVES for found in inner)
        and any(found & {"w", "kernel"} for found in inner)
    )
