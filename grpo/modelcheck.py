"""Before training: does this model compute the same log-probabilities on packed rows as on plain ones?

Packing needs attention that takes any mask, and positions that are given. A recurrent layer, ALiBi or a fixed causal
kernel would silently mix completions of a group; so we look, once, on a few random tokens.
"""

import torch
from transformers import PreTrainedModel

from data.errors import InputError
from grpo.logprob import completion_logps
from grpo.packing import pack
from grpo.sampler import Sampling, generate

TOLERANCE = 1e-3


@torch.no_grad()
def check_packing(model: PreTrainedModel, fast: bool = True) -> float:
    """Largest difference in nats between packed, sampled and plain log-probabilities; InputError when they disagree."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    prompts = [torch.randint(4, vocabulary, (length,), generator=generator).tolist() for length in (9, 5)]
    rollout = generate(model, prompts, Sampling(2, max_new_tokens=6, temperature=1.0, stop_ids=(), fast=fast), seed=(0,))
    packed = completion_logps(model, pack(prompts, rollout.completions(), 2).to(model.device)).logps
    plain = torch.zeros_like(packed)
    for row, completion in enumerate(rollout.completions()):
        prompt = prompts[row // 2]
        ids = torch.tensor([prompt + completion], device=model.device)
        logps = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(dim=-1)
        plain[row] = logps[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0]
    gaps = {name: float((logps - plain).abs().max()) for name, logps in (("packed rows", packed), ("the sampler", rollout.sampling_logps))}
    for name, gap in gaps.items():
        if not gap < TOLERANCE:
            switch = "write rollout.fast_decode=false, or if it is so already, " if name == "the sampler" else ""
            raise InputError(
                f"{model.config.model_type}: log-probabilities of {name} differ from plain ones by {gap:.3g} nats, so this architecture "
                f"cannot be trained so; {switch}use one with ordinary attention (Gemma, Llama, Qwen, ...)"
            )
    return max(gaps.values())
