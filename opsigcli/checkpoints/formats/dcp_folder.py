"""Folders of torch.distributed.checkpoint: FSDP2, torchtitan, sharded Lightning. Read without a process group."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from opsigcli.checkpoints.base import CheckpointFormat, Header, NotWeights, unreadable
from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.formats import contents, rebuild
from opsigcli.checkpoints.formats.dcp_metadata import DcpTensor, DcpValue, Place, read_metadata
from opsigcli.checkpoints.formats.optimizer_places import optimizer_state
from opsigcli.checkpoints.formats.torch_container import Opened, open_torch
from opsigcli.checkpoints.formats.torch_file import TorchFile, resolved
from opsigcli.checkpoints.formats.torch_pickle import StoredTensor
from opsigcli.errors import CheckpointError
from opsigcli.files import open_file
from opsigcli.pickles.records import Malformed

if TYPE_CHECKING:
    import torch

METADATA, SUFFIX, BESIDE = ".metadata", ".distcp", "meta.pt"
_MAX_METADATA = 1 << 28
_MAX_VALUE = 1 << 20  # bytes of a value that is no tensor


class DcpFolder(CheckpointFormat):
    """One folder of torch.distributed.checkpoint."""

    name = "dcp"
    folder = True
    parts = (BESIDE,)

    def recognises(self, path: Path) -> bool:
        """Folders with a .metadata, or with .distcp files."""
        if not path.is_dir():
            return False
        try:
            return (path / METADATA).is_file() or any(entry.suffix == SUFFIX for entry in path.iterdir())
        except OSError:
            return False

    def describe(self, path: Path) -> Header:
        """Names, types and shapes from the metadata; step, epoch and lr from the small values.

        Raises:
            NotWeights: there are no weights by name.
        """
        with _Files(path) as files:
            sets = {".".join(where): found for where, found in contents.candidates(files.tree).items()}
            if not sets:
                raise NotWeights(
                    f"expected weights by name, found none in {path}", "leave it out of the folder"
                )
            state = contents.training(files.tree, files.value)
        if (path / BESIDE).is_file():  # Lightning keeps the small values in a file of their own
            counts = TorchFile().describe_state(path / BESIDE)
            state = contents.Training(counts.counts | state.counts, state.lr, state.optimizer)
        return Header(sets, state.counts, state.lr, state.optimizer)

    def read(self, path: Path, key: str | None = None, weights: str = "") -> dict[str, torch.Tensor]:
        """The weights, every tensor put together from its chunks."""
        with _Files(path) as files:
            sets = {".".join(where): found for where, found in contents.candidates(files.tree).items()}
            chosen, names = choose(path, sets, key, weights)
            return {plain: files.tensor(cast(DcpTensor, sets[chosen][own])) for plain, own in names.items()}

    def optimizer(self, path: Path, *, tensors: bool) -> dict[str, Any]:
        """The optimizer's groups and state; the state by parameter name."""
        with _Files(path) as files:
            state = optimizer_state(files.tree)

            def leaf(value: Any) -> Any:
                if isinstance(value, DcpTensor) and tensors:
                    return files.tensor(value)
                return files.value(value)

            return resolved(state, leaf) if state else {}

    def arguments(self, path: Path) -> Mapping[str, Any]:
        """Settings in the file that Lightning keeps beside the parts."""
        return TorchFile().arguments(path / BESIDE) if (path / BESIDE).is_file() else {}

    def files(self, path: Path) -> list[Path]:
        """The data files, and the metadata that says what is where in them."""
        return [entry for entry in sorted(path.iterdir()) if entry.suffix == SUFFIX or entry.name == METADATA]


class _Files:
    """The files of a folder, opened when they are first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack = ExitStack()
        self.open: dict[str, IO[bytes]] = {}

    def __enter__(self) -> _Files:
        try:
            self.sizes = _sizes(self.path)
            self.tree = self._tree()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.stack.close()
        if isinstance(error, Malformed):
            raise CheckpointError(
                f"expected a folder of torch.distributed.checkpoint, found {self.path}: {error}",
                "copy or save the checkpoint again; one of its writers may have been killed",
            ) from error
        if isinstance(error, OSError):
            raise unreadable(self.path, error) from error

    def value(self, leaf: Any) -> Any:
        """A small value, or the number in a tensor of one element."""
        if isinstance(leaf, DcpTensor) and leaf.count == 1 and len(leaf.chunks) == 1:
            opened, stored, file = self._stored(leaf.chunks[0].place)
            return rebuild.number(file, opened.locate, stored) if stored.count == 1 else None
        if isinstance(leaf, DcpValue):
            if leaf.place.length > _MAX_VALUE:
                return None
            file = self._file(leaf.place.file)
            return open_torch(file, leaf.place.offset, leaf.place.length).content.root
        return leaf

    def tensor(self, wanted: DcpTensor) -> torch.Tensor:
        """A tensor put together from its chunks.

        Raises:
            Malformed: a chunk has another shape than its metadata says.
        """
        import torch

        whole = torch.empty(wanted.shape, dtype=getattr(torch, wanted.dtype))
        for chunk in wanted.chunks:
            opened, stored, file = self._stored(chunk.place)
            if stored.shape != chunk.sizes or stored.dtype != wanted.dtype:
                raise Malformed(f"a chunk has the shape {stored.shape}, and its metadata says {chunk.sizes}")
            part = rebuild.tensors(file, opened.locate, {"": stored}, chunk.place.length)[""]
            box = tuple(slice(a, a + n) for a, n in zip(chunk.offsets, chunk.sizes, strict=True))
            whole[box] = part
        return whole

    def _stored(self, place: Place) -> tuple[Opened, StoredTensor, IO[bytes]]:
        file = self._file(place.file)
        opened = open_torch(file, place.offset, place.length)
        if not isinstance(opened.content.root, StoredTensor) or opened.content.refused:
            raise Malformed("a chunk holds no dense tensor")
        return opened, opened.content.root, file

    def _file(self, name: str) -> IO[bytes]:
        if name not in self.open:
            self.open[name] = self.stack.enter_context(open_file(self.path / name))
        return self.open[name]

    def _tree(self) -> Mapping[str, Any]:
        metadata = self.path / METADATA
        if not metadata.is_file():
            raise CheckpointError(
                f"the checkpoint {self.path} is incomplete: expected {METADATA} beside its {SUFFIX} files, found none",
                "it is written last: the writer was killed, or the copy is not finished",
            )
        if metadata.stat().st_size > _MAX_METADATA:
            raise Malformed(f"its metadata is larger than {_MAX_METADATA} bytes")
        return read_metadata(metadata.read_bytes(), self.sizes)


def _sizes(path: Path) -> dict[str, int]:
    """The data files of the folder; links that lead out of it are none of its files."""
    own = path.resolve()
    files = [entry for entry in path.iterdir() if entry.suffix == SUFFIX and entry.is_file()]
    return {entry.name: entry.stat().st_size for entry in files if entry.resolve().parent == own}
