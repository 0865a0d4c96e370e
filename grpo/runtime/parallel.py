"""Several processes that train one model: each samples and differentiates its share of the prompts, and the
gradients are added up.

Token weights add up to 1 over a whole update, so shares need no factor: one process and many give the same
gradient. What decides anything - rewards, lengths, a request to stop - is first gathered, so all processes
decide alike. Every process holds the whole model; started by `torchrun --nproc-per-node N -m grpo.run ...`,
else there is one process and nothing to do.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
Number = float | Tensor  # a tensor of one value may still be computed when it is handed on
Totals = dict[str, tuple[float, float]]  # name -> (sum, count), from which a mean is made
Sums = Mapping[str, tuple[Number, Number]]  # the same before it is read
PATIENCE = timedelta(
    hours=6
)  # a rank may have a model to convert or a test set to decode while the others wait


class FailedElsewhere(Exception):
    """This process is well; another one is not."""


@dataclass(frozen=True)
class World:
    """This process, number `rank` of `size`. With a size of 1 every method gives back what it was given."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The part of `count` things in a row that this process does; `count` is a multiple of `size`."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather(self, rows: Tensor) -> Tensor:
        """(n, ...) of each process -> (size * n, ...) of all, in order of rank, on all."""
        if self.size == 1:
            return rows
        own = rows.to(_device()).contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts).to(rows.device)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up each parameter's gradient over the processes, in place."""
        if self.size > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)

    def total(self, own: Sums) -> Totals:
        """The sums of this process -> the totals of all, read from the device at once. The names are the same
        everywhere.
        """
        sums = self._reduced([number for pair in own.values() for number in pair], dist.ReduceOp.SUM)
        return {name: (sums[2 * place], sums[2 * place + 1]) for place, name in enumerate(own)}

    def largest(self, values: Mapping[str, Number]) -> dict[str, float]:
        return dict(zip(values, self._reduced(list(values.values()), dist.ReduceOp.MAX), strict=True))

    def any(self, flag: bool) -> bool:
        return bool(self._reduced([float(flag)], dist.ReduceOp.MAX)[0])

    def first_then_all(self, make: Callable[[], T]) -> T:
        """`make` in the first process, then in the others, which find the files it has left."""
        if self.is_first:
            made = make()
            self.wait()
            return made
        self.wait()
        return make()

    def together(self, make: Callable[[], T]) -> T:
        """`make` in every process at once; where one fails, all do: the others raise FailedElsewhere instead
        of waiting for it.
        """
        error: Exception | None = None
        try:
            made = make()
        except Exception as raised:
            error = raised
        if self.any(error is not None):
            raise error or FailedElsewhere("another process failed, and says why")
        return made

    def wait(self) -> None:
        """Until every process has come here."""
        self.any(False)

    def _reduced(self, numbers: Sequence[Number], how: dist.ReduceOp.RedOpType) -> list[float]:
        own = on_host(numbers)
        if self.size == 1:
            return own
        values = torch.tensor(own, dtype=torch.float64, device=_device())
        dist.all_reduce(values, how)
        return values.tolist()


SINGLE_PROCESS = World()


def on_host(numbers: Sequence[Number]) -> list[float]:
    """Numbers as floats, with one wait for the device for all tensors among them."""
    tensors = [number.double() for number in numbers if isinstance(number, Tensor)]
    values = iter(torch.stack(tensors).tolist() if tensors else ())
    return [next(values) if isinstance(number, Tensor) else number for number in numbers]


def _device() -> torch.device:
    return (
        torch.device("cpu")
        if dist.get_backend() == "gloo"
        else torch.device(torch.accelerator.current_accelerator() or "cpu")
    )


def join(on_accelerator: bool) -> World:
    """The world that torchrun's environment variables describe; a world of one without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    dist.init_process_group("nccl" if on_accelerator else "gloo", timeout=PATIENCE)
    return World(dist.get_rank(), size)


def leave(world: World) -> None:
    if world.size > 1:
        dist.destroy_process_group()
