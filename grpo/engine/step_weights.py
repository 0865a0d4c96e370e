"""The weights of a model as the captured step reads them: cast once a rollout, at addresses that stay the same.

Layers with one input are one matrix: query, key and value; gate and up. High halves of split weights are read where
they are, in a format that reads bf16.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from grpo.engine.decode_step import FAMILIES, Function, Products, embedding_of, kinds_of
from grpo.engine.forward import output_weight, per_layer_kind
from grpo.engine.products import (
    FP32,
    Format,
    SplitLinear,
    format_of,
    has_wide_results,
    still_product,
    weight_in,
)
from grpo.engine.sharding import is_share, whole, with_weight
from grpo.engine.weight_forms import groups_of, one_matrix


class Matrix(NamedTuple):
    """(out, in) weight in the type of the format, (out,) bias in fp32 or none."""

    weight: Tensor
    bias: Tensor | None


class LayerWeights(NamedTuple):
    """One layer; `norms` are those before and after attention, before and after the MLP, their offset added."""

    qkv: Matrix
    out: Matrix
    gate_up: Matrix
    down: Matrix
    norms: tuple[Tensor | None, ...]
    query_norm: Tensor | None
    key_norm: Tensor | None


class Geometry(NamedTuple):
    """What all layers of a model have in common."""

    heads: int
    kv_heads: int
    head_size: int
    scaling: float
    epsilon: float
    activation: Function
    format: Format
    is_wide: bool  # has_wide_results of the device


def empty_like(weight: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Room for the whole of a weight."""
    return torch.empty(weight.shape, dtype=dtype or weight.dtype, device=weight.device)


def copy_whole(room: Tensor, weight: Tensor) -> None:
    room.copy_(whole(weight, room.dtype))


def views(matrix: Matrix, modules: Sequence[nn.Linear]) -> Iterator[tuple[nn.Linear, Tensor, Tensor | None]]:
    """Each linear layer with its rows of `matrix`."""
    sizes = [module.out_features for module in modules]
    biases = [None] * len(sizes) if matrix.bias is None else matrix.bias.split(sizes)
    yield from zip(modules, matrix.weight.split(sizes), biases, strict=True)


class StepWeights:
    """Buffers for the weights of `model`; `load` before a rollout."""

    def __init__(self, model: PreTrainedModel):
        base: Any = model.base_model
        first = base.layers[0]
        attention = first.self_attn
        norm = first.input_layernorm
        self.family = FAMILIES[model.config.model_type]
        self.kinds = kinds_of(model)
        windows: Any = per_layer_kind(model, lambda window: window)  # type: ignore[arg-type, return-value]
        self.windows = windows if isinstance(windows, dict) else dict.fromkeys(self.kinds, windows)
        self.geometry = Geometry(
            attention.q_proj.out_features // attention.head_dim,
            attention.k_proj.out_features // attention.head_dim,
            attention.head_dim,
            attention.scaling,
            getattr(norm, "variance_epsilon", None) or norm.eps,
            first.mlp.act_fn,
            format_of(model),
            has_wide_results(model.device.type),
        )
        self.layers = [self.layer_buffers(layer) for layer in base.layers]
        self.last_norm = empty_like(base.norm.weight)
        head = output_weight(model)
        assert head is not None
        self.head = empty_like(head, dtype=self.type_of(head.dtype))
        embedding = embedding_of(model)
        self.embedding = embedding
        if is_share(embedding.weight):
            self.embedding = with_weight(embedding, empty_like(embedding.weight))

    def type_of(self, own: torch.dtype) -> torch.dtype:
        """The type of a matrix whose exact values are of the type `own`."""
        format = self.geometry.format
        return own if format == FP32 else format.forward

    def layer_buffers(self, layer: Any) -> LayerWeights:
        qkv, out, gate_up, down = (self.matrix(modules) for modules in groups_of(layer))
        *norms, query_norm, key_norm = (
            None if norm is None else empty_like(norm.weight) for norm in self.norms_of(layer)
        )
        return LayerWeights(qkv, out, gate_up, down, tuple(norms), query_norm, key_norm)

    def matrix(self, modules: list[nn.Linear]) -> Matrix:
        exact = torch.float32 if isinstance(modules[0], SplitLinear) else modules[0].weight.dtype
        rows = sum(module.out_features for module in modules)
        weight = one_matrix(modules, self.geometry.format)
        if weight is None:
            shape = (rows, modules[0].in_features)
            weight = torch.empty(shape, dtype=self.type_of(exact), device=modules[0].weight.device)
        has_bias = any(module.bias is not None for module in modules)
        bias = torch.zeros(rows, dtype=exact, device=weight.device) if has_bias else None
        return Matrix(weight, bias)

    def norms_of(self, layer: Any) -> list[Any]:
        """The four norms around attention and MLP, then those of queries and keys; None where one is missing."""
        around = [getattr(layer, name) if name else None for name in self.family.norms]
        return [*around, *(getattr(layer.self_attn, name, None) for name in ("q_norm", "k_norm"))]

    @torch.no_grad()
    def load(self, model: PreTrainedModel) -> None:
        """Copy the weights that `model` has now; those of a sharded one are gathered one after the other."""
        base: Any = model.base_model
        for layer, own in zip(base.layers, self.layers, strict=True):
            for modules, matrix in zip(groups_of(layer), own[:4], strict=True):
                for module, weight, bias in views(matrix, modules):
                    if is_share(module.weight):
                        copy_whole(weight, module.weight)
                    elif weight.data_ptr() != module.weight.data_ptr():
                        is_split = isinstance(module, SplitLinear)
                        weight.copy_(weight_in(module, self.geometry.format) if is_split else module.weight)
                    if bias is not None and module.bias is not None:
                        copy_whole(bias, module.bias)
            buffers = (*own.norms, own.query_norm, own.key_norm)
            for norm, buffer in zip(self.norms_of(layer), buffers, strict=True):
                if buffer is not None:
                    torch.add(whole(norm.weight), self.family.norm_offset, out=buffer)
        torch.add(whole(base.norm.weight), self.family.norm_offset, out=self.last_norm)
        head = output_weight(model)
        assert head is not None
        copy_whole(self.head, head)
        embedding = embedding_of(model)
        if self.embedding is not embedding:
            copy_whole(self.embedding.weight, embedding.weight)

    def products(self, model: PreTrainedModel) -> Products:
        """Products with these weights for the linear layers, the embedding and the head of `model`."""
        format = self.geometry.format
        found: dict[int, Function] = {id(embedding_of(model)): self.embedding}
        base: Any = model.base_model
        for layer, own in zip(base.layers, self.layers, strict=True):
            for modules, matrix in zip(groups_of(layer), own[:4], strict=True):
                for module, weight, bias in views(matrix, modules):
                    found[id(module)] = still_product(weight, bias, format)
        head = still_product(self.head, None, format)
        return lambda module: head if isinstance(module, Tensor) else found[id(module)]
