"""Tiny random models of the families that transformers has, by the way in which each is computed."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from grpo.engine.attention import uses_blocks
from grpo.engine.decode_step import is_known
from grpo.engine.padding import cause_of_padding

IDS = {"vocab_size": 259, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
USUAL = IDS | {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}  # fmt: skip
WINDOW = {"sliding_window": 8}  # the rows of the check are longer
LATER = WINDOW | {"use_sliding_window": True, "max_window_layers": 1}
SIZED = USUAL | {"head_dim": 8}
GPT = IDS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS = {
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
NAMED = IDS | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
STATE = IDS | {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}
SSM = {"mamba_d_state": 4, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1}
LINEAR = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
LOCAL = {"attention_types": [[["global", "local"], 1]], "window_size": 6}
CHUNKED = {"attention_chunk_size": 8, "layer_types": ["chunked_attention", "full_attention"]}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip

FAST = "our own forward pass decodes, attention by blocks"
BLOCKS = "attention by blocks"
DENSE = "a dense mask"
EAGER = '"eager" attention with a dense mask'
PADDED = "padded rows"
REFUSED = "refused"
Sizes = dict[str, Any]
FAMILIES: dict[str, tuple[str, Sizes, str]] = {  # transformers' name of the configuration, sizes, the way
    "Gemma 3": ("Gemma3Text", SIZED | WINDOW | {"query_pre_attn_scalar": 8}, FAST),
    "Llama 2": ("Llama", USUAL, FAST),
    "Llama 3": ("Llama", USUAL | {"rope_parameters": LLAMA3}, FAST),
    "Mistral": ("Mistral", USUAL | WINDOW, FAST),
    "Qwen 2": ("Qwen2", USUAL | LATER, FAST),
    "Qwen 2.5": ("Qwen2", USUAL | {"tie_word_embeddings": True}, FAST),
    "Qwen 3": ("Qwen3", SIZED, FAST),
    "Gemma": ("Gemma", SIZED, BLOCKS),
    "Qwen 2 MoE": ("Qwen2Moe", USUAL | LATER | EXPERTS, BLOCKS),
    "Qwen 3 MoE": ("Qwen3Moe", SIZED | EXPERTS, BLOCKS),
    "Mixtral": ("Mixtral", USUAL | WINDOW | {"num_local_experts": 2}, BLOCKS),
    "Phi": ("Phi", USUAL, BLOCKS),
    "Phi-3": ("Phi3", USUAL | WINDOW, BLOCKS),
    "Phi-3.5 MoE": ("Phimoe", USUAL | WINDOW | {"num_local_experts": 2}, BLOCKS),
    "OLMo 2": ("Olmo2", USUAL, BLOCKS),
    "SmolLM 3": ("SmolLM3", USUAL, BLOCKS),
    "Granite": ("Granite", USUAL | {"logits_scaling": 2.0, "embedding_multiplier": 3.0}, BLOCKS),
    "Cohere": ("Cohere", USUAL, BLOCKS),
    "GPT-2": ("GPT2", GPT, BLOCKS),
    "GPT-NeoX": ("GPTNeoX", NAMED | {"intermediate_size": 64, "max_position_embeddings": 64}, BLOCKS),
    "OPT": ("OPT", NAMED | {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 64}, BLOCKS),
    "Falcon": ("Falcon", NAMED | {"alibi": False}, DENSE),
    "StableLM": ("StableLm", USUAL, DENSE),
    "Nemotron": ("Nemotron", USUAL, DENSE),
    "Gemma 2": ("Gemma2", SIZED | WINDOW | {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 1.0}, EAGER),
    "GPT-J": ("GPTJ", GPT | {"rotary_dim": 4}, EAGER),
    "XGLM": (
        "XGLM",
        IDS | {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 64},
        EAGER,
    ),
    "gpt-oss": ("GptOss", SIZED | WINDOW | {"num_local_experts": 2, "num_experts_per_tok": 1}, EAGER),
    "BLOOM": ("Bloom", IDS | {"hidden_size": 32, "n_layer": 2, "n_head": 4}, PADDED),
    "Falcon with ALiBi": ("Falcon", NAMED | {"alibi": True}, PADDED),
    "MPT": ("Mpt", IDS | {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}, PADDED),
    "Mamba": ("Mamba", STATE, PADDED),
    "Mamba 2": ("Mamba2", STATE | {"num_heads": 4, "head_dim": 16, "n_groups": 1}, PADDED),
    "Falcon Mamba": ("FalconMamba", STATE, PADDED),
    "Jamba": ("Jamba", USUAL | {"num_experts": 2, "mamba_d_state": 4, "attn_layer_period": 2, "attn_layer_offset": 1}, PADDED),
    "Bamba": ("Bamba", USUAL | SSM | {"attn_layer_indices": [1]}, PADDED),
    "Falcon-H1": ("FalconH1", USUAL | SSM | {"mamba_d_ssm": 64, "lm_head_multiplier": 0.5}, PADDED),
    "Qwen 3 Next": ("Qwen3Next", SIZED | LINEAR | EXPERTS, PADDED),
    "RecurrentGemma": (
        "RecurrentGemma",
        NAMED | {"intermediate_size": 64, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8},
        PADDED,
    ),
    "LFM 2": ("Lfm2", USUAL | {"layer_types": ["conv", "full_attention"]}, PADDED),
    "GPT-Neo": (
        "GPTNeo",
        NAMED | LOCAL | {"num_layers": 2, "num_heads": 4, "max_position_embeddings": 64},
        PADDED,
    ),
    "Llama 4": (
        "Llama4Text",
        SIZED | CHUNKED | {"intermediate_size_mlp": 64, "num_local_experts": 2, "no_rope_layers": [1, 0]},
        PADDED,
    ),
    "GPT": ("OpenAIGPT", GPT, PADDED),
    "RWKV": ("Rwkv", IDS | {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32}, REFUSED),
    "xLSTM": ("xLSTM", IDS | {"hidden_size": 32, "num_hidden_layers": 2, "num_heads": 4}, REFUSED),
    "XLNet": ("XLNet", IDS | {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}, REFUSED),
}  # fmt: skip


def names_of(*ways: str) -> list[str]:
    """The families that are computed in one of these ways."""
    return [name for name, (_, _, way) in FAMILIES.items() if way in ways]


def made(family: str, folder: Path, scale: float = 6.0, **changes: Any) -> Path:
    """A folder with a random model whose choices are peaked enough to tell a wrong mask from a right one."""
    kind, sizes, _ = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(getattr(transformers, f"{kind}Config")(**sizes | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
    model.save_pretrained(folder)
    return folder


def way_of(model: PreTrainedModel) -> str:
    """How a model that was loaded is computed."""
    if cause_of_padding(model):
        return PADDED
    if uses_blocks(model):
        return FAST if is_known(model) else BLOCKS
    return EAGER if model.config.get_text_config()._attn_implementation == "eager" else DENSE
