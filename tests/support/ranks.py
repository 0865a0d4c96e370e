"""Functions that run as the processes of a group, forked from one that has imported everything."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tiny_faults import Fault
from tiny_run import PROCESSES

from grpo.runtime.parallel import World

SECONDS = 120  # after which a group hangs


def run_ranks(
    size: int, work: Callable[..., object], *inputs: Any, faults: Mapping[int, Fault] | None = None
) -> list[int | None]:
    """Call `work(world, *inputs)` in `size` processes; the exit code of each, or minus the signal that killed it.
    `faults`: what is called in a process before its work.
    """
    with tempfile.TemporaryDirectory() as folder:
        ranks = [World(rank, size, "fsdp") for rank in range(size)]
        processes = [
            PROCESSES.Process(
                target=_rank,
                args=(world, Path(folder) / "store", work, inputs, (faults or {}).get(world.rank)),
            )
            for world in ranks
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(SECONDS)
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def _rank(
    world: World, store: Path, work: Callable[..., object], inputs: tuple[Any, ...], fault: Fault | None
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=world.rank, world_size=world.size)
    if fault:
        fault()
    work(world, *inputs)
    dist.destroy_process_group()
    sys.exit(0)
