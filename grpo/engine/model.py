"""Loads a causal language model for training, and says what the rest needs to know of it: head, masks, hidden
states.

Parameters are fp32 masters; dropout is off everywhere; the reference policy is a frozen deep copy of the
in-memory weights, never a second load from disk.
"""

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from data.documents import read_object
from data.errors import InputError
from data.model_folder import check_model_folder, input_errors
from grpo.engine.attention import PLAIN, blocks_of, no_mask, use_blocks, uses_blocks
from grpo.engine.packing import Packed, pack, visible
from grpo.engine.private_apis import attention_name
from grpo.engine.products import FP32, Format, use_format
from grpo.engine.source import ModelSource

TOKENIZER_FILES = ("*token*", "vocab*", "merges*", "spiece*", "tekken*", "*.model")  # patterns; one is enough
EAGER = "eager"  # transformers' name of the attention that every model has


def load_policy(
    source: str | Path | ModelSource,
    device: torch.device,
    packed_attention: bool = True,
    format: Format = FP32,
) -> PreTrainedModel:
    """A transformers causal LM -> model in fp32, eval mode, every parameter trainable.

    Its attention is torch's own ("sdpa") where transformers has that for it, else "eager"; `as_policy` says
    what the rest is.
    """
    transformers_logging.disable_progress_bar()
    folder = str(source)
    if Path(folder).is_dir():
        check_model_folder(Path(folder), AutoModelForCausalLM)
    with input_errors(folder, "transformers cannot load this as a causal LM with safetensors weights"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    model: PreTrainedModel = loaded[0]
    check_weights(folder, model, sorted(loaded[1]["missing_keys"]))
    return as_policy(model, device, packed_attention, format)


def as_policy(
    model: PreTrainedModel, device: torch.device, packed_attention: bool = True, format: Format = FP32
) -> PreTrainedModel:
    """The model itself, on `device` and in eval mode; its linear layers multiply in `format`
    (grpo/engine/products.py). With torch's own attention, its packed rows run through grpo/engine/attention.py
    unless `packed_attention` is off.
    """
    model.config.use_cache = False
    nn.Module.to(model, device)
    model.eval()
    if format != FP32:
        use_format(model, format)
    replaceable = model.is_backend_compatible() and attention_name(model) == PLAIN
    if packed_attention and replaceable:
        use_blocks(model)
        if not reads_blocks(model):
            model.set_attn_implementation(PLAIN)
    return model


@torch.no_grad()
def reads_blocks(model: PreTrainedModel) -> bool:
    """Do the blocks of a packed row reach the attention? A model that drops them takes a dense mask."""
    try:
        packed_hidden(model, pack([[0, 0]], [[0, 0], [0, 0]], 2).to(model.device))
    except Exception:  # each model has its own way to fail
        return False
    return True


def check_weights(folder: str | Path, model: PreTrainedModel, missing: list[str]) -> None:
    """InputError for tensors that are `missing`, which transformers has filled with random numbers, or hold
    what is not finite.
    """
    if missing:
        raise InputError(
            f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more tensors of a {type(model).__name__}"
        )
    broken = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if broken:
        raise InputError(
            f"{folder}: not finite in {broken[0]} and {len(broken) - 1} more tensors; restore the weights"
        )


def load_tokenizer(source: str | Path | ModelSource) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model; raises InputError when there is none, or it has no end-of-text token."""
    folder = str(source)
    if Path(folder).is_dir() and not any(
        file for like in TOKENIZER_FILES for file in Path(folder).glob(like)
    ):
        raise InputError(
            f"{folder}: no tokenizer beside the model; copy tokenizer.json and tokenizer_config.json of the model it was made from into it"
        )
    with input_errors(folder, "no tokenizer that transformers can read"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokenizer.decode(tokenizer("a")["input_ids"])
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{folder}: the tokenizer has no end-of-text token; set eos_token in tokenizer_config.json"
        )
    check_vocabulary(Path(folder) / "config.json", tokenizer)
    return tokenizer


def check_vocabulary(path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """InputError where a token has no row in the model beside it; those added to the vocabulary may have
    none, as Gemma's for images.
    """
    settings = read_object(path) if path.is_file() else {}
    part = settings.get("text_config")
    rows = (part if isinstance(part, dict) else settings).get("vocab_size")
    highest = max(tokenizer.vocab_size - 1, tokenizer.eos_token_id)
    if isinstance(rows, int) and highest >= rows:
        raise InputError(
            f"{path}: vocab_size = {rows}, but the tokenizer beside it gives the token {highest}; take both of one model"
        )


def frozen_copy(policy: PreTrainedModel) -> PreTrainedModel:
    """An in-memory deep copy that takes no gradient: the reference policy."""
    return copy.deepcopy(policy).requires_grad_(False).eval()


def parameter_hash(model: nn.Module) -> str:
    """SHA-256 over names and bytes of every parameter."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def output_weight(model: PreTrainedModel) -> Tensor | None:
    """(V, H) weight when logits are exactly `hidden @ weight.T`; None for heads with a bias, a cap or a
    scale.
    """
    head = model.get_output_embeddings()
    config = model.config.get_text_config()
    altered = (
        "final_logit_softcapping",
        "logit_scale",
        "logits_scaling",
        "lm_head_multiplier",
        "output_multiplier_scale",
    )
    plain = (
        isinstance(head, nn.Linear)
        and head.bias is None
        and all(getattr(config, name, None) in (None, 1, 1.0) for name in altered)
    )
    return head.weight if plain else None


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


def packed_inputs(model: PreTrainedModel, packed: Packed) -> dict[str, Any]:
    """Arguments of a forward pass over a packed row."""
    inputs = {"input_ids": packed.input_ids, "position_ids": packed.position_ids, "use_cache": False}
    blocks = blocks_of(packed) if uses_blocks(model) else None
    if blocks is None:
        return inputs | {"attention_mask": masks_for(model, lambda window: visible(packed, window))}
    return inputs | {"attention_mask": per_layer_kind(model, no_mask), "blocks": blocks}


def packed_hidden(model: PreTrainedModel, packed: Packed) -> Tensor:
    """(K, H) final hidden states at the positions that predict the K completion tokens."""
    return (
        model.base_model(**packed_inputs(model, packed)).last_hidden_state[0].index_select(0, packed.source)
    )


def packed_logits(model: PreTrainedModel, packed: Packed) -> Tensor:
    """(K, V) logits through the model's own head, for heads that are not a plain product."""
    return model(**packed_inputs(model, packed)).logits[0].index_select(0, packed.source)
