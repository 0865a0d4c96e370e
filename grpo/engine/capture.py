"""A step that first runs as it is, then fused by a compiler, then as one captured graph.

Each stage that this device, torch or compiler cannot do is left out, which one sentence says.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FunctionType
from typing import Any

import torch

from data.model_folder import first_line
from grpo.engine.products import Format
from grpo.engine.static_step import PLAIN, Functions

PLAIN_STEPS = 16  # a size that runs less often is not worth a compilation
FUSED_STEPS = 2  # before the capture: kernels are loaded and workspaces taken

Step = Callable[[Functions], None]  # one token of every row, with these functions


@functools.cache
def say_once(sentence: str) -> None:
    """To the standard error of this process, unless a program that uses us logs elsewhere."""
    logging.getLogger(__name__).warning(sentence)


@contextmanager
def any_order() -> Iterator[None]:
    """Inside, torch may write in any order: no two writes of a step hit the same place, so results are the
    same, and torch's deterministic way sorts the places of every write.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)


def fused_functions(format: Format) -> Functions:
    """The step's functions as a compiler fuses them, at their first call, for the shapes of that call.

    Torch counts how often a function was compiled by its code object, so each size has copies of its own. With
    two pieces an activation is rounded and taken away from itself; the compiler leaves such a rounding out, so these
    formats are not fused.
    """
    if format.pieces > 1:
        return PLAIN

    def compile_one(function: Any) -> Any:
        own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
        return torch.compile(own, dynamic=False, fullgraph=True)

    return Functions(*map(compile_one, PLAIN))


class Accelerator:
    """Streams, graphs and memory of a device that torch names in one module."""

    def __init__(self, device: torch.device):
        self.device = device
        self.module: Any = torch.get_device_module(device)
        self.stream: Any = None
        self.fuses = True  # until a compilation fails
        self.captures = True  # until a capture fails

    def free_bytes(self) -> int:
        """Memory that a tensor could still take."""
        free, _ = self.module.mem_get_info(self.device)
        unused = self.module.memory_reserved(self.device) - self.module.memory_allocated(self.device)
        return int(free + unused)

    def aside(self, step: Callable[[], None]) -> None:
        """Run `step` on the stream that will be captured."""
        if self.stream is None:
            self.stream = self.module.Stream(self.device)
        self.stream.wait_stream(self.module.current_stream(self.device))
        with self.module.stream(self.stream):
            step()
        self.module.current_stream(self.device).wait_stream(self.stream)

    def new_pool(self) -> Any:
        """Scratch memory for graphs that run one after the other and are dropped together."""
        return self.module.graph_pool_handle()

    def capture(self, step: Callable[[], None], pool: Any) -> Callable[[], None]:
        """`step` as a graph -> what runs it; nothing has run yet."""
        graph = self.module.CUDAGraph()
        recording = self.module.graph(graph, pool=pool, stream=self.stream, capture_error_mode="thread_local")
        with self.module.stream(self.stream), recording:  # the first: a failure leaves the stream as it was
            step()
        replay: Callable[[], None] = graph.replay
        return replay


class Runner:
    """Runs the step of one size; each call is one token, whatever the stage. On a CPU there is one stage."""

    def __init__(self, accelerator: Accelerator | None, format: Format, pool: Any = None):
        self.accelerator = accelerator
        self.pool = pool
        self.format = format
        self.steps = 0
        self.functions = PLAIN
        self.replay: Callable[[], None] | None = None

    def advance(self, step: Step) -> None:
        self.steps += 1
        if self.accelerator is None or self.steps <= PLAIN_STEPS:
            step(PLAIN)
        elif self.steps <= PLAIN_STEPS + FUSED_STEPS:
            self.run_fused(step, self.accelerator)
        else:
            if self.steps == PLAIN_STEPS + FUSED_STEPS + 1:
                self.capture(step, self.accelerator)
            run = self.replay or partial(step, self.functions)
            run()

    def run_fused(self, step: Step, accelerator: Accelerator) -> None:
        """A step that fails has recorded nothing, so it can run again."""
        if accelerator.fuses and self.functions is PLAIN:
            self.functions = fused_functions(self.format)
        try:
            accelerator.aside(partial(step, self.functions))
        except Exception as error:  # each compiler has its own way to fail
            if self.functions is PLAIN:
                raise
            accelerator.fuses = False
            self.functions = PLAIN
            say_once(f"decoding runs without fused kernels: nothing was compiled ({first_line(error)})")
            accelerator.aside(partial(step, PLAIN))

    def capture(self, step: Step, accelerator: Accelerator) -> None:
        if not accelerator.captures:
            return
        try:
            self.replay = accelerator.capture(partial(step, self.functions), self.pool)
        except Exception as error:  # each device and version has its own way to refuse
            accelerator.captures = False
            say_once(f"decoding runs kernel by kernel: no graph was captured ({first_line(error)})")
