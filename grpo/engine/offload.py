"""Keeps the layers of a model that is only read in the host's memory; they pass through the device one by one.

While a layer computes, the next one is copied into the other of two buffers, on a stream of its own. A layer is one
block of bytes, pinned on the host, so it is one copy. On a CPU the same code runs; its streams do nothing.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from data.errors import InputError
from grpo.engine.private_apis import layers_of

ALIGNMENT = 256  # bytes; where a tensor in a block may begin
NOTHING = -1  # number of the layer in a buffer that has none


def keep_on_host(model: PreTrainedModel, device: torch.device) -> None:
    """Move the layers of a frozen `model` to the host, with an embedding that is not its head too, and the rest of it
    to `device`, where it computes as before.

    Raises InputError for a model whose layers are not known.
    """
    layers = layers_of(model)
    if not layers:
        kind = model.config.model_type
        raise InputError(f'engine.frozen = "host": {kind} has no layers that are known; write "device"')
    passing = PassingLayers([[*layer.parameters(), *layer.buffers()] for layer in layers], device)
    inside = {id(tensor) for tensors in passing.tensors for tensor in tensors}
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    if head is not None and head.weight is not embedding.weight:
        look_up_on_host(embedding, device)
        inside |= {id(tensor) for tensor in (*embedding.parameters(), *embedding.buffers())}
    for tensor in (*model.parameters(), *model.buffers()):
        if id(tensor) not in inside:
            tensor.data = tensor.data.to(device)
    for number, layer in enumerate(layers):
        layer.register_forward_pre_hook(partial(passing.before, number))
        layer.register_forward_hook(partial(passing.after, number))


def look_up_on_host(embedding: nn.Module, device: torch.device) -> None:
    """Keep an embedding on the host; only the rows of a pass's tokens come to `device`."""
    for tensor in (*embedding.parameters(), *embedding.buffers()):
        tensor.data = tensor.data.to("cpu")
    embedding.register_forward_pre_hook(lambda _module, inputs: tuple(ids.to("cpu") for ids in inputs))
    embedding.register_forward_hook(lambda _module, _inputs, rows: rows.to(device))


class PassingLayers:
    """The tensors of layers, which lie in the host's memory except while their layer computes."""

    def __init__(self, tensors: Sequence[Sequence[Tensor]], device: torch.device):
        self.tensors = tensors
        self.blocks = [block_of(layer, pinned=device.type != "cpu") for layer in tensors]
        self.module: Any = torch.get_device_module(device)
        self.device = device
        self.stream = self.module.Stream(device) if device.type != "cpu" else self.module.Stream()
        size = max(len(block) for block in self.blocks)
        self.buffers = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2)]
        self.inside = [NOTHING, NOTHING]  # which layer each buffer holds, or will when its copy is done
        if device.type != "cpu":
            for buffer in self.buffers:
                buffer.record_stream(self.stream)
        for number in range(len(tensors)):
            self.point(number, self.blocks[number])

    @torch.no_grad()
    def before(self, number: int, *_: Any) -> None:
        """Wait until the layer is in a buffer, let it read there, and start to copy the next one."""
        if number not in self.inside:
            self.copy(number, 0)
        own = self.inside.index(number)
        self.current.wait_stream(self.stream)
        self.point(number, self.buffers[own])
        following = (number + 1) % len(self.blocks)
        if following not in self.inside:
            self.copy(following, 1 - own)

    def after(self, number: int, *_: Any) -> None:
        """Let the layer's tensors be those on the host again."""
        self.point(number, self.blocks[number])

    @property
    def current(self) -> Any:
        return (
            self.module.current_stream(self.device)
            if self.device.type != "cpu"
            else self.module.current_stream()
        )

    def copy(self, number: int, buffer: int) -> None:
        """Copy a layer into a buffer, after all that has been asked of the device so far, and beside what comes."""
        self.inside[buffer] = number
        block = self.blocks[number]
        self.stream.wait_stream(self.current)
        with self.module.stream(self.stream):
            self.buffers[buffer][: len(block)].copy_(block, non_blocking=True)

    def point(self, number: int, block: Tensor) -> None:
        """Let the tensors of a layer be those in `block`."""
        tensors = self.tensors[number]
        for tensor, start in zip(tensors, starts(tensors), strict=False):
            part = block[start : start + tensor.nbytes]
            tensor.data = part.view(tensor.dtype).view(tensor.shape)


def starts(tensors: Sequence[Tensor]) -> list[int]:
    """Where each tensor begins in a block, and where the block ends, in bytes."""
    found = [0]
    for tensor in tensors:
        found.append(-(-(found[-1] + tensor.nbytes) // ALIGNMENT) * ALIGNMENT)
    return found


def block_of(tensors: Sequence[Tensor], pinned: bool) -> Tensor:
    """All tensors of a layer as bytes in the host's memory."""
    offsets = starts(tensors)
    block = torch.empty(offsets[-1], dtype=torch.uint8, pin_memory=pinned)
    for tensor, start in zip(tensors, offsets, strict=False):
        block[start : start + tensor.nbytes].copy_(tensor.detach().contiguous().view(-1).view(torch.uint8))
    return block
