"""Compiles the layers of packed rows: a part before the attention and a part behind it, forward and backward.

Without it Python starts some 330 kernels a layer, one by one, and a small model leaves an accelerator idle meanwhile. One
compilation serves rows of any length and all layers of a kind.

The trainer's numbers stay those of the sampler: an operand of a product of 16 bits is written to memory, so it is
rounded as without the compiler. A rounding whose result is read in fp32 is left out by the compiler, also with its
switch `emulate_precision_casts`. So formats of two pieces (bf16x2), and 16 bits on a device that multiplies them in
fp32 (a CPU), are not fused.

Some passes are not compiled: those without a layout of grpo/engine/attention.py (decoding, dense
masks, padded rows), those in another number format than that of training, and those in which a hook reads inside of
a layer.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from data.model_folder import first_line
from grpo.engine.attention import Layout, no_mask, uses_blocks, window_of
from grpo.engine.attention_choice import difference, trial
from grpo.engine.capture import say_once
from grpo.engine.padding import cause_of_padding
from grpo.engine.private_apis import compiled_for_lengths, hooks_inside, layers_of
from grpo.engine.products import FP32, Format, ProductLinear, format_of, has_wide_results
from grpo.engine.sharding import is_sharded

BACKEND = "inductor"


class Outside:
    """A layout and a window that the compiler does not read, so that layers of all windows are one kind to it."""

    attention: Callable[..., Tensor]

    def __init__(self, layout: Layout, window: int | None):
        self.layout = layout
        self.window = window

    def attend(self, *inputs: Any) -> Tensor:  # as of Layout
        return Outside.attention(self, *inputs)


def attend_outside(
    outside: Outside, query: Tensor, key: Tensor, value: Tensor, scale: float, _window: None, format: Format
) -> Tensor:
    return outside.layout.attend(query, key, value, scale, outside.window, format)


Outside.attention = attend_outside


class FusedForward:
    """The forward pass of a layer, compiled at its first use; a copy of the layer has a copy of this."""

    is_on = True  # in this process, until a compilation fails

    def __init__(self, layer: nn.Module, backend: str):
        self.layer = layer
        self.plain: Callable[..., Any] = type(layer).forward
        self.fused = compiled_for_lengths(self.plain, backend)
        self.hooks = hooks_inside(layer)
        self.product = next((part for part in layer.modules() if isinstance(part, ProductLinear)), None)
        self.format_name = self.format_now()

    def format_now(self) -> str:
        return FP32.name if self.product is None else self.product.format.name

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        layout = settings.get("layout")
        if (
            layout is None
            or not FusedForward.is_on
            or any(self.hooks)
            or self.format_now() != self.format_name
        ):
            return self.plain(self.layer, *inputs, **settings)
        try:
            outside = Outside(layout, window_of(settings["attention_mask"]))
            unread = {"layout": outside, "attention_mask": no_mask(None)}
            return self.fused(self.layer, *inputs, **(settings | unread))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # each compiler has its own way to fail
            FusedForward.is_on = False
            say_once(f"layers run kernel by kernel: they were not fused ({first_line(error)})")
            return self.plain(self.layer, *inputs, **settings)


def trouble_of_fusing(model: PreTrainedModel, backend: str) -> str:
    """Why the layers of a model stay as they are; "" where they can be fused."""
    if is_sharded(model):
        return "each process holds a share of them"
    if cause := cause_of_padding(model):
        return f"its rows are padded, because {cause}"
    if not uses_blocks(model):
        return "its packed rows have a dense mask"
    format = format_of(model)
    is_wide = has_wide_results(model.device.type)  # also for the compiler, which finds the answer in a table
    if backend == BACKEND and format != FP32 and (format.pieces > 1 or not is_wide):
        return f"the compiler would leave out roundings of {format.name} here"
    return "" if layers_of(model) else f"{model.config.model_type} has no layers that are known"


def fuse_layers(model: PreTrainedModel, backend: str = BACKEND) -> str:
    """From now on packed rows of `model` and of its copies run through fused layers. Returns a sentence: that it is so,
    or why not.
    """
    if trouble := trouble_of_fusing(model, backend):
        return f"layers run kernel by kernel: {trouble}"
    Outside.attention = torch.compiler.disable(attend_outside)
    layers = layers_of(model)
    for layer in layers:
        layer.forward = FusedForward(layer, backend)
    return f"{len(layers)} layers are fused by torch.compile; the first passes take longer"


def fuse_after_trial(model: PreTrainedModel) -> str:
    """`fuse_layers`, which is taken back where a small packed row then gives other numbers. Returns a sentence."""
    if trouble_of_fusing(model, BACKEND):
        return fuse_layers(model)
    plain = trial(model)
    sentence = fuse_layers(model)
    if fault := difference(trial(model), plain):
        for layer in layers_of(model):
            del layer.forward
        return f"layers run kernel by kernel: fused ones are off here ({fault})"
    return sentence if FusedForward.is_on else "layers run kernel by kernel"


def is_fused(setting: str, device: torch.device) -> bool:
    """Whether engine.fuse asks for fused layers on a device."""
    return setting == "on" or (setting == "auto" and device.type != "cpu")
