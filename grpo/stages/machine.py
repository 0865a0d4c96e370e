"""How fast this machine is: rates that are measured, and the seconds of counted work by them.

Shares and seconds below are those of one H200 on 26 November 2026 (docs/performance.md, "Measuring on an accelerator");
`make bench-gpu` measures them anew and prints the seconds beside each measurement.
"""

import math
import time
from dataclasses import dataclass, replace

import torch

from grpo.engine.products import Format
from grpo.runtime.device import Compute, accelerator_memory, synchronise
from grpo.stages.memory_bill import ModelSizes, StepWork, cache_bytes

EFFICIENCY = 0.5  # of the measured rate of products, what whole steps on a CPU have reached
# of the rate of square products, in scoring and update together: 0.19 to 0.26 at 1.7B and 4B, 0.028 and 0.038
# at 0.13B; parameters up to which a model is a small one
TRAINING_SHARE = 0.2
SMALL_TRAINING_SHARE = 0.035
SMALL_PARAMETERS = 500_000_000
# of an update and a layer, however few its tokens: Python starts the kernels one by one (0.15 s of 18 layers)
UPDATE_LAYER_SECONDS = 8e-3
# of a captured decode step and layer beside the reading of bytes: 3.4e-5 of 64 and 256 rows, 6.5e-5 of 512
DECODE_LAYER_SECONDS = 5e-5
COPY_BYTES = 1 << 30
PRODUCT_SIDE = 1024  # of the square product that is timed
ACCELERATOR_PRODUCT_SIDE = 8192  # a smaller one leaves an accelerator partly idle


@dataclass(frozen=True)
class Machine:
    """Operations a second of a matrix product in a run's number format. Of an accelerator its memory in bytes too, and
    the bytes a second of a copy, which reads and writes each; both are 0 for a CPU.
    """

    product_rate: float
    format: Format
    memory: int = 0
    copy_rate: float = 0.0

    @classmethod
    def of(cls, compute: Compute) -> "Machine":
        """This one, measured."""
        rate = matmul_rate(compute)
        if compute.device.type == "cpu":
            return cls(rate, compute.format)
        return cls(rate, compute.format, accelerator_memory(compute), copy_rate(compute))

    def training_seconds(self, flops: float, sizes: ModelSizes, updates: int = 0) -> float:
        """Of passes that read whole texts: scoring, updates, prefill. On an accelerator each of the `updates` of the
        policy among them takes its least time.
        """
        if not self.memory:
            return flops / (EFFICIENCY * self.product_rate)
        share = SMALL_TRAINING_SHARE if sizes.parameters <= SMALL_PARAMETERS else TRAINING_SHARE
        return max(flops / (share * self.product_rate), updates * sizes.layers * UPDATE_LAYER_SECONDS)

    def decoding_seconds(self, flops: float, sizes: ModelSizes, work: StepWork) -> float:
        """Of `work.new` tokens for all its rows; `flops`: their operations and those of the prompts."""
        if not self.memory:
            return flops / (EFFICIENCY * self.product_rate)
        return work.new * self.token_seconds(sizes, work)

    def token_seconds(self, sizes: ModelSizes, work: StepWork) -> float:
        """Of one token of every row on an accelerator. It reads the weights, and keys and values half way through the
        completion; each layer takes a little more.
        """
        half = replace(work, new=work.new / 2)
        bytes_read = self.format.forward.itemsize * sizes.parameters + cache_bytes(sizes, half, self.format)
        return bytes_read / self.copy_rate + sizes.layers * DECODE_LAYER_SECONDS


def matmul_rate(compute: Compute) -> float:
    """Floating-point operations a second of a square matrix product, by the fastest of those measured: others wait
    for other work on the machine.
    """
    side = PRODUCT_SIDE if compute.device.type == "cpu" else ACCELERATOR_PRODUCT_SIDE
    a, b = (torch.randn(side, side, device=compute.device, dtype=compute.format.forward) for _ in range(2))
    a @ b
    synchronise(compute)
    fastest = math.inf
    end = time.perf_counter() + 0.5
    while (start := time.perf_counter()) < end:
        a @ b
        synchronise(compute)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * side**3 / fastest


def copy_rate(compute: Compute, size: int = COPY_BYTES, seconds: float = 0.3) -> float:
    """Measured bytes a second of a copy, each counted when read and when written."""
    source = torch.zeros(size, dtype=torch.uint8, device=compute.device)
    target = torch.empty_like(source)
    target.copy_(source)
    synchronise(compute)
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        target.copy_(source)
        synchronise(compute)
        count += 1
    return count * 2 * size / (time.perf_counter() - start)
