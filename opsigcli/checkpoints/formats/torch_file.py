"""Files of torch.save: a zip of a pickle and one record per storage, or the older stream of pickles.

The pickle is read as data (see ``pickles``), once as long as the file does not change: that finds the classes it
names, the sizes it claims and where its numbers lie. The tensors are then made from the bytes there, and the rest
stays data: no library unpickles the file, so nothing in it can run. Only ``unsafe``, which a user has to ask for in
each call, runs its code.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from opsigcli.checkpoints.base import CheckpointFormat, Header, NotWeights, unreadable
from opsigcli.checkpoints.choose import choose
from opsigcli.checkpoints.formats import around_weights, contents, rebuild, safetensors_file, torch_pickle
from opsigcli.checkpoints.formats.optimizer_places import optimizer_state
from opsigcli.checkpoints.formats.settings import CRITERION, LONGEST, flattened
from opsigcli.checkpoints.formats.sparse_state import dense, is_sparse
from opsigcli.checkpoints.formats.torch_container import (
    START,
    ZIP,
    Opened,
    Program,
    in_tar,
    open_torch,
    saved_by_torch,
    some,
)
from opsigcli.checkpoints.formats.torch_pickle import StoredTensor
from opsigcli.checkpoints.unchanged import Kept, identity
from opsigcli.errors import CheckpointError
from opsigcli.files import open_file
from opsigcli.pickles.records import Malformed, OtherNumbers, fields
from opsigcli.state_dict import StateDict, moved

if TYPE_CHECKING:
    import torch

# Between a look at the header, the weights and the optimizer's state. In bytes of pickles: what they describe takes
# about seven times as much memory.
_KEPT: Kept[Opened] = Kept(1 << 24)
_AGAIN = "copy or save the checkpoint again; the writer may have been killed, or the disk full"


class TorchFile(CheckpointFormat):
    """One file of torch.save.

    Args:
        unpickle: let pickle run the code of files that cannot be read otherwise.
    """

    name = "torch"
    suffixes: tuple[str, ...] = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".pyth", ".th", ".pkl", ".nemo")

    def __init__(self, unpickle: bool = False) -> None:
        self.unpickle = unpickle

    def unsafe(self) -> TorchFile:
        """A reader that unpickles what it cannot read as data."""
        return TorchFile(unpickle=True)

    def recognises(self, path: Path) -> bool:
        """Files that begin as torch.save writes them, whatever their names; of names that torch users give, also those
        that cannot be read, are broken or are any pickle, so that reading them says so."""
        suffix, name = path.suffix.lower(), path.name.lower()
        if not path.is_file():
            return False
        try:
            with open_file(path) as file:
                start = file.read(START)
                if suffix == ".nemo":
                    return in_tar(file) is not None
        except OSError:
            return suffix in self.suffixes
        if safetensors_file.begins(path):
            return False
        if (
            suffix in (".pt", ".pth", ".ckpt")
            or name.endswith((".pth.tar", ".pt.tar"))
            or saved_by_torch(start)
        ):
            return True
        return suffix in (".bin", ".tar") and (start[:4] == ZIP or start[:1] == b"\x80")

    def describe(self, path: Path) -> Header:
        """Names, types, shapes and training state, from the pickle read as data."""
        if self.unpickle and (live := _live_if_needed(path)):
            return Header(live.facts, notes=("opened with pickle, which ran the code in it",))
        with _opened(path) as (file, opened):
            sets = _sets(path, opened)
            root = opened.content.root
            state = contents.training(root, lambda leaf: _value(file, opened, leaf))
            aside = tuple(
                dict.fromkeys(name for where in sets for name in around_weights.no_tensors(root, where))
            )
        weights = {".".join(where): tensors for where, tensors in sets.items()}
        foreign = [name for name in opened.content.foreign if name not in torch_pickle.UNDERSTOOD]
        notes: tuple[str, ...] = (f"holds objects that are not opened: {some(foreign)}",) if foreign else ()
        hint = (
            f"timm:{state.model}" if state.model.replace("_", "").isalnum() and state.model.isascii() else ""
        )
        notes += (f"no tensors, and left out: {some(aside)}",) if aside else ()
        return Header(weights, state.counts, state.lr, state.optimizer, notes, aside=aside, model=hint)

    def read(self, path: Path, key: str | None = None, weights: str = "") -> dict[str, torch.Tensor]:
        """The weights, in memory of their own, so that a file written over later changes nothing; with the versions of
        their modules."""
        if self.unpickle and (live := _live_if_needed(path)):
            found_live: dict[str, torch.Tensor] = live.read(key, weights)
            return StateDict(found_live)
        with _opened(path) as (file, opened):
            found = _sets(path, opened)
            sets = {".".join(where): where for where in found}
            chosen, names = choose(path, {name: found[where] for name, where in sets.items()}, key, weights)
            where = sets[chosen]
            wanted = cast(dict[str, StoredTensor], {n: found[where][own] for n, own in names.items()})
            versions = around_weights.versions(opened.content.root, where)
            return StateDict(
                rebuild.tensors(file, opened.locate, wanted, opened.size),
                None if versions is None else moved(versions, names),
            )

    def arguments(self, path: Path) -> Mapping[str, Any]:
        """Plain values beside the weights: of ``args``, ``hyper_parameters``, ``config``; and weights of classes."""
        with _opened(path) as (file, opened):
            sets = contents.candidates(opened.content.root).values()
            small = {
                name: cast(StoredTensor, tensor)
                for tensors in sets
                for name, tensor in tensors.items()
                if CRITERION.fullmatch(name) and len(tensor.shape) == 1 and tensor.count <= LONGEST
            }

            def numbers(tensor: Any) -> list[float]:
                values: list[float] = rebuild.tensors(file, opened.locate, {"": tensor}, opened.size)[
                    ""
                ].tolist()
                return values

            of_modules = {name: numbers(tensor) for name, tensor in small.items()}
            return flattened(opened.content.root, numbers) | of_modules

    def describe_state(self, path: Path) -> contents.Training:
        """Step, lr and optimizer in a file that need not hold weights."""
        with _opened(path) as (file, opened):
            return contents.training(opened.content.root, lambda leaf: _value(file, opened, leaf))

    def read_named(self, path: Path, names: Mapping[str, str]) -> dict[str, torch.Tensor]:
        """Tensors of a file without a wrapper, as name to give -> name in the file."""
        return cast(StateDict, self.read(path)).renamed(names)

    def optimizer(self, path: Path, *, tensors: bool) -> dict[str, Any]:
        """The optimizer's groups and state."""
        with _opened(path) as (file, opened):
            state = optimizer_state(fields(opened.content.root))
            return resolved(state, lambda leaf: _leaf(file, opened, leaf, tensors)) if state else {}


def resolved(state: Any, leaf: contents.Value) -> Any:
    """``state`` as plain dicts and lists, every leaf as ``leaf`` gives it."""
    own = fields(state)
    if own or state == {}:
        return {key: resolved(value, leaf) for key, value in own.items()}
    return [resolved(value, leaf) for value in state] if isinstance(state, list) else leaf(state)


def _leaf(file: IO[bytes], opened: Opened, leaf: Any, tensors: bool) -> Any:
    if tensors and is_sparse(leaf):
        return dense(leaf, lambda part: rebuild.tensors(file, opened.locate, {"": part}, opened.size)[""])
    if not isinstance(leaf, StoredTensor):
        return leaf
    if tensors:
        return rebuild.tensors(file, opened.locate, {"": leaf}, opened.size)[""]
    return _value(file, opened, leaf) if leaf.count == 1 else leaf


def _value(file: IO[bytes], opened: Opened, leaf: Any) -> Any:
    return rebuild.number(file, opened.locate, leaf) if isinstance(leaf, StoredTensor) else leaf


class _opened:
    """A context: the file and what it holds as data. Foreign errors on the way out become opsig's."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> tuple[IO[bytes], Opened]:
        path = self.path
        try:
            self.file = open_file(path)
        except OSError as error:
            raise unreadable(path, error) from error
        try:
            status = os.fstat(self.file.fileno())
            if not status.st_size:
                raise CheckpointError(f"{path} is empty: expected a torch.save file, found 0 bytes", _AGAIN)
            opened = _KEPT.get(identity(status), lambda: _parsed(self.file, status.st_size))
            if opened.content.refused:
                raise CheckpointError(
                    f"expected dense tensors, found {' and '.join(opened.content.refused)} in {path}",
                    _CONVERT_PARTS
                    if "DTensor" in str(opened.content.refused)
                    else "convert them with tensor.to_dense() or .dequantize() and save the weights again",
                )
        except BaseException as error:
            self.file.close()
            self._translate(error)
            raise
        return self.file if opened.apart is None else io.BytesIO(opened.apart), opened

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.file.close()
        self._translate(error)

    def _translate(self, error: BaseException | None) -> None:
        if isinstance(error, Program):
            plain = re.fullmatch(r"[\w./@+=,:-]+", str(self.path))
            hint = error.hint.replace("MODEL.pt", str(self.path)) if plain else error.hint
            raise CheckpointError(f"expected weights, found {error} in {self.path}", hint) from error
        if isinstance(error, OtherNumbers):
            raise CheckpointError(
                f"expected weights as floating-point numbers, found {self.path}: {error}",
                "save the weights of the model before it was quantized, or dequantized: "
                "{name: p.dequantize() for name, p in model.state_dict().items()}",
            ) from error
        if isinstance(error, Malformed):
            raise corrupt(self.path, str(error)) from error
        if isinstance(error, OSError):
            raise unreadable(self.path, error) from error
        if isinstance(error, MemoryError | OverflowError):
            raise corrupt(self.path, "its tensors do not fit into memory") from error


def _parsed(file: IO[bytes], size: int) -> tuple[Opened, int]:
    opened = open_torch(file, 0, size)
    return opened, opened.pickled


_CONVERT_PARTS = (
    "save with torch.distributed.checkpoint, or gather the parts first: "
    "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"
)


def _sets(path: Path, opened: Opened) -> dict[contents.Where, contents.Tensors]:
    found = contents.candidates(opened.content.root)
    if found:
        return found
    if opened.content.foreign:
        raise CheckpointError(
            f"expected weights by name, found none in {path}; it holds {some(opened.content.foreign)}",
            "where it was made, save the weights alone: torch.save(model.state_dict(), 'weights.pt')",
        )
    root = opened.content.root
    kind = "a single tensor" if isinstance(root, StoredTensor) else f"a {type(root).__name__}"
    raise NotWeights(f"expected weights by name, found {kind} in {path}", "leave it out of the folder")


def _live_if_needed(path: Path) -> Any:
    """The file opened by pickle, if it can be read in no other way; else None."""
    try:
        with _opened(path) as (_, opened):
            _sets(path, opened)
        return None
    except CheckpointError as refusal:
        from opsigcli.checkpoints.formats.unsafe_pickle import Live

        return Live(path, refusal)


def corrupt(path: Path, problem: str) -> CheckpointError:
    """The error for a file that is broken."""
    return CheckpointError(f"expected a torch.save file, found {path}: {problem}", _AGAIN)
