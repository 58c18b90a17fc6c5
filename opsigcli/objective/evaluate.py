"""Losses of the same examples at many checkpoints, at the speed of the forward pass.

What is the same at every checkpoint is done once: inputs are decoded, laid out as the model likes them and kept, and
the batch grid is fixed. The grid depends on model and data alone, and every batch is computed by one thread, so that
the losses are the same to the bit whatever number of threads or processes computes them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsigcli.errors import ObjectiveError
from opsigcli.objective import forms
from opsigcli.objective.base import Objective
from opsigcli.objective.counting import marked
from opsigcli.objective.sizes import measure
from opsigcli.printable import count
from opsigcli.usercode import guarded

RESIDENT_BYTES = 1 << 30  # inputs of one shard, as they are kept
LARGEST_SHARD = 1 << 18  # examples
IN_FLIGHT = (
    1 << 30
)  # the largest activations of all threads; who computes a batch leaves no trace in its losses


class Evaluator:
    """Evaluates an objective's losses shard by shard, checkpoint by checkpoint.

    Use: ``hold`` the examples of a shard, then for every checkpoint load its weights into ``objective.model`` and
    call ``losses``.

    Args:
        objective: model, data and loss. Its model is put into the memory layout that suits it.
        batch_size: examples (sequences, for tokens) per forward pass; None = as suits the caches.
        precision: float32, bf16 or tf32, of the forward pass; losses are float32 always.
        threads: batches computed at a time, as far as memory allows; None = as many as torch would use.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        batch_size: int | None = None,
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.objective = objective
        self.precision = precision
        self.on_cpu = objective.device.type == "cpu"
        sizes = measure(objective.model, objective.read(objective.counted[:1]))
        self.batch_size = batch_size or forms.suitable_batch(objective, sizes)
        self.threads = (threads or torch.get_num_threads()) if self.on_cpu else 1
        self.threads = min(self.threads, max(1, IN_FLIGHT // (self.batch_size * sizes.largest)))
        with one_thread() if self.on_cpu else reduced("float32", objective.device.type):
            self.channels_last = forms.put_channels_last(objective)
        self._sequences = None if objective.token_loss is None else objective.source.sequences
        self._inputs: Tensor | None = None
        self._affine: tuple[Tensor, Tensor] | None = None  # from bytes to numbers, where bytes are kept
        self._stop = False
        examples = min(len(objective.source), self.shard_size)
        self.folded = forms.fold(objective.model, sizes, examples)

    @property
    def shard_size(self) -> int:
        """Examples in one shard: what can be kept in memory, whoever computes it."""
        source = self.objective.source
        width = 4 if source.pixels(np.arange(1)) is None else 1
        bytes_each = max(int(np.prod(source.input_shape, dtype=np.int64)) * width, 1)
        if self._sequences is not None:  # their tokens share inputs and labels
            bytes_each = -(-16 * len(self._sequences.whole) * int(np.prod(source.input_shape)) // len(source))
        whole = RESIDENT_BYTES // bytes_each // self.batch_size * self.batch_size
        return int(min(LARGEST_SHARD, max(whole, self.batch_size)))

    def hold(self, positions: NDArray[np.int64]) -> None:
        """Keep the examples at ``positions`` (increasing) ready; those held before are let go."""
        self._inputs = None
        rows = positions
        if self._sequences is not None:
            rows, self._places, self._columns = self._sequences.locate(positions)
            whole = self._sequences.whole
            self._inputs = self.objective.read(rows, whole)
            labels = torch.as_tensor(whole.read_targets(rows))
            self._targets = marked(labels, self.objective.kind).to(self.objective.device)
        else:
            self._inputs = self._read(positions)
            if self._affine is None and len(positions) == len(self.objective.source):
                self.objective.keep(self._inputs)
            self._targets = self.objective.targets(positions)
        self._count = len(positions)
        self._rows = len(rows)
        self._probe = torch.as_tensor(
            np.linspace(0, self._rows - 1, min(forms.PROBED, self._rows)).astype(np.int64)
        )

    def losses(self) -> NDArray[np.float32]:
        """Losses (N,) float32, nats, of the examples held, at the weights that the model has now.

        Raises:
            ObjectiveError: model or loss fail on them.
        """
        what = f"the loss {self.objective.loss!r} of {count(self._count, 'example')}"
        with guarded(ObjectiveError, what, "check that --model, --loss and --data belong together"):
            return self._computed()

    def _computed(self) -> NDArray[np.float32]:
        self.objective.settle()
        forward = self._forward()
        out = torch.empty(self._count, dtype=torch.float32, device=self.objective.device)
        batches = -(-self._rows // self.batch_size)
        bounds = np.linspace(0, batches, self.threads + 1).astype(int) * self.batch_size
        pieces = [(int(a), int(b)) for a, b in itertools.pairwise(bounds) if a < b]
        with one_thread() if self.on_cpu else contextlib.nullcontext():
            if len(pieces) == 1:
                self._fill(out, forward, *pieces[0])
            else:
                self._stop = False
                with ThreadPoolExecutor(len(pieces)) as pool:
                    try:
                        for piece in [pool.submit(self._fill, out, forward, *piece) for piece in pieces]:
                            piece.result()
                    except BaseException:  # a signal must not wait for the whole shard
                        self._stop = True
                        raise
        return out.cpu().numpy()

    @torch.inference_mode()
    def _fill(self, out: Tensor, forward: Any, first: int, last: int) -> None:
        """Write the losses of rows ``first`` to ``last``, batch by batch."""
        assert self._inputs is not None
        for start in range(first, min(last, self._rows), self.batch_size):
            if self._stop:
                return
            rows = slice(start, start + self.batch_size)
            targets = self._targets[rows]
            outputs = forward(self._inputs[rows])
            if self.objective.token_loss is None:
                out[rows] = self.objective.example_loss(outputs, targets)
                continue
            here = slice(*np.searchsorted(self._places, [start, start + self.batch_size]))
            matrix = self.objective.token_loss(outputs, targets)
            places = torch.as_tensor(self._places[here] - start, device=out.device)
            out[here] = matrix[places, torch.as_tensor(self._columns[here], device=out.device)]

    def _forward(self) -> Any:
        """Inputs as they are kept to float32 outputs: folded where that agrees at these weights."""
        plain = self._through(self.objective.model)
        if self.folded is None:
            return plain
        self.folded.refresh()
        folded = self._through(self.folded)
        return folded if self._agree(plain, folded) else plain

    def _through(self, model: Any) -> Any:
        def forward(inputs: Tensor) -> Tensor:
            with reduced(self.precision, inputs.device.type):
                found: Tensor = model(self._ready(inputs))
            return found.float()

        return forward

    @torch.inference_mode()
    def _agree(self, plain: Any, fast: Any) -> bool:
        """Whether both give the same losses on a few examples, NaN and infinity included."""
        assert self._inputs is not None
        inputs, targets = self._inputs[self._probe], self._targets[self._probe]
        with one_thread() if self.on_cpu else contextlib.nullcontext():
            shared = self._sequences is not None  # whose labels come without weights
            loss = self.objective.kind.of_examples if shared else self.objective.example_loss
            first, second = (loss(f(inputs), targets) for f in (plain, fast))
        return forms.agree(first, second)

    def _read(self, positions: NDArray[np.int64]) -> Tensor:
        """Inputs as they are kept: bytes where the device is to make numbers of them, or floats would be too many."""
        source, device = self.objective.source, self.objective.device
        width = int(np.prod(source.input_shape, dtype=np.int64)) * 4
        self._affine = None
        if not self.on_cpu or len(positions) * width > RESIDENT_BYTES:
            pixels = source.pixels(positions)
            if pixels is not None:
                self._affine = self._normalisation()
                return torch.as_tensor(pixels).to(device)
        return self._laid_out(self.objective.read(positions))

    def _normalisation(self) -> tuple[Tensor, Tensor]:
        """Scale and shift that make of bytes what the source would read, on the device."""
        mean, deviation = self.objective.source.normalisation or (np.zeros(1), np.ones(1))
        scale = 1 / (255 * deviation.astype(np.float64))
        found = (scale, -mean.astype(np.float64) / deviation)
        scaled, shifted = (torch.as_tensor(f).to(self.objective.device, self.objective.dtype) for f in found)
        return scaled, shifted

    def _laid_out(self, inputs: Tensor) -> Tensor:
        if self.channels_last and inputs.ndim == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def _ready(self, inputs: Tensor) -> Tensor:
        """Numbers from bytes, ``(x / 255 - mean) / deviation`` in two passes instead of four."""
        if self._affine is None:
            return inputs
        scale, shift = self._affine
        return self._laid_out(inputs.to(self.objective.dtype).mul_(scale).add_(shift))


@contextmanager
def one_thread() -> Iterator[None]:
    """Operations on one thread each, so that sums are in one order on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def reduced(precision: str, device: str) -> AbstractContextManager[Any]:
    """The context in which a forward pass runs at ``precision``: float32 means it, though torch's own default is TF32
    for convolutions on a GPU."""
    if precision == "bf16":
        return torch.autocast(device, dtype=torch.bfloat16, cache_enabled=False)
    return _tf32(precision == "tf32") if device == "cuda" else contextlib.nullcontext()
