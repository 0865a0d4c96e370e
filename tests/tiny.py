"""Tiny randomly initialised models of two families, for tests that must run the real code path in milliseconds."""

from collections.abc import Callable

import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel

PAD, EOS, BOS = 0, 1, 2


def tiny_gemma(seed: int = 0, vocabulary: int = 259) -> PreTrainedModel:
    """Three layers with a sliding window of 8, so that short tests cross it; weights large enough to give peaked choices."""
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
    return _initialised(lambda: Gemma3ForCausalLM(config), seed)


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
    return _initialised(lambda: LlamaForCausalLM(config), seed)


def _initialised(make: Callable[[], PreTrainedModel], seed: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model.eval()
