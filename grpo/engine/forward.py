"""One forward pass of a model over a packed row: the arguments that it takes, and the states or logits that predict the
completion tokens.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from grpo.engine.attention import layout_of, no_mask
from grpo.engine.packing import Packed, visible
from grpo.engine.padding import cause_of_padding, padded_rows
from grpo.engine.private_apis import attention_name
from grpo.engine.token_rows import token_logits, token_rows

EAGER = "eager"  # transformers' name of the attention that every model has


def output_weight(model: PreTrainedModel) -> Tensor | None:
    """(V, H) weight of all tokens when logits are exactly `hidden @ weight.T`; None for heads with a bias, a cap or
    a scale.
    """
    head = model.get_output_embeddings()
    config = model.config.get_text_config()
    altered_names = (
        "final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier_scale",
        "logits_soft_cap", "output_logit_soft_cap",
    )  # fmt: skip
    plain = (
        isinstance(head, nn.Linear)
        and head.bias is None
        and model.base_model is not model  # a family without a body that transformers knows
        and all(getattr(config, name, None) in (None, 1, 1.0) for name in altered_names)
    )
    return token_rows(model, head.weight) if plain else None


def caps_scores(model: PreTrainedModel) -> bool:
    """Whether a model bounds its attention scores, as Gemma 2 does. Torch's own attention leaves that out, and some
    versions of transformers take it all the same.
    """
    return getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None


def packed_hidden(model: PreTrainedModel, packed: Packed) -> Tensor:
    """(K, H) final hidden states at the positions that predict the K completion tokens."""
    inputs, source = inputs_and_source(model, packed)
    hidden: Tensor = model.base_model(**inputs).last_hidden_state
    return hidden.flatten(0, 1).index_select(0, source)


def packed_logits(model: PreTrainedModel, packed: Packed) -> Tensor:
    """(K, V) logits through the model's own head, for heads that are not a plain product."""
    inputs, source = inputs_and_source(model, packed)
    logits = token_logits(model, model(**inputs).logits)
    return logits.flatten(0, 1).index_select(0, source)


def inputs_and_source(model: PreTrainedModel, packed: Packed) -> tuple[dict[str, Any], Tensor]:
    """Arguments of a forward pass over packed or padded rows, and where the K predicting states lie in all of them."""
    if not cause_of_padding(model):
        return packed_inputs(model, packed), packed.source
    rows = padded_rows(packed)
    return rows.inputs(), rows.source


def packed_inputs(model: PreTrainedModel, packed: Packed) -> dict[str, Any]:
    """Arguments of a forward pass over a packed row."""
    inputs = {"input_ids": packed.input_ids, "position_ids": packed.position_ids, "use_cache": False}
    layout = layout_of(model, packed)
    if layout is None:
        return inputs | {"attention_mask": masks_for(model, lambda window: visible(packed, window))}
    return inputs | {"attention_mask": per_layer_kind(model, no_mask), "layout": layout}


def masks_for(model: PreTrainedModel, may_look: Callable[[int | None], Tensor]) -> Tensor | dict[str, Tensor]:
    """Masks for the model's own forward from `may_look(window)`, bool. "eager" adds them to its scores, which
    an attention of unknown name can do as well.
    """
    if attention_name(model) not in (EAGER, None):
        return per_layer_kind(model, may_look)

    def additive_mask(window: int | None) -> Tensor:
        hidden = ~may_look(window)
        lowest = torch.finfo(torch.float32).min
        return torch.zeros_like(hidden, dtype=torch.float32).masked_fill(hidden, lowest)

    return per_layer_kind(model, additive_mask)


def per_layer_kind(
    model: PreTrainedModel, mask: Callable[[int | None], Tensor]
) -> Tensor | dict[str, Tensor]:
    """`mask(window)` in the form this model takes: a dictionary with one mask per kind of layer, or one mask
    for all.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if "sliding_attention" in kinds:
        return {kind: mask(window if kind == "sliding_attention" else None) for kind in kinds}
    own = hasattr(type(config), "sliding_window")  # not one in config.json that the model does not read
    uses_window = bool(window) and own and not kinds and getattr(config, "use_sliding_window", True)
    return mask(window if uses_window else None)
