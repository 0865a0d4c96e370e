"""In which form a model holds the matrices of its layers: fp32, two exact halves, or rounded for a model that is
only read.

The embedding stays fp32, and with it a head that is tied to it: a look-up takes exact rows. So do norms and
biases, which are small.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from data.errors import InputError
from grpo.engine.halves import LOW
from grpo.engine.private_apis import layers_of
from grpo.engine.products import FP32, Format, ProductLinear, SplitLinear, split_linear, weight_in


def groups_of(layer: Any) -> list[list[nn.Linear]]:
    """The linear layers of a layer; those in one list have the same input."""
    attention = layer.self_attn
    mlp = layer.mlp
    return [
        [attention.q_proj, attention.k_proj, attention.v_proj],
        [attention.o_proj],
        [mlp.gate_proj, mlp.up_proj],
        [mlp.down_proj],
    ]


def split_weights(model: PreTrainedModel) -> int:
    """Keep every matrix inside the layers of `model` as two halves of the exact value. Returns how many there are;
    InputError where there is none.
    """
    linear = [
        module
        for layer in layers_of(model)
        for module in layer.modules()
        if type(module) in (nn.Linear, ProductLinear)
    ]
    if not linear:
        kind = model.config.model_type
        raise InputError(
            f'engine.weights = "split": {kind} has no linear layers inside its layers; write "fp32"'
        )
    for module in linear:
        split_linear(module)
    return len(linear)


def join_rows(model: PreTrainedModel) -> None:
    """Let the high halves of matrices with one input be the rows of one matrix, as the sampler reads them."""
    for layer in layers_of(model):
        try:
            groups = groups_of(layer)
        except AttributeError:  # a family that the sampler does not know
            continue
        for modules in groups:
            if all(isinstance(module, SplitLinear) for module in modules):
                matrix = torch.cat([module.weight.detach() for module in modules])
                for module, rows in zip(
                    modules, matrix.split([m.out_features for m in modules]), strict=True
                ):
                    module.weight.data = rows


def one_matrix(modules: list[nn.Linear], format: Format) -> Tensor | None:
    """The matrix whose rows are the high halves of `modules`, where the products of `format` read those; else
    None.
    """
    weights = [module.weight.detach() for module in modules if isinstance(module, SplitLinear)]
    if len(weights) < len(modules) or any(weight.dtype != format.forward for weight in weights):
        return None
    address = weights[0].data_ptr()
    for weight in weights:
        if weight.data_ptr() != address or not weight.is_contiguous():
            return None
        address += weight.nbytes
    rows = sum(len(weight) for weight in weights)
    return weights[0].as_strided((rows, weights[0].shape[1]), weights[0].stride())


def own_linear(model: PreTrainedModel) -> list[ProductLinear]:
    """The linear layers of a model that read rounded weights, without one whose weight is the embedding too."""
    embedding = model.get_input_embeddings().weight
    return [
        module
        for module in model.modules()
        if isinstance(module, ProductLinear) and module.format != FP32 and module.weight is not embedding
    ]


def freeze(model: PreTrainedModel) -> None:
    """Make `model` one that is only read: no gradient, and every matrix in the type in which its products read it.

    What it computes stays the same, bit for bit. It cannot be used in a format that would read more.
    """
    model.requires_grad_(False)
    for module in own_linear(model):
        weight = weight_in(module, module.format).detach()
        module.weight = nn.Parameter(weight, requires_grad=False)
        if isinstance(module, SplitLinear):
            keep_high_half(module)


def keep_high_half(module: SplitLinear) -> None:
    """Let go of the low half of a frozen layer; where its weight is no high half, it is a plain layer."""
    module.weight_low = None
    if module.weight.dtype != torch.bfloat16:
        delattr(module, LOW)
        module.__class__ = ProductLinear  # type: ignore[assignment]


def copies_of_weights(model: PreTrainedModel, on_host: bool) -> dict[int, Any]:
    """For `copy.deepcopy`: what a frozen copy of `model` has in place of each matrix, so that it never has more."""
    memo: dict[int, Any] = {}
    for module in own_linear(model):
        weight = weight_in(module, module.format).detach()
        weight = weight.to("cpu" if on_host else weight.device, copy=weight.dtype == module.weight.dtype)
        memo[id(module.weight)] = nn.Parameter(weight, requires_grad=False)
        if (low := getattr(module, LOW, None)) is not None:
            memo[id(low)] = low
    return memo
