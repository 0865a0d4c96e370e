"""Loads a causal language model for training, and says what the rest needs to know of it: head, masks, hidden
states.

Parameters are fp32 masters; dropout is off everywhere; the reference policy is a frozen deep copy of the
in-memory weights, never a second load from disk.
"""

import copy
import hashlib
from collections.abc import Callable, Iterable
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from data.console import silent
from data.errors import InputError
from data.model_folder import check_config, first_line, input_errors
from data.model_settings import model_settings
from grpo.engine.attention import GROUPS, PLAIN, layout_of, no_mask, use_blocks
from grpo.engine.halves import ExactParameters
from grpo.engine.loading import load_model
from grpo.engine.offload import keep_on_host
from grpo.engine.packing import Packed, pack, visible
from grpo.engine.padding import cause_of_padding, padded_rows, use_padding
from grpo.engine.private_apis import attention_name, is_stateful, layers_of
from grpo.engine.products import FP32, Format, format_of, use_format
from grpo.engine.sharding import Processes, gradient, run_in, shard, whole
from grpo.engine.source import ModelSource
from grpo.engine.token_rows import has_tokenizer, note_tokens, token_logits, token_rows
from grpo.engine.weight_forms import copies_of_weights, freeze, join_rows, split_weights

PLACES = 40  # tokens by which a trial moves a completion
EAGER = "eager"  # transformers' name of the attention that every model has
LARGEST_GAP = 0.05  # between two attentions in 16 bits, of what they give; a wrong one is off by much more
MASKABLE = {"full_attention", "sliding_attention", "global"}  # kinds of layers that look where a mask says
LARGEST_SHIFT = {"fp32": 1e-3}  # of hidden states by what a token should not see; 0.2 in other number formats


def load_policy(
    source: str | Path | ModelSource,
    device: torch.device,
    packed_attention: bool = True,
    format: Format = FP32,
    say: Callable[[str], None] = silent,
    is_split: bool = False,
    world: Processes | None = None,
) -> PreTrainedModel:
    """A transformers causal LM -> model in fp32, eval mode, every parameter trainable; with `is_split` the matrices
    of its layers are two halves of the exact value (grpo/engine/weight_forms.py). Each process of a sharded `world`
    loads its share.

    Its attention is torch's own ("sdpa") where transformers has that for it, else "eager"; `as_policy` says
    what the rest is.
    """

    def form(model: PreTrainedModel) -> None:
        if is_split:
            split_weights(model)
        shard(model, world, device)

    model = load_model(source, device, form)
    note_tokens(model, source)
    as_policy(model, device, packed_attention, format, say)
    if is_split:
        join_rows(model)
    return model


def load_frozen(
    source: str | Path | ModelSource,
    device: torch.device,
    packed_attention: bool = True,
    format: Format = FP32,
    is_split: bool = False,
    on_host: bool = False,
    world: Processes | None = None,
) -> PreTrainedModel:
    """A model that is only read: what `load_policy` gives, as `freeze` keeps it; with `on_host` its layers lie in the
    host's memory (grpo/engine/offload.py). Each process of a sharded `world` loads its share.
    """

    def form(model: PreTrainedModel) -> None:
        if format != FP32:
            use_format(model, format)
        if is_split:
            split_weights(model)
        freeze(model)
        shard(model, world, device)

    model = load_model(source, torch.device("cpu") if on_host else device, form)
    note_tokens(model, source)
    if on_host:
        keep_on_host(model, device)
    return with_attention(model, packed_attention)


def as_policy(
    model: PreTrainedModel,
    device: torch.device,
    packed_attention: bool = True,
    format: Format = FP32,
    say: Callable[[str], None] = silent,
) -> PreTrainedModel:
    """The model itself, on `device` and in eval mode; its linear layers multiply in `format`
    (grpo/engine/products.py). `with_attention` says what the rest is.
    """
    nn.Module.to(model, device)
    if format != FP32:
        use_format(model, format)
    return with_attention(model, packed_attention, say)


def with_attention(
    model: PreTrainedModel, packed_attention: bool, say: Callable[[str], None] = silent
) -> PreTrainedModel:
    """The model itself, in eval mode. With torch's own attention, its packed rows run through
    grpo/engine/attention.py unless `packed_attention` is off; on an accelerator `say` gets a sentence on that. A model
    that cannot compute packed rows gets padded ones (grpo/engine/padding.py).
    """
    model.config.use_cache = False
    model.eval()
    if caps_scores(model):
        model.set_attn_implementation(EAGER)
    if cause := kind_that_cannot_pack(model):
        use_padding(model, cause)
        return model
    replaceable = model.is_backend_compatible() and attention_name(model) == PLAIN
    if packed_attention and replaceable:
        choice = choose_attention(model)
        if model.device.type != "cpu":
            say(f"attention of packed rows: {choice}")
    if cause := trouble_of_packing(model):
        use_padding(model, cause)
    return model


def caps_scores(model: PreTrainedModel) -> bool:
    """Whether a model bounds its attention scores, as Gemma 2 does. Torch's own attention leaves that out, and some
    versions of transformers take it all the same.
    """
    return getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None


def kind_that_cannot_pack(model: PreTrainedModel) -> str:
    """Why layers of its kinds give other numbers in a packed row, as the model says itself; "" where it does not."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or ()
    if is_stateful(model):
        return "it has recurrent layers, whose state would run from one completion into the next"
    if strange := sorted(set(kinds) - MASKABLE):
        return f"it has layers of the kind {strange[0]}, which do not look where a mask says"
    if "past_key_values" not in signature(model.forward).parameters:
        return "it cannot go on from the keys and values of a prompt"
    return ""


@torch.no_grad()
def trouble_of_packing(model: PreTrainedModel) -> str:
    """Why a packed row gives other numbers, found by a trial: a completion behind a short and behind a long one; ""
    where it does not.
    """
    short, long = (pack([[0, 1]], [[2] * length, [3, 1, 2, 0]], 2).to(model.device) for length in (2, PLACES))
    try:
        one, other = (run_in(model, packed_hidden, packed)[-3:].float() for packed in (short, long))
    except Exception as error:  # each model has its own way to fail
        return f"it cannot run them ({first_line(error)})"
    if float((one - other).norm() / one.norm()) > LARGEST_SHIFT.get(format_of(model).name, 0.2):
        return (
            "it takes a token's place in the row for its position, as ALiBi does, or looks where no mask says"
        )
    return ""


def choose_attention(model: PreTrainedModel) -> str:
    """Give packed rows the fastest attention that this model and its device can run; what it is, and why no
    faster one.
    """
    use_blocks(model)
    if not reads_blocks(model):
        model.set_attn_implementation(PLAIN)
        return f"a dense mask, because {model.config.model_type} does not hand on what another one needs"
    if model.device.type == "cpu":
        return "by blocks"
    if trouble := trouble_of_groups(model):
        use_blocks(model)
        return f"by blocks, because {trouble}"
    return "over the groups only, by flex_attention"


def trouble_of_groups(model: PreTrainedModel) -> str:
    """Why the kernel of grpo/engine/groups.py cannot be used, after a trial against the blocks; "" where it
    can, and then it is in use.
    """
    format = format_of(model)
    if format.pieces > 1 or format.forward.itemsize > 2:
        return f"flex_attention would round more than engine.number_format = {format.name}"
    by_blocks = trial(model)
    use_blocks(model, GROUPS)
    try:
        by_groups = trial(model)
    except Exception as error:  # each torch, driver and card has its own way to fail
        return f"flex_attention fails here ({first_line(error)})"
    fault = difference(by_groups, by_blocks)
    return f"flex_attention is off here ({fault})" if fault else ""


def difference(ours: list[Tensor], theirs: list[Tensor]) -> str:
    """How far two trials are from each other; "" where it is rounding."""
    gaps = [float((a - b).norm() / b.norm()) for a, b in zip(ours, theirs, strict=True)]
    if all(gap < LARGEST_GAP for gap in gaps):
        return ""
    found = zip(("hidden states", "a gradient"), gaps, strict=False)
    return ", ".join(f"{what} by {gap:.2g} of their size" for what, gap in found)


def trial(model: PreTrainedModel) -> list[Tensor]:
    """Hidden states of a small packed row, and the gradient of something of them in the first layer, where it
    takes one.
    """
    completions = [list(range(5, 5 + length)) for length in (3, 9, 1, 30, 0, 4)]
    packed = pack([[5, 6, 7, 8] * 8, [9, 10, 11]], completions, group_size=3).to(model.device)
    hidden = run_in(model, packed_hidden, packed)
    smallest = min(layers_of(model)[0].parameters(), key=Tensor.numel)
    if not smallest.requires_grad:
        return [hidden]
    weights = torch.arange(hidden.numel(), device=hidden.device).view_as(hidden).sin()
    return [hidden.detach(), gradient(model, (hidden * weights).sum(), smallest)]


@torch.no_grad()
def reads_blocks(model: PreTrainedModel) -> bool:
    """Do the blocks of a packed row reach the attention? A model that drops them takes a dense mask."""
    try:
        run_in(model, packed_hidden, pack([[0, 0]], [[0, 0], [0, 0]], 2).to(model.device))
    except Exception:  # each model has its own way to fail
        return False
    return True


def load_tokenizer(source: str | Path | ModelSource) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model; raises InputError when there is none, or it has no end-of-text token."""
    folder = str(source)
    if Path(folder).is_dir() and not has_tokenizer(Path(folder)):
        raise InputError(
            f"{folder}: no tokenizer beside the model; copy tokenizer.json and tokenizer_config.json of the model it was made from into it"
        )
    try:
        with input_errors(folder, "no tokenizer that transformers can read"):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            tokenizer.decode(tokenizer("a")["input_ids"])
    except InputError:
        if (Path(folder) / "config.json").is_file():  # which transformers reads first
            check_config(Path(folder))
        raise
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{folder}: the tokenizer has no end-of-text token; set eos_token in tokenizer_config.json"
        )
    check_vocabulary(Path(folder) / "config.json", tokenizer)
    return tokenizer


def check_vocabulary(path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """InputError where a token that any text may have has no row in the model beside it; special ones may have
    none, as Gemma's for images.
    """
    words = [token for token, text in tokenizer.added_tokens_decoder.items() if not text.special]
    ends = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None]
    check_rows(path, [tokenizer.vocab_size - 1, *ends, *words], tokenizer)


def check_rows(path: Path, tokens: Iterable[int], tokenizer: PreTrainedTokenizerBase) -> None:
    """InputError where one of the tokens has no row in the model whose config.json `path` is."""
    settings = model_settings(path)
    rows = (settings.get("text_config") or settings).get("vocab_size")
    highest = max(tokens)
    if isinstance(rows, int) and highest >= rows:
        spelling = tokenizer.convert_ids_to_tokens(highest)
        raise InputError(
            f"{path}: vocab_size = {rows}, but the tokenizer beside it gives the token {highest} ({spelling}); take "
            f"both of one model, or save it again after model.resize_token_embeddings({highest + 1})"
        )


def frozen_copy(policy: PreTrainedModel, on_host: bool = False) -> PreTrainedModel:
    """An in-memory copy that takes no gradient, as `freeze` keeps it: the reference policy; with `on_host` its layers
    lie in the host's memory.
    """
    reference = copy.deepcopy(policy, copies_of_weights(policy, on_host)).eval()
    freeze(reference)
    if on_host:
        keep_on_host(reference, policy.device)
    return reference


def parameter_hash(model: nn.Module) -> str:
    """SHA-256 over names and exact values of every parameter: the same for fp32, for two halves of it, and for shares,
    which all processes gather.
    """
    digest = hashlib.sha256()
    exact = ExactParameters(model)
    for name in sorted(exact):
        digest.update(name.encode())
        digest.update(whole(exact[name]).detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
    layout = layout_of(model, packed)
    if layout is None:
        return inputs | {"attention_mask": masks_for(model, lambda window: visible(packed, window))}
    return inputs | {"attention_mask": per_layer_kind(model, no_mask), "layout": layout}


def inputs_and_source(model: PreTrainedModel, packed: Packed) -> tuple[dict[str, Any], Tensor]:
    """Arguments of a forward pass over packed or padded rows, and where the K predicting states lie in all of them."""
    if not cause_of_padding(model):
        return packed_inputs(model, packed), packed.source
    rows = padded_rows(packed)
    return rows.inputs(), rows.source


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
