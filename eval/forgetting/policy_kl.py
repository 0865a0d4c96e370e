"""How far a policy has moved on the task's own prompts: KL(policy || untouched), on samples of the
policy.

"RL's Razor" (arXiv 2509.04259) predicts forgetting from the divergence between a fine-tuned model and its start on
prompts of the new task. Here completions are sampled from the policy at temperature 1, and at each of their tokens
the divergence is summed over the whole vocabulary, so that only the choice of prefixes is random.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from data.examples import Example
from data.prompt import Prompt
from eval.forgetting.drift import TokenText, measure_drift
from eval.forgetting.tax import task_sample
from grpo.engine.draw import Sampling
from grpo.engine.sampler import generate

SAMPLES = 2  # completions of each prompt
BATCH = 64  # prompts that are decoded together
SEED = 2509


def sample_texts(
    policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example], max_new_tokens: int, fast: bool
) -> list[TokenText]:
    """`SAMPLES` completions of each example, their end tokens included, each behind its prompt."""
    sampling = Sampling(SAMPLES, max_new_tokens, 1.0, prompt.stops, fast)
    texts = []
    for start in range(0, len(examples), BATCH):
        batch = examples[start : start + BATCH]
        prompts = [prompt.encode_prompt(example) for example in batch]
        numbers = range(start, start + len(batch))
        completions = generate(policy, prompts, sampling, (SEED,), numbers).completions()
        texts += [
            TokenText(f"{batch[row // SAMPLES].id}#{row % SAMPLES}", prompts[row // SAMPLES], ids)
            for row, ids in enumerate(completions)
        ]
    return texts


def measure_policy_kl(
    policy: PreTrainedModel,
    base: PreTrainedModel,
    prompt: Prompt,
    task: Sequence[Example],
    max_new_tokens: int,
    fast: bool = True,
) -> dict[str, Any]:
    """KL(policy || base) in nats per token over samples of the policy on a fixed choice of the prompts of `task`, and
    each sample's sum. With `base` the same object as `policy` it is exactly 0.
    """
    texts = sample_texts(policy, prompt, task_sample(task), max_new_tokens, fast)
    drift = measure_drift(base, policy, texts)  # its KL is counted from its second model
    items = [{key: item[key] for key in ("id", "tokens", "kl")} for item in drift["items"]]
    return {
        "n_samples": len(items),
        "n_tokens": drift["n_tokens"],
        "kl_mean": drift["kl_mean"],
        "items": items,
    }
