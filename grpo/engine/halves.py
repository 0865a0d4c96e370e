"""An fp32 number as two halves of 16 bits: its nearest bf16, and the rest of its bits.

`high` is a bf16 tensor that products can read as it is; `low` is what the bits of the number differ from those of
`high`. Together they are the exact number, so an optimiser loses nothing. A tie goes away from zero.
"""

import torch
from torch import Tensor, nn

LOW = "weight_low"  # the buffer of a layer that holds the low halves of its weight


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """fp32 -> (high bf16, low int16), of the same shape; `join` gives x back bit for bit. x must be finite, and
    below the largest bf16, 3.38e38.
    """
    bits = x.view(torch.int32)
    low = bits.to(torch.int16)  # the last 16 bits, -32,768 to 32,767
    high = (bits - low.to(torch.int32)) >> 16
    return high.to(torch.int16).view(torch.bfloat16), low


def join(high: Tensor, low: Tensor) -> Tensor:
    """The fp32 numbers of two halves."""
    bits = (high.view(torch.int16).to(torch.int32) << 16) + low.to(torch.int32)
    return bits.view(torch.float32)


def low_halves(model: nn.Module) -> dict[nn.Parameter, Tensor]:
    """The low halves of every weight of `model` that is split, by the parameter that holds the high ones."""
    found = {}
    for module in model.modules():
        low = getattr(module, LOW, None)
        if isinstance(module, nn.Linear) and isinstance(low, Tensor):
            weight: nn.Parameter = module.weight  # type: ignore[assignment]
            found[weight] = low
    return found
