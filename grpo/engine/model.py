"""Loads a causal language model and its tokenizer: the policy, models that are only read, and the frozen copy of the
policy that is GRPO's reference.

The policy's parameters are fp32 masters; dropout is off everywhere; the reference is a deep copy of the in-memory
weights, never a second load from disk.
"""

import copy
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from data.console import silent
from data.errors import InputError
from data.model_folder import check_config, input_errors
from data.model_settings import model_settings
from grpo.engine.attention_choice import with_attention
from grpo.engine.halves import ExactParameters
from grpo.engine.loading import load_model
from grpo.engine.offload import keep_on_host
from grpo.engine.products import FP32, Format, use_format
from grpo.engine.sharding import Processes, shard, whole
from grpo.engine.source import ModelSource
from grpo.engine.token_rows import has_tokenizer, note_tokens
from grpo.engine.weight_forms import copies_of_weights, freeze, join_rows, split_weights


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
