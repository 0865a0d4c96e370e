"""Counts the bytes of all tensors that are alive: what an accelerator's allocator would have to hold, on a CPU."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Inside, every storage that an operation makes is counted from its birth to its death. `peak` is the most at one
    time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self.places: set[int] = set()

    def count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        place = storage.data_ptr()
        if size == 0 or place in self.places:
            return
        self.places.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.forget, place, size)

    def forget(self, place: int, size: int) -> None:
        self.places.discard(place)
        self.now -= size

    def __torch_dispatch__(self, operation: Any, types: Any, inputs: Any = (), settings: Any = None) -> Any:
        result = operation(*inputs, **(settings or {}))
        for leaf in tree_leaves(result):
            if type(leaf) in (Tensor, nn.Parameter):  # a subclass is made of tensors that are counted
                self.count(leaf)
        return result


def bytes_kept(model: nn.Module, forward: Callable[[], object]) -> int:
    """Of tensors that autograd saves in a forward pass, each memory counted once, parameters not."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, Tensor] = {}

    def note(saved: Tensor) -> Tensor:
        found[saved.untyped_storage().data_ptr()] = saved
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        forward()
    return sum(saved.untyped_storage().nbytes() for place, saved in found.items() if place not in own)
