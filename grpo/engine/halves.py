"""An fp32 number as two halves of 16 bits: its nearest bf16, and the rest of its bits.

`high` is a bf16 tensor that products can read as it is; `low` is what the bits of the number differ from those of
`high`. Together they are the exact number, so an optimiser loses nothing. A tie goes away from zero.
"""

from collections.abc import Iterator, Mapping

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
    bits = high.view(torch.int16).to(torch.int32)
    return bits.bitwise_left_shift_(16).add_(low).view(torch.float32)


def low_halves(model: nn.Module) -> dict[nn.Parameter, Tensor]:
    """The low halves of every weight of `model` that is split, by the parameter that holds the high ones."""
    found = {}
    for module in model.modules():
        low = getattr(module, LOW, None)
        if isinstance(module, nn.Linear) and isinstance(low, Tensor):
            found[module.get_parameter("weight")] = low
    return found


class ExactParameters(Mapping[str, Tensor]):
    """The parameters of a model by name, a tied one once, with the exact value of those that are split: what to save of
    it, or to hash.

    A split one is joined whenever it is asked for and not kept, so who takes one after the other holds one.
    """

    def __init__(self, model: nn.Module):
        self.parameters = dict(model.named_parameters())
        self.low = low_halves(model)

    def __getitem__(self, name: str) -> Tensor:
        parameter = self.parameters[name]
        low = self.low.get(parameter)
        return parameter.detach() if low is None else join(parameter.detach(), low)

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)


def low_half(model: nn.Module, name: str) -> Tensor | None:
    """The low half of the parameter `name`; None where it is not split."""
    module = model.get_submodule(name.rpartition(".")[0])
    is_weight = model.get_parameter(name) is getattr(module, "weight", None)
    return getattr(module, LOW, None) if is_weight else None


@torch.no_grad()
def write(values: Tensor, target: Tensor, low: Tensor | None) -> None:
    """Copy numbers into a tensor of another type or device, with `low` as two halves; at the addresses that they have."""
    if low is None:
        target.copy_(values)
        return
    for half, new in zip((target, low), split(values.to(target.device, torch.float32)), strict=True):
        half.copy_(new)


def load_exact(model: nn.Module, name: str, value: Tensor) -> None:
    """Give the parameter `name` this value, in both halves where it is split."""
    write(value, model.get_parameter(name), low_half(model, name))
