"""Several processes that train one model together, as torch's launcher starts them.

torchrun --nproc-per-node 2 -m sightline.edge_app train photos/ --out run

Every process holds the whole model and learns from its share of each batch; gradients are averaged by
DistributedDataParallel. What is decided (how far the schedule is, when to stop, which photos) is the first
process's word, and it alone writes and talks.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .shared_norm import share_norms

T = TypeVar("T")


@dataclass(slots=True)
class Processes:
    """The processes of this run, and which of them this one is.

    Attributes:
        rank: Number of this process, from 0.
        count: How many there are.
        asked_to_stop: Whether this process was interrupted; see `stopping`.
    """

    rank: int = 0
    count: int = 1
    asked_to_stop: bool = False

    @property
    def leads(self) -> bool:
        """Whether this process writes and talks."""
        return self.rank == 0

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give this process's part of a batch: neighbours stay together."""
        return np.array_split(rows, self.count)[self.rank]

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Give this process's part of a list; `join` puts the results in order again."""
        return items[self.rank :: self.count]

    def join(self, mine: Sequence[T]) -> list[T]:
        """Give what all processes made of their parts, in the order of the list that was parted."""
        if self.count == 1:
            return list(mine)
        every: list[Sequence[T]] = [()] * self.count
        dist.all_gather_object(every, mine)
        return [every[row % self.count][row // self.count] for row in range(sum(map(len, every)))]

    def agree(self, value: T) -> T:
        """Give the first process's value."""
        if self.count == 1:
            return value
        held: list[Any] = [value]
        dist.broadcast_object_list(held, src=0)
        result: T = held[0]
        return result

    @contextmanager
    def lead_first(self) -> Iterator[None]:
        """Let the first process do a thing before the others do: they find its files, or fail as it did."""
        if not self.leads:
            self.agree(None)
        try:
            yield
        finally:
            if self.leads:
                self.agree(None)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up figures of all processes."""
        if self.count == 1:
            return values
        total = torch.from_numpy(values)
        dist.all_reduce(total)
        return total.numpy()

    def stopping(self) -> bool:
        """Say whether any process was asked to stop; all hear it at the same step, so none waits for another."""
        if self.count == 1:
            return False
        asked = torch.tensor(float(self.asked_to_stop))
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        return bool(asked)

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Give a module whose gradients, after `backward`, are those of all processes' batches together."""
        if self.count == 1:
            return objective
        share_norms(objective)
        # Which heads take part differs from step to step.
        return DistributedDataParallel(objective, find_unused_parameters=True)


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that torch's launcher started beside this one; without a launcher there is one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    processes = Processes(dist.get_rank(), dist.get_world_size())

    def heed(number: int, frame: FrameType | None) -> None:
        processes.asked_to_stop = True

    before = {number: signal.signal(number, heed) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield processes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        dist.destroy_process_group()
