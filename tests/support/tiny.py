"""Tiny randomly initialised models of three families and their tokenizer, for tests that must run the real
code path in milliseconds.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

PAD = 0
EOS = 1
BOS = 2
Make = Callable[[], PreTrainedModel]  # as a test is given one of these functions


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, behind <pad> <eos> <bos>; puts <bos> in front as Gemma's does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", "<bos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )


def tiny_gemma(seed: int = 0, vocabulary: int = 259) -> PreTrainedModel:
    """Three layers with a sliding window of 8, so that short tests cross it; weights large enough to give
    peaked choices.
    """
    config = Gemma3TextConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=8,
        max_position_embeddings=1024,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
    )
    return initialise(lambda: Gemma3ForCausalLM(config), seed)


def capped_gemma(seed: int = 0) -> PreTrainedModel:
    """A head that is more than a product: logits squashed into (-3, 3)."""
    model = tiny_gemma(seed)
    model.config.final_logit_softcapping = 3.0
    return model


def tiny_llama(seed: int = 0, vocabulary: int = 259) -> PreTrainedModel:
    """Two layers, no window, untied head."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
    )
    return initialise(lambda: LlamaForCausalLM(config), seed)


def tiny_gpt2(seed: int = 0, vocabulary: int = 259) -> PreTrainedModel:
    """Two layers that, unlike the others' norms, compute in fp64 throughout when converted to it; learned
    positions.
    """
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=256, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        pad_token_id=PAD, eos_token_id=EOS, bos_token_id=BOS,
    )  # fmt: skip
    return initialise(lambda: GPT2LMHeadModel(config), seed)


def change(path: Path, **values: Any) -> None:
    """Other values in a JSON file of a model's folder."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def flat_gradient(model: PreTrainedModel) -> torch.Tensor:
    """The gradients of all parameters that have one, as one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def initialise(make: Make, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model.eval()
