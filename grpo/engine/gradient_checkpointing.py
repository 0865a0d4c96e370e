"""Gradient checkpointing (arXiv 1604.06174): a layer's activations are computed again in the backward pass and
not stored.

Not transformers' own switch, which works only in training mode and so would turn dropout on, and which drops
the key-value cache. Here each layer gets a `forward` of its own, an ordinary attribute of a module that its
copies take along; it works whatever the mode, and only calls that record a gradient are affected: the sampler
keeps its cache.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from transformers import PreTrainedModel

from data.errors import InputError
from grpo.engine.private_apis import layers_of


def recompute_layers(model: PreTrainedModel) -> int:
    """From now on store only the input of each layer of `model`: same numbers, less memory, more time. Returns
    how many layers it has.
    """
    layers = layers_of(model)
    if not layers:
        kind = model.config.model_type
        raise InputError(
            f"engine.gradient_checkpointing = true: {kind} has no layers that can be computed again; write false"
        )
    for layer in layers:
        layer.forward = functools.partial(_forward, layer.forward)
    return len(layers)


def _forward(forward: Callable[..., Any], *inputs: Any, **settings: Any) -> Any:
    """No random state is kept for the second time: dropout is off everywhere. The second time goes to the end of the
    layer: torch would stop it by an exception, which a layer takes for a failure (grpo/engine/fused_layers.py).
    """
    if not torch.is_grad_enabled():
        return forward(*inputs, **settings)
    with set_checkpoint_early_stop(False):
        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, **settings)
