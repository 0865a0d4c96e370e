"""The forward pass of the sampler, written out for the Gemma 3, Llama, Mistral and Qwen families.

Weights do not change during a rollout, so they are re-ordered once for the CPU's matrix kernels, and a
prompt's keys and values are stored once, whatever the size of its group. No module of the model runs but its
embedding, rotary angles and activation. Any other model goes through its own forward
(grpo/engine/model_decoder.py); a test compares the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention
from transformers import PreTrainedModel

from grpo.engine.forward import caps_scores, output_weight, per_layer_kind
from grpo.engine.kv_cache import PrefixCache
from grpo.engine.padding import cause_of_padding
from grpo.engine.private_apis import has_onednn_product, onednn_product
from grpo.engine.products import FP32, Format, format_of, still_product, weight_in
from grpo.engine.sharding import is_share, whole, with_weight


class Family(NamedTuple):
    """What differs between families: `norm_offset` is added to the weight of a norm; `norms` names those before
    and after attention, before and after the MLP.
    """

    norm_offset: float
    norms: tuple[str | None, str | None, str | None, str | None]
    angles_by_kind: bool = False


LLAMA = Family(0.0, ("input_layernorm", None, "post_attention_layernorm", None))
GEMMA3 = Family(
    1.0,
    (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ),
    angles_by_kind=True,
)
FAMILIES = {"gemma3_text": GEMMA3, "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA}

Function = Callable[[Tensor], Tensor]
# layer, weight of the head, or embedding -> what it computes
Products = Callable[[nn.Linear | nn.Embedding | Tensor], Function]


def is_known(model: PreTrainedModel) -> bool:
    """Is this a model that `FastDecoder` computes exactly?"""
    config = model.config
    is_causal = not getattr(config, "use_bidirectional_attention", False)
    is_plain = is_causal and not caps_scores(model) and not cause_of_padding(model)
    return config.model_type in FAMILIES and is_plain and output_weight(model) is not None


def embedding_of(model: PreTrainedModel) -> nn.Embedding:
    """The module that looks tokens up."""
    found: Any = model.get_input_embeddings()
    return found


def kinds_of(model: PreTrainedModel) -> list[str]:
    """The kind of every layer, "" where a model has one kind only."""
    base: Any = model.base_model
    return getattr(model.config, "layer_types", None) or [""] * len(base.layers)


def product(module: nn.Linear | nn.Embedding | Tensor, rows: int, format: Format) -> Function:
    """x (B, in) -> x @ weight.T + bias; for fp32 on a CPU the weight is re-ordered by oneDNN for a batch of
    `rows`. An embedding looks its weight up. Weights of a sharded model are gathered.
    """
    if isinstance(module, nn.Embedding):
        return with_weight(module, whole(module.weight)) if is_share(module.weight) else module
    if isinstance(module, Tensor):
        weight, bias = whole(module, None if format == FP32 else format.forward).detach(), None
    else:
        weight = whole(weight_in(module, format)).detach()
        bias = None if module.bias is None else whole(module.bias).detach()
    if format != FP32:
        return still_product(weight, bias, format)
    is_plain = weight.device.type == "cpu" and weight.dtype == torch.float32
    if is_plain and has_onednn_product():
        return onednn_product(weight, bias, rows)
    return partial(linear, weight=weight, bias=bias)


def norm(module: Any, offset: float) -> Function:
    """Root-mean-square norm over the last dimension, fp32 inside; nothing where there is no module."""
    if module is None:
        return lambda x: x
    weight = whole(module.weight).detach().float() + offset
    epsilon = getattr(module, "variance_epsilon", None) or module.eps
    return lambda x: rms_norm(x.float(), weight.shape, weight, epsilon).to(x.dtype)


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions: x (B, heads, D), cosines and signed sines (B, 1, D)."""
    cosines, sines = angles
    return torch.addcmul(x * cosines, x.roll(x.shape[-1] // 2, dims=-1), sines)


@dataclass(frozen=True)
class Layer:
    """The functions of one layer: norms around attention and MLP, products, activation; `kind` picks its mask
    and angles.
    """

    kind: str
    norms: list[Function]
    query: Function
    key: Function
    value: Function
    out: Function
    gate: Function
    up: Function
    down: Function
    query_norm: Function
    key_norm: Function
    activation: Function
    head_size: int
    scaling: float

    @classmethod
    def of(cls, layer: Any, family: Family, kind: str, product_of: Products) -> "Layer":
        attention = layer.self_attn
        mlp = layer.mlp
        offset = family.norm_offset
        norms = [norm(getattr(layer, name) if name else None, offset) for name in family.norms]
        query, key, value, out = (product_of(getattr(attention, f"{name}_proj")) for name in "qkvo")
        gate, up, down = (product_of(getattr(mlp, f"{name}_proj")) for name in ("gate", "up", "down"))
        query_norm, key_norm = (norm(getattr(attention, name, None), offset) for name in ("q_norm", "k_norm"))
        return cls(
            kind, norms, query, key, value, out, gate, up, down, query_norm, key_norm, mlp.act_fn,
            attention.head_dim, attention.scaling,
        )  # fmt: skip

    def heads(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1, self.head_size)


# (number, layer, queries, keys, values) -> attention output; stores keys and values
Attend = Callable[[int, Layer, Tensor, Tensor, Tensor], Tensor]


class FastDecoder:
    """Decodes N = P * group_size rows behind P prompts: `prefill` once, then a `step` for each token; more
    prompts may `join`.

    A row may take `tail` tokens; `rows` is how many there will be: the batch that weights are re-ordered for.
    `product_of` gives products whose weights somebody has prepared already.
    """

    def __init__(self, model: PreTrainedModel, tail: int, rows: int, product_of: Products | None = None):
        family = FAMILIES[model.config.model_type]
        base: Any = model.base_model
        kinds = kinds_of(model)
        weight = output_weight(model)
        assert weight is not None
        self.model = model
        self.tail = tail
        self.format = format_of(model)
        product_of = product_of or partial(product, rows=rows, format=self.format)
        self.layers = [
            Layer.of(layer, family, kind, product_of) for layer, kind in zip(base.layers, kinds, strict=True)
        ]
        self.embed = product_of(embedding_of(model))
        self.head = product_of(weight)
        self.last_norm = norm(base.norm, family.norm_offset)
        self.rotary = base.rotary_emb
        self.angle_kinds = sorted(set(kinds)) if family.angles_by_kind else [""]

    def prefill(self, prompts: Sequence[Sequence[int]], group_size: int) -> Tensor:
        """Run every prompt once, all in one row without padding or repeated beginnings -> (N, V) logits of
        the first tokens.
        """
        device = self.model.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        distinct = distinct_beginnings(prompts, device)
        self.cache = cache = PrefixCache(lengths, group_size, self.tail, self.format)
        width = cache.real.shape[1]
        place = torch.arange(cache.real.shape[1], device=device)
        distance = place[:, None] - place

        def causal(window: int | None) -> Tensor | None:
            return (distance >= 0) & (distance < window) if window is not None and window < width else None

        masks: Any = per_layer_kind(self.model, causal)  # type: ignore[arg-type]

        def attend(number: int, layer: Layer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            operands = (self.format.round(x) for x in (query, key, value))
            grids = [cache.grid(x[distinct.of_token]) for x in operands]
            cache.store(grids[1], grids[2])
            mask = masks[layer.kind] if isinstance(masks, dict) else masks
            repeats = query.shape[1] // key.shape[1]
            keys, values = (x.repeat_interleave(repeats, dim=1) if repeats > 1 else x for x in grids[1:])
            context = scaled_dot_product_attention(
                grids[0], keys, values, mask, is_causal=mask is None, scale=layer.scaling
            )
            return context.transpose(1, 2)[cache.real][distinct.first].flatten(1)

        ends = distinct.of_token[lengths.cumsum(0) - 1]
        return self.logits(self.body(distinct.ids, distinct.positions, attend, ends)).repeat_interleave(
            group_size, dim=0
        )

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Run more prompts while others decode -> (P, V) logits of their first tokens; their rows come behind
        the active ones.
        """
        cache = self.cache
        logits = self.prefill(prompts, group_size=1)
        cache.join(self.cache)
        self.cache = cache
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """(B,) newest tokens of the active rows -> (B, V) logits of the next ones."""
        cache = self.cache
        cache.append()
        hidden_keys: Any = per_layer_kind(self.model, cache.hidden_mask)  # type: ignore[arg-type]

        def attend(number: int, layer: Layer, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            hidden = hidden_keys[layer.kind] if isinstance(hidden_keys, dict) else hidden_keys
            return cache.attend(number, query, key, value, hidden, layer.scaling)

        return self.logits(self.body(tokens, cache.newest_position(), attend))

    def keep(self, rows: Tensor) -> None:
        """Drop every row that is not in `rows`."""
        self.cache.keep(rows)

    def angles(self, hidden: Tensor, positions: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Cosines and signed sines (B, 1, D) of every kind of layer."""
        found = {}
        for kind in self.angle_kinds:
            cosines, sines = self.rotary(hidden[None], positions[None], *([kind] if kind else []))
            signs = torch.ones_like(sines)
            signs[..., : sines.shape[-1] // 2] = -1
            found[kind] = (cosines[0, :, None], (sines * signs)[0, :, None])
        return found

    def body(self, ids: Tensor, positions: Tensor, attend: Attend, ends: Tensor | None = None) -> Tensor:
        """(B,) ids at `positions` -> (B, H) hidden states, or (K, H) of those at the indices `ends`, for which
        alone runs what follows the last attention.
        """
        hidden = self.embed(ids)
        angles = self.angles(hidden, positions)
        for number, layer in enumerate(self.layers):
            before_attention, after_attention, before_mlp, after_mlp = layer.norms
            turn = angles.get(layer.kind) or angles[""]
            x = before_attention(hidden)
            query = rotate(layer.query_norm(layer.heads(layer.query(x))), turn)
            key = rotate(layer.key_norm(layer.heads(layer.key(x))), turn)
            context = attend(number, layer, query, key, layer.heads(layer.value(x)))
            if ends is not None and number == len(self.layers) - 1:
                hidden = hidden[ends]
                context = context[ends]
            hidden = hidden + after_attention(layer.out(context))
            x = before_mlp(hidden)
            hidden = hidden + after_mlp(layer.down(layer.activation(layer.gate(x)) * layer.up(x)))
        return self.last_norm(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.head(hidden).float()


@dataclass(frozen=True)
class Beginnings:
    """S tokens of all prompts in a row, K of them distinct by everything up to and with them.

    `ids` and `positions` (K,) are the distinct ones; `of_token` (S,) says which of them a token is, `first`
    (K,) where it stands first.
    """

    ids: Tensor
    positions: Tensor
    of_token: Tensor
    first: Tensor


def distinct_beginnings(prompts: Sequence[Sequence[int]], device: torch.device) -> Beginnings:
    """For example [[2, 7], [2, 7, 9], [2, 5]]: ids 2 7 9 5 at positions 0 1 2 1, of_token 0 1 0 1 2 0 3,
    first 0 1 4 6.
    """
    numbers: dict[tuple[int, int], int] = {}  # (number of what stands before, token) -> number
    positions: list[int] = []
    of_token: list[int] = []
    first: list[int] = []
    for prompt in prompts:
        number = -1
        for position, token in enumerate(prompt):
            number = numbers.setdefault((number, token), len(first))
            if number == len(first):
                positions.append(position)
                first.append(len(of_token))
            of_token.append(number)
    ids = [token for _, token in numbers]
    return Beginnings(*(torch.tensor(values, device=device) for values in (ids, positions, of_token, first)))
