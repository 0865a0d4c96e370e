"""One token for every row of all slots, in shapes that never change and without a wait for the host.

So an accelerator can capture it as a graph (grpo/engine/graph_decoder.py). `layer_step` and `next_tokens` take
tensors and constants only: a compiler can fuse them. Numbers are rounded at the same places as in
grpo/engine/decode_step.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm

from grpo.engine.decode_step import rotate
from grpo.engine.draw import pick
from grpo.engine.products import multiply
from grpo.engine.slots import LayerCache, Rows, Slots
from grpo.engine.step_weights import Geometry, LayerWeights, Matrix, StepWeights

Angles = dict[str, tuple[Tensor, Tensor]]  # kind of layer, or "" -> cosines and signed sines (positions, D)


class Place(NamedTuple):
    """Where the newest tokens stand, for one kind of layer.

    slot, column (S,): index of each slot and of its newest column; cosines, sines (S, 1, 1, D); hidden (S, 1,
    1, 1, L + T): keys that must not be looked at.
    """

    slot: Tensor
    column: Tensor
    cosines: Tensor
    sines: Tensor
    hidden: Tensor


def normalise(x: Tensor, weight: Tensor | None, epsilon: float) -> Tensor:
    return x if weight is None else rms_norm(x, weight.shape, weight, epsilon)


def project(x: Tensor, matrix: Matrix, geometry: Geometry) -> Tensor:
    """(B, in) -> (B, out) fp32; the pieces of x are rows of one product, so that the weight is read once."""
    format = geometry.format
    weight, bias = matrix
    if format.forward.itemsize > 2:
        return linear(x, weight, bias)
    result = multiply(torch.cat(format.split(x)), weight.T, geometry.is_wide)
    result = result.view(format.pieces, len(x), -1).sum(dim=0) if format.pieces > 1 else result
    return result if bias is None else result + bias


def attend(
    query: Tensor, key: Tensor, value: Tensor, cache: LayerCache, place: Place, geometry: Geometry
) -> Tensor:
    """Queries (S, G, heads, D), new keys and values (S, G, kv, D), which it stores -> (S * G, heads * D)."""
    format = geometry.format
    times = partial(multiply, is_wide=geometry.is_wide)
    prompt_keys, prompt_values, tail_keys, tail_values = cache
    query, key, value = (format.store(x) for x in (query, key, value))
    tail_keys[place.slot, :, :, place.column] = key.transpose(1, 2)
    tail_values[place.slot, :, :, place.column] = value.transpose(1, 2)
    query = query.unflatten(2, (geometry.kv_heads, -1)).transpose(1, 2)  # (S, kv, G, repeats, D)
    by_row = query.shape[2:4]
    with_prompt = times(query.flatten(2, 3), prompt_keys.mT).unflatten(2, by_row)
    scores = torch.cat([with_prompt, times(query, tail_keys.mT)], dim=-1) * geometry.scaling
    weights = format.store(scores.masked_fill(place.hidden, -torch.inf).softmax(dim=-1))
    of_prompt, of_tail = weights.split([prompt_keys.shape[2], tail_keys.shape[3]], dim=-1)
    context = times(of_prompt.flatten(2, 3), prompt_values).unflatten(2, by_row)
    context = context + times(of_tail, tail_values)
    return context.transpose(1, 2).flatten(0, 1).flatten(1)


def layer_step(
    hidden: Tensor, weights: LayerWeights, cache: LayerCache, place: Place, geometry: Geometry
) -> Tensor:
    """(B, H) hidden states of the newest tokens before a layer -> those after it."""
    heads, kv_heads, head_size = geometry[:3]
    epsilon = geometry.epsilon
    before_attention, after_attention, before_mlp, after_mlp = weights.norms
    turn = (place.cosines, place.sines)
    x = project(normalise(hidden, before_attention, epsilon), weights.qkv, geometry)
    x = x.view(len(place.slot), -1, heads + 2 * kv_heads, head_size)
    query, key, value = x.split([heads, kv_heads, kv_heads], dim=2)
    query = rotate(normalise(query, weights.query_norm, epsilon), turn)
    key = rotate(normalise(key, weights.key_norm, epsilon), turn)
    context = project(attend(query, key, value, cache, place, geometry), weights.out, geometry)
    hidden = hidden + normalise(context, after_attention, epsilon)
    x = project(normalise(hidden, before_mlp, epsilon), weights.gate_up, geometry)
    gate, up = x.chunk(2, dim=-1)
    x = project(geometry.activation(gate) * up, weights.down, geometry)
    return hidden + normalise(x, after_mlp, epsilon)


def next_tokens(
    hidden: Tensor, norm: Tensor, head: Tensor, uniforms: Tensor, temperature: float, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """(B, H) hidden states behind the last layer and (B,) uniforms -> (B,) tokens and their log-probabilities."""
    x = normalise(hidden, norm, geometry.epsilon)
    return pick(project(x, Matrix(head, None), geometry).float(), uniforms, temperature)


class Functions(NamedTuple):
    """`layer_step` and `next_tokens`, as they are or fused by a compiler."""

    layer: Callable[..., Tensor]
    tokens: Callable[..., tuple[Tensor, Tensor]]


PLAIN = Functions(layer_step, next_tokens)


class Rules(NamedTuple):
    """What holds for all rows of a rollout: is_stop (V,) tokens that end a row, limit (1,) most tokens of one."""

    is_stop: Tensor
    limit: Tensor
    angles: Angles
    temperature: float


def places(rows: Rows, width: int, weights: StepWeights, angles: Angles) -> dict[str, Place]:
    """The place of the newest tokens for every kind of layer."""
    device = rows.num_tokens.device
    column = rows.num_tokens - 1
    position = rows.length + column
    prefix, tail = (torch.arange(size, device=device) for size in (width, rows.ids.shape[2]))
    age = torch.cat([position[:, None] - prefix, column[:, None] - tail], dim=1)
    unused = torch.cat([prefix >= rows.length[:, None], tail > column[:, None]], dim=1)
    found = {}
    for kind, window in weights.windows.items():
        hidden = unused if window is None else unused | (age >= window)
        cosines, sines = (table[position][:, None, None] for table in angles.get(kind) or angles[""])
        slot = torch.arange(len(position), device=device)
        found[kind] = Place(slot, column, cosines, sines, hidden[:, None, None, None])
    return found


@torch.no_grad()
def step(
    embedding: nn.Module, weights: StepWeights, slots: Slots, rules: Rules, functions: Functions = PLAIN
) -> None:
    """Run the newest token of every row and draw the next one, in place."""
    rows, caches = slots
    where: Any = places(rows, caches[0].prompt_keys.shape[2], weights, rules.angles)
    hidden = embedding(rows.tokens.flatten())
    for kind, layer, cache in zip(weights.kinds, weights.layers, caches, strict=True):
        hidden = functions.layer(hidden, layer, cache, where[kind], weights.geometry)
    number = rows.num_tokens.clamp(max=rows.ids.shape[2] - 1)[:, None, None].expand(*rows.tokens.shape, 1)
    uniforms = rows.uniforms.gather(2, number).flatten()
    tokens, logps = functions.tokens(
        hidden, weights.last_norm, weights.head, uniforms, rules.temperature, weights.geometry
    )
    rows.record(tokens.view_as(rows.tokens), logps.view_as(rows.tokens), rules.is_stop, rules.limit)
