"""Model families, tiny and random: each computes the same on packed rows, in the sampler and plainly, or is
refused with the cause.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from data.errors import InputError
from grpo.engine.attention import uses_blocks
from grpo.engine.logprob import completion_logps
from grpo.engine.model import load_policy
from grpo.engine.packing import pack
from grpo.engine.self_check import Need, check_packing, check_positions

CPU = torch.device("cpu")
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

BLOCKS = "blocks"
DENSE = "sdpa"
EAGER = "eager"
TRAINED: dict[str, tuple[str, dict[str, Any], str]] = {
    "Gemma": ("Gemma", SIZED, BLOCKS),
    "Gemma 2": (
        "Gemma2",
        SIZED | WINDOW | {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 1.0},
        EAGER,
    ),
    "Gemma 3": ("Gemma3Text", SIZED | WINDOW | {"query_pre_attn_scalar": 8}, BLOCKS),
    "Llama": ("Llama", USUAL, BLOCKS),
    "Llama with a window that it does not read": ("Llama", USUAL | WINDOW, BLOCKS),
    "Mistral": ("Mistral", USUAL | WINDOW, BLOCKS),
    "Qwen 2": ("Qwen2", USUAL | LATER, BLOCKS),
    "Qwen 3": ("Qwen3", SIZED, BLOCKS),
    "Qwen 2 MoE": ("Qwen2Moe", USUAL | LATER | EXPERTS, BLOCKS),
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
    "GPT-J": ("GPTJ", GPT | {"rotary_dim": 4}, EAGER),
    "XGLM": (
        "XGLM",
        IDS
        | {
            "d_model": 32,
            "ffn_dim": 64,
            "num_layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 64,
        },
        EAGER,
    ),
    "gpt-oss": ("GptOss", SIZED | WINDOW | {"num_local_experts": 2, "num_experts_per_tok": 1}, EAGER),
}
PLACE = "takes a token's place in the row for its position"
RECURRENT = "has recurrent layers"
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "BLOOM": ("Bloom", IDS | {"hidden_size": 32, "n_layer": 2, "n_head": 4}, PLACE),
    "Falcon with ALiBi": ("Falcon", NAMED | {"alibi": True}, PLACE),
    "MPT": ("Mpt", IDS | {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}, PLACE),
    "Mamba": ("Mamba", STATE, RECURRENT),
    "Jamba": ("Jamba", USUAL | {"num_experts": 2, "mamba_d_state": 4, "attn_layer_period": 2, "attn_layer_offset": 1}, RECURRENT),
    "RWKV": ("Rwkv", IDS | {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32}, RECURRENT),
    "LFM 2": ("Lfm2", USUAL | {"layer_types": ["conv", "full_attention"]}, "has layers of the kind conv"),
    "GPT-Neo": (
        "GPTNeo", NAMED | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 256},
        "has layers of the kind local",
    ),
    "GPT": ("OpenAIGPT", GPT, "cannot go on from the keys and values of a prompt"),
}  # fmt: skip


def made(kind: str, sizes: dict[str, Any], folder: Path) -> Path:
    """A folder with a random model whose choices are peaked enough to tell a wrong mask from a right one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(getattr(transformers, f"{kind}Config")(**sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    model.save_pretrained(folder)
    return folder


def attention(model: PreTrainedModel) -> str:
    return BLOCKS if uses_blocks(model) else str(model.config.get_text_config()._attn_implementation)


@pytest.mark.parametrize("family", TRAINED)
def test_trained(family: str, tmp_path: Path) -> None:
    """Obituary: Gemma 2 and XGLM were said to be no causal LMs; Nemotron failed on a size of tensors."""
    kind, sizes, way = TRAINED[family]
    model = load_policy(made(kind, sizes, tmp_path / "model"), CPU)
    assert attention(model) == way
    assert (
        check_packing(model) < 1e-4
        and check_packing(load_policy(tmp_path / "model", CPU, packed_attention=False), fast=False) < 1e-4
    )
    logps = completion_logps(
        model, pack([[5, 6, 7], [9, 8]], [[3, 4, 1], [4, 1], [7, 1], [5, 5, 1]], 2)
    ).logps
    gradients = torch.autograd.grad(logps.sum(), list(model.parameters()), allow_unused=True)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 0


@pytest.mark.parametrize("family", TRAINED)
def test_a_row_may_be_longer_than_the_positions(family: str, tmp_path: Path) -> None:
    kind, sizes, _ = TRAINED[family]
    model = load_policy(made(kind, sizes, tmp_path / "model"), CPU)
    prompts = torch.randint(4, 259, (4, 30), generator=torch.Generator().manual_seed(1)).tolist()
    together = completion_logps(model, pack(prompts, [prompt[:9] for prompt in prompts], 1)).logps
    alone = [completion_logps(model, pack([prompt], [prompt[:9]], 1)).logps for prompt in prompts]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", REFUSED)
def test_refused_with_the_cause(family: str, tmp_path: Path) -> None:
    """Obituary: an IndexError, a size of tensors, or that this were no causal LM, was the reason given."""
    kind, sizes, cause = REFUSED[family]
    model = load_policy(made(kind, sizes, tmp_path / "model"), CPU)
    with pytest.raises(
        InputError,
        match=rf"model: {model.config.model_type} cannot be trained: it {cause}.*ordinary attention",
    ) as refused:
        check_packing(model)
    assert len(str(refused.value).splitlines()) == 1 and "Error" not in str(refused.value)


def test_a_model_of_another_kind_is_refused_as_such(tmp_path: Path) -> None:
    transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=259, d_model=32, d_ff=64, num_layers=1, num_heads=2, d_kv=8)
    ).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"T5Config.*AutoModelForCausalLM"):
        load_policy(tmp_path, CPU)


@pytest.mark.parametrize("family", ["GPT-2", "OPT", "XGLM", "GPT-J"])
def test_positions_that_a_table_lacks_are_refused(family: str, tmp_path: Path) -> None:
    """Obituary: an index out of range in the middle of training."""
    kind, sizes, _ = TRAINED[family]
    model = load_policy(made(kind, sizes, tmp_path / "model"), CPU)
    assert check_positions(model, [Need(64, "prompts", "lower them"), Need(3, "texts", "leave them")]) == ""
    with pytest.raises(InputError, match="has 64 positions, and prompts need 65; lower them"):
        check_positions(model, [Need(65, "prompts", "lower them"), Need(3, "texts", "leave them")])


def test_positions_beyond_what_a_rotary_model_was_made_for_are_said(tmp_path: Path) -> None:
    model = load_policy(made("Llama", USUAL, tmp_path / "model"), CPU)
    assert check_positions(model, [Need(65, "prompts", "lower them")]) == (
        "prompts need 65 positions, more than the 64 that this model was made for; lower them"
    )
