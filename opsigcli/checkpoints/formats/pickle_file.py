"""Files of pickle.dump: weights as tensors or numpy arrays by name, whatever the file is called."""

from __future__ import annotations

import os
from pathlib import Path

from opsigcli.checkpoints.base import Header, NotWeights
from opsigcli.checkpoints.formats.plain_pickle import looks_like_one
from opsigcli.checkpoints.formats.torch_container import START, saved_by_torch
from opsigcli.checkpoints.formats.torch_file import TorchFile
from opsigcli.errors import CheckpointError
from opsigcli.files import open_file


class PickleFile(TorchFile):
    """One file of pickle.dump. Programs keep much else in such files: one without weights is left out, and said."""

    name = "pickle"
    suffixes = (".pkl", ".pickle", ".pk", ".p")

    def unsafe(self) -> PickleFile:
        """The same: what is no tensor in it stays data."""
        return self

    def recognises(self, path: Path) -> bool:
        """Files that begin and end as a pickle does, and are none of torch.save."""
        if not path.is_file():
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
        """
        try:
            return super().describe(path)
        except CheckpointError as error:
            raise NotWeights(error.message, error.hint) from error
