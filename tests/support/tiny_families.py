"""More tiny random models: families, windows, biases and angles that `tiny` has not."""

from typing import Any

import torch
from tiny import EOS, initialise, tiny_gemma, tiny_llama
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SHAPE: dict[str, Any] = {
    "vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024, "pad_token_id": 0, "eos_token_id": EOS, "bos_token_id": 2,
}  # fmt: skip


def mistral() -> PreTrainedModel:
    """Every layer looks back 6 tokens."""
    return initialise(lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=6)), 0)


def qwen2() -> PreTrainedModel:
    """Biases of queries, keys and values."""
    model: Any = initialise(lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)), 0)
    with torch.no_grad():
        for layer in model.base_model.layers:
            layer.self_attn.k_proj.bias.uniform_(-1, 1)
            layer.self_attn.v_proj.bias.uniform_(-1, 1)
    return model


def qwen3() -> PreTrainedModel:
    """Norms of queries and keys; heads whose size is not hidden / heads."""
    return initialise(lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16)), 0)


def llama_with_longer_context() -> PreTrainedModel:
    """Rotary angles that are not the default ones."""
    model = tiny_llama()
    config = model.config
    config.rope_parameters = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
    return initialise(lambda: type(model)(config), 0)


# families whose step is known
KNOWN = [tiny_gemma, tiny_llama, mistral, qwen2, qwen3, llama_with_longer_context]
