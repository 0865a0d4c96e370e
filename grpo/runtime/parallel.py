"""Several processes train one model: each takes its share of the prompts, and the gradients are summed.

Token weights add up to 1 over a whole update, so shares need no factor: one process and many give the same
gradient. Rewards, lengths and a request to stop are gathered first, so all processes decide alike. Every
process holds the whole model (mode "data") or its share of it ("fsdp", grpo/engine/sharding.py).
`torchrun --nproc-per-node N -m grpo.run ...` starts N of them; without it there is one, and nothing is
exchanged.

Work of about the same length ends in an exchange of tensors. Where one process may work for long while the
others wait, they wait by the store of the run, for as long as it is alive (grpo/runtime/alive.py).
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from data.errors import InputError
from grpo.config import ParallelConfig
from grpo.engine.packing import by_budget
from grpo.engine.private_apis import collectives_begun
from grpo.runtime.alive import Watch
from grpo.runtime.roll_call import LONG

T = TypeVar("T")
BUCKET_BYTES = 32 << 20  # of gradients summed at once: a message each costs more than its content
Number = float | Tensor  # a tensor of one value may still be computed when it is handed on
Totals = dict[str, tuple[float, float]]  # name -> (sum, count), from which a mean is made
Sums = Mapping[str, tuple[Number, Number]]  # the same before it is read


class FailedElsewhere(Exception):
    """Another process failed; this one did not."""


@dataclass(frozen=True)
class World:
    """This process, number `rank` of `size`. With a size of 1 every method returns its argument. `mode` is
    parallel.mode.
    """

    rank: int = 0
    size: int = 1
    mode: str = "data"
    watch: Watch | None = field(default=None, compare=False, repr=False)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def is_sharded(self) -> bool:
        """Does each process hold its share of every model (grpo/engine/sharding.py), and not the whole of it?"""
        return self.mode == "fsdp" and self.size > 1

    def own_share(self, sizes: Sequence[int]) -> list[int]:
        """Which items of these sizes this process works on."""
        return balanced_shares(sizes, self.size)[self.rank]

    def in_step(self, passes: list[list[int]]) -> list[list[int]]:
        """The forward passes of this process, each given by its items, and empty ones behind them where another
        process has more: a pass of a sharded model needs all processes.
        """
        if not self.is_sharded:
            return passes
        most = self.largest({"passes": float(len(passes))})["passes"]
        return passes + [[] for _ in range(int(most) - len(passes))]

    def share(self, count: int) -> slice:
        """The slice of `count` items that this process works on; `count` is a multiple of `size`."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather(self, rows: Tensor) -> Tensor:
        """(n, ...) of each process -> (size * n, ...) of all, in order of rank, on all."""
        if self.size == 1:
            return rows
        own = rows.to(_device()).contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts).to(rows.device)

    def gather_shares(self, rows: Tensor, shares: Sequence[Sequence[int]]) -> Tensor:
        """The rows of the items of this process -> those of all items, in the items' order. `shares`: the items of each
        process; each item has as many rows.
        """
        if self.size == 1:
            return rows
        order = torch.tensor([item for share in shares for item in share], device=rows.device)
        by_item = self.gather(rows).view(len(order), -1, *rows.shape[1:])
        return by_item[order.argsort()].flatten(0, 1)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up each parameter's gradient over the processes, in place. Small ones travel together, and the
        same ones everywhere and always, so a sum is taken in the same order in every run.
        """
        if self.size == 1 or self.is_sharded:  # the backward pass of a sharded model has added them up
            return
        for bucket in buckets([p.grad for p in parameters if p.grad is not None], BUCKET_BYTES):
            if len(bucket) == 1:
                dist.all_reduce(bucket[0])
                continue
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            for gradient, total in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(total.view_as(gradient))

    def total(self, own: Sums) -> Totals:
        """The sums of this process -> the totals of all, read from the device at once. The names are the same
        everywhere.
        """
        sums = self._reduce([number for pair in own.values() for number in pair], dist.ReduceOp.SUM)
        return {name: (sums[2 * place], sums[2 * place + 1]) for place, name in enumerate(own)}

    def largest(self, values: Mapping[str, Number]) -> dict[str, float]:
        return dict(zip(values, self._reduce(list(values.values()), dist.ReduceOp.MAX), strict=True))

    def any(self, flag: bool) -> bool:
        return bool(self._reduce([float(flag)], dist.ReduceOp.MAX)[0])

    def first_then_all(self, make: Callable[[], T]) -> T:
        """Call `make` in the first process, then in the others, which find its files."""
        if self.is_first:
            result = make()
            self.wait()
            return result
        self.wait()
        return make()

    def together(self, make: Callable[[], T]) -> T:
        """Call `make` in every process at once. Where one fails, the others raise FailedElsewhere instead of waiting."""
        error: Exception | None = None
        try:
            result = make()
        except Exception as raised:
            error = raised
        if self.any(error is not None):
            raise error or FailedElsewhere("another process failed, and says why")
        return result

    def wait(self) -> None:
        """Return when every process has come here, however long one of them works before."""
        if self.watch:
            self.watch.meet()
        elif self.size > 1:
            dist.barrier()

    def report(self, doing: str) -> None:
        """Say what this process begins to do, for the sentence that names it where it fails."""
        if self.watch:
            self.watch.report(doing)

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """The items that this process works on, about as many as every other."""
        return items[self.rank :: self.size]

    def merge(self, found: Mapping[int, T]) -> dict[int, T]:
        """JSON values by number, some of each process -> all of them on all."""
        parts: list[Any] = [[*found.items()]] * self.size
        if self.watch:
            parts = self.watch.exchange(parts[0])
        elif self.size > 1:
            dist.all_gather_object(parts, parts[0])
        return {number: value for part in parts for number, value in part}

    def from_first(self, make: Callable[[], T]) -> T:
        """A JSON value that the first process makes -> the same on all."""
        return self.watch.from_first(make) if self.watch else make()

    def _reduce(self, numbers: Sequence[Number], how: dist.ReduceOp.RedOpType) -> list[float]:
        own = on_host(numbers)
        if self.size == 1:
            return own
        values = torch.tensor(own, dtype=torch.float64, device=_device())
        dist.all_reduce(values, how)
        return values.tolist()


SINGLE_PROCESS = World()


def balanced_shares(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Items -> those of each of `count` shares, in their order: the largest first, each to the share with the smallest
    sum of sizes that has room. Shares have as many items each, where `count` divides them.

    >>> balanced_shares([9, 8, 1, 1, 2, 3], 2)
    [[0, 2, 4], [1, 3, 5]]
    """
    room = -(-len(sizes) // count)
    shares: list[list[int]] = [[] for _ in range(count)]
    sums = [0] * count
    for item in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        share = min((n for n in range(count) if len(shares[n]) < room), key=lambda n: sums[n])
        shares[share].append(item)
        sums[share] += sizes[item]
    return [sorted(share) for share in shares]


def buckets(tensors: Sequence[Tensor], most: int) -> list[list[Tensor]]:
    """The tensors in their order, neighbours of one dtype together up to `most` bytes; a larger one alone.

    >>> [len(bucket) for bucket in buckets([torch.zeros(size) for size in (1, 2, 9, 1)], 4 * 4)]
    [2, 1, 1]
    """
    found: list[list[Tensor]] = []
    for _, group in groupby(tensors, key=lambda tensor: tensor.dtype):
        own = [*group]
        found += [[own[i] for i in batch] for batch in by_budget([one.nbytes for one in own], most)]
    return found


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


def connect(world: World, on_accelerator: bool, config: ParallelConfig) -> None:
    """Let the processes exchange tensors."""
    if world.watch is None:
        return
    # torch's own watch would end a process before ours can say why
    os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "0"
    dist.init_process_group(
        "nccl" if on_accelerator else "gloo",
        store=dist.PrefixStore(f"{world.watch.prefix}/tensors", world.watch.store),
        rank=world.rank,
        world_size=world.size,
        timeout=timedelta(seconds=2 * LONG * config.patience),  # the watch sees a failure before
    )
    world.watch.collectives = lambda: collectives_begun(dist.group.WORLD)


def meet(config: ParallelConfig) -> World:
    """The processes that torchrun's environment variables describe, before `connect`; without them there is one. Raises
    InputError where the first process cannot be reached, and for several processes where parallel.mode is for one.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return SINGLE_PROCESS
    if config.mode == "none":
        raise InputError(
            f'parallel.mode = "none" is for one process, and {size} were started; write "data" or "fsdp", or start it '
            "without torchrun"
        )
    rank = int(os.environ["RANK"])
    host = os.environ["MASTER_ADDR"]
    port = int(os.environ["MASTER_PORT"])
    store_of_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    seconds = LONG * config.patience
    try:
        store = dist.TCPStore(
            host,
            port,
            is_master=rank == 0 and not store_of_agent,
            wait_for_workers=False,
            timeout=timedelta(seconds=seconds),
        )
    except RuntimeError as error:
        raise InputError(
            f"process {rank} of {size} finds no store at MASTER_ADDR = {host}, MASTER_PORT = {port} within {seconds:.0f} s; "
            "start all processes together, and let these variables name the machine of the first"
        ) from error
    prefix = f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    watch = Watch(store, rank, size, config.patience, store_of_agent=store_of_agent, prefix=prefix)
    watch.start()
    return World(rank, size, config.mode, watch)


def leave(world: World, stop: int = 0) -> None:
    """End together with the other processes, perhaps by the signal `stop`."""
    if world.watch:
        world.watch.leave(stop)
        if dist.is_initialized():
            dist.destroy_process_group()
