"""Learning rates by depth: embeddings and the lower third of the layers learn more slowly than the rest, or not at all.

It is discriminative fine-tuning (ULMFiT, arXiv 1801.06146, section 3.2; also known as layer-wise learning-rate decay)
with two rates. GRPO's gradient has its signal in the middle and upper layers; below it is nearly all noise
(docs/lab.md), and AdamW makes steps of about the same size whatever the gradient holds.
"""

from typing import Any

from torch import nn

from grpo.config import OptimConfig
from grpo.engine.private_apis import layers_of


def lower_parameters(model: Any) -> set[str]:
    """The names of the parameters of all embeddings and of the lower third of the layers, rounded up. A head that is
    tied to the embedding is one of them.
    """
    layers = layers_of(model)
    lower = [layer for number, layer in enumerate(layers) if 3 * number < len(layers)]
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    inside = {id(one) for module in (*lower, *embeddings) for one in module.parameters()}
    return {name for name, one in model.named_parameters() if id(one) in inside}


def rate_shares(model: nn.Module, config: OptimConfig) -> dict[str, float]:
    """The share of the learning rate by the name of each parameter that is trained.

    Parameters with none stop taking gradients: they have no moments, and the backward pass ends above them.
    """
    lower = set() if config.lower_lr_share == 1 else lower_parameters(model)
    for name, parameter in model.named_parameters():
        if name in lower and not config.lower_lr_share:
            parameter.requires_grad_(False)
    trained = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    return {name: config.lower_lr_share if name in lower else 1.0 for name in trained}
