"""Between two models: the untouched weights plus a share of the way to the trained ones (WiSE-FT, arXiv 2109.01903)."""

from collections.abc import Mapping

import torch
from torch import Tensor


def interpolated(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """start + share x (end - start), in fp32, tensor by tensor; 0 and 1 give back `start` and `end` bit for bit.

    Raises ValueError where the two are not the same tensors by name and shape.

    >>> interpolated({"w": torch.zeros(2)}, {"w": torch.tensor([1.0, -4.0])}, 0.25)
    {'w': tensor([ 0.2500, -1.0000])}
    """
    shapes = [{name: tuple(tensor.shape) for name, tensor in weights.items()} for weights in (start, end)]
    if shapes[0] != shapes[1]:
        differing = sorted(name for name in {**shapes[0], **shapes[1]} if shapes[0].get(name) != shapes[1].get(name))
        raise ValueError(f"{differing[0]}: not the same tensor in both models, and in {len(differing) - 1} more; no way leads between them")
    return {name: torch.lerp(tensor.float(), end[name].float(), share) for name, tensor in start.items()}
