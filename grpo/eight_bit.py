"""AdamW whose two moments have 8 bits a number, in blocks with a scale each (arXiv 2110.02861): that of torchao,
an optional package.

A block is up to 256 neighbours. torchao keeps a moment in fp32 where the parameter has fewer than 4,096 numbers or
is no multiple of the block.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from data.errors import InputError

PIP_COMMAND = "pip install 'torchao>=0.13'"
LARGEST_BLOCK = 256
SMALLEST_BLOCK = 32  # 2.25 bytes for the two moments of a number; of 256: 2.03


def optimiser_class() -> Any:
    """torchao's AdamW8bit. Raises InputError where torchao is not installed."""
    try:
        from torchao.optim import AdamW8bit
    except ImportError as error:
        raise InputError(
            f"engine.moments = '8bit' needs torchao, which is not installed; type: {PIP_COMMAND}"
        ) from error
    return AdamW8bit


def block_size(numbers: int) -> int:
    """The largest block that cuts so many numbers evenly; where it would be small, one that does not, so that
    torchao takes fp32.

    >>> block_size(640 * 101), block_size(2560 * 7), block_size(33)
    (128, 256, 256)
    """
    block = math.gcd(numbers, LARGEST_BLOCK)
    return block if block >= SMALLEST_BLOCK else LARGEST_BLOCK


def adamw_8bit(parameter: nn.Parameter, numbers: int, **settings: Any) -> torch.optim.Optimizer:
    """For one parameter of so many numbers; `settings` as of torch.optim.AdamW.

    torchao compiles its step. On a CPU that takes a C++ compiler and 10 s a shape, so there it runs as written.
    """
    optimiser = optimiser_class()([parameter], block_size=block_size(numbers), **settings)
    if parameter.device.type == "cpu":
        eager = torch.compiler.set_stance("force_eager")
        setattr(optimiser, "step", eager(optimiser.step))  # noqa: B010  (mypy: a method)
    return optimiser


def parts(name: str, moment: Tensor) -> dict[str, Tensor]:
    """The plain tensors of a moment by name: one of 8 bits has codes, a scale for each block, and a map from
    code to value.
    """
    names = getattr(moment, "tensor_attrs", None)
    return {f"{name}.{part}": getattr(moment, part) for part in names} if names else {name: moment}
