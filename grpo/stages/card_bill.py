"""The bill of an accelerator's time: of a step, from two measured rates.

Shares and seconds below are those of one H200 on 26 November 2026 (docs/performance.md, "On an accelerator");
`make bench-gpu` measures them anew and prints this bill beside each measurement.
"""

import time
from dataclasses import dataclass, replace

import torch

from grpo.engine.products import Format
from grpo.runtime.device import Compute, accelerator_memory, synchronise
from grpo.stages.memory_bill import ModelSizes, StepWork, cache_bytes

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


@dataclass(frozen=True)
class Card:
    """`memory` in bytes; operations a second of a matrix product in a run's number format; bytes a second of a
    copy, which reads and writes each.
    """

    memory: int
    product_rate: float
    copy_rate: float


def decode_seconds(sizes: ModelSizes, work: StepWork, format: Format, card: Card) -> float:
    """One token of every row: the reading of weights, and of keys and values half way through the completion,
    and what a layer takes beside that.
    """
    half = replace(work, new=work.new / 2)
    bytes_moved = format.forward.itemsize * sizes.parameters + cache_bytes(sizes, half, format)
    return bytes_moved / card.copy_rate + sizes.layers * DECODE_LAYER_SECONDS


def training_seconds(flops: float, sizes: ModelSizes, card: Card, updates: int = 0) -> float:
    """Of passes that read whole texts: scoring, updates, prefill. `updates` of them are updates of the policy, each of
    which takes its least time.
    """
    share = SMALL_TRAINING_SHARE if sizes.parameters <= SMALL_PARAMETERS else TRAINING_SHARE
    return max(flops / (share * card.product_rate), updates * sizes.layers * UPDATE_LAYER_SECONDS)


def measure_card(compute: Compute, product_rate: float) -> Card:
    """This machine's accelerator."""
    return Card(accelerator_memory(compute), product_rate, copy_rate(compute))


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
