"""Data parallelism: processes that shard the examples of one objective, whose sums over data become all-reduces."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class DataParallel:
    """The part of the examples that this process sums over.

    Under ``torchrun`` every process runs the same command on the same files. Each sums over its own examples, the
    sums are added up over all processes, and everything else is computed alike everywhere, so that no process has to
    be told what another found. Vectors of P numbers are what is exchanged: one all-reduce per HVP.
    """

    rank: int = 0
    processes: int = 1

    def shard(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The examples of this process among ``positions``: neighbouring ones, so that batches stay whole."""
        return np.array_split(positions, self.processes)[self.rank]

    def all_reduce(self, total: Tensor) -> Tensor:
        """The sum of ``total`` over all processes, in place."""
        if self.processes > 1:
            torch.distributed.all_reduce(total)
        return total

    def broadcast(self, flag: bool) -> bool:
        """What the first process says: clocks differ, decisions must not."""
        if self.processes == 1:
            return flag
        said = torch.tensor([int(flag)])
        torch.distributed.broadcast(said, src=0)
        return bool(said.item())


def join_process_group(environment: Mapping[str, str] = os.environ) -> DataParallel:
    """Join the process group that ``torchrun`` set up; without one, this process has all examples.

    With CUDA the processes talk by NCCL and each takes the GPU of its local rank, else by Gloo.
    """
    processes = int(environment.get("WORLD_SIZE", "1"))
    if processes == 1 or not torch.distributed.is_available():
        return DataParallel()
    if not torch.distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        # Gloo for tensors on the CPU and NCCL for those on GPUs, whichever device the command picks.
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return DataParallel(torch.distributed.get_rank(), torch.distributed.get_world_size())


def destroy_process_group() -> None:
    """Destroy the process group, where one was joined."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def process_group() -> Iterator[DataParallel]:
    """The processes that share the examples, as long as the block runs."""
    try:
        yield join_process_group()
    finally:
        destroy_process_group()
