"""Several processes, one run.

Every process holds all examples and the whole plan, so that only numbers travel, and nothing is
ever pickled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.distributed.tensor import DTensor

from collimate._checks import BadRun, LostProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among those of the run.

    device: where numbers travel. sharded: each process holds a part of every weight (FSDP2); they
    exchange weights in every forward pass, so all must take equally many.
    """

    rank: int
    count: int
    device: torch.device
    sharded: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for the others."""
        if self.count > 1:
            dist.barrier()

    def any(self, answer: bool) -> bool:
        """Whether any process says yes."""
        return self.total(int(answer)) > 0

    def total(self, number: int) -> int:
        """The sum of everyone's numbers."""
        return self._reduced(number, dist.ReduceOp.SUM)

    def least(self, number: int) -> int:
        """The smallest of everyone's numbers."""
        return self._reduced(number, dist.ReduceOp.MIN)

    def _reduced(self, number: int, how: dist.ReduceOp.RedOpType) -> int:
        if self.count == 1:
            return number
        box = torch.tensor([number], device=self.device)
        dist.all_reduce(box, op=how)
        return int(box.item())

    def require_same(self, text: str) -> None:
        """Errors: BadRun unless every process says the same.

        Each has read model, data and checkpoint by itself: another order of rows, or weights made
        without a seed, would otherwise be averaged in silence.
        """
        number = int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
        if self.least(number) != -self.least(-number):
            raise BadRun(
                "the processes do not run the same: their models, data, settings or checkpoints "
                "differ; give all of them the same files, and models made with the same seed"
            )

    def gather(
        self,
        parts: Sequence[Float[Tensor, " _"]],
        sizes: Sequence[Sequence[int]],
        dtype: torch.dtype,
    ) -> list[list[Float[Tensor, " _"]]]:
        """Everyone's parts, by process: all of `dtype`, and none from a process that has none.

        sizes: the lengths of each process's parts, known to all.
        """
        if self.count == 1:
            return [list(parts)]
        widest = max(map(sum, sizes))
        padded = torch.zeros(widest, dtype=dtype, device=self.device)
        if parts:
            flat = torch.cat(list(parts))
            padded[: len(flat)] = flat
        everyone = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(everyone, padded)
        return [
            list(row[: sum(own)].split(list(own))) for row, own in zip(everyone, sizes, strict=True)
        ]

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Make every parameter's gradient the sum of everyone's; sharded ones are summed already.

        One exchange per step, whatever its micro-batches: the head and the embedding add their
        gradients in place, which DistributedDataParallel's hooks would not see. A gradient that
        nobody has stays None, as in one process.
        """
        if self.count == 1 or self.sharded:
            return
        trained = [p for p in parameters if p.requires_grad]
        there = torch.tensor([p.grad is not None for p in trained], device=self.device).int()
        dist.all_reduce(there)
        waiting = []
        for parameter, somewhere in zip(trained, there.tolist(), strict=True):
            if somewhere:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                waiting.append(dist.all_reduce(parameter.grad, async_op=True))
        for work in waiting:
            work.wait()


@contextmanager
def explaining_lost_process(way_on: str) -> Iterator[None]:
    """Errors: LostProcess where an exchange fails because another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise LostProcess(
            f"another process of this run is gone; its own message says why. {way_on}"
        ) from error


ALONE = Processes(rank=0, count=1, device=torch.device("cpu"))


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together (every process must ask), any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
