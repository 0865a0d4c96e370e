"""Does work once more with smaller passes if a card has no memory for it."""

import traceback
from collections.abc import Callable
from typing import TypeVar

import torch

from grpo.runtime.device import Compute, release_memory

Result = TypeVar("Result")
LEAST_TOKENS = 512  # what to write where the size of a pass is left to the memory


def within_memory(
    work: Callable[[], Result], shrink: Callable[[torch.OutOfMemoryError], None], compute: Compute
) -> Result:
    """The result of `work`. Where the card runs out of memory, `shrink` makes the passes of `work` smaller, or raises
    InputError where they are small already, and `work` begins again.
    """
    while True:
        try:
            return work()
        except torch.OutOfMemoryError as error:
            shrink(error)
            traceback.clear_frames(error.__traceback__)
        release_memory(compute)


def half_sizes(sizes: dict[str, int]) -> dict[str, int]:
    """The settings of passes half as large.

    >>> half_sizes({"train.max_tokens_per_pass": 2048, "rollout.parts": 1})
    {'train.max_tokens_per_pass': 1024, 'rollout.parts': 2}
    """
    return {
        name: 2 * size if name == "rollout.parts" else max(1, size // 2) if size else LEAST_TOKENS
        for name, size in sizes.items()
    }
