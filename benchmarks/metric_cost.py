"""`python -m benchmarks.metric_cost`: floating-point operations of learned metrics beside those of a GRPO step.

The models have their true sizes and no memory (torch's meta device); torch counts the operations of every product in one
forward pass. The step is counted by benchmarks/counts.py. Softmaxes, norms and the metric's own head are not counted.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    MT5Config,
    PretrainedConfig,
    Qwen3Config,
    XLMRobertaConfig,
    XLMRobertaXLConfig,
)

from benchmarks.counts import shape_of, step_flops, uniform

TERA = 1e12
WIDTH_STEP = 8
PROMPTS = 256
GROUP = 8
BUDGET = 0.2  # of the operations of a step
TOKENS = 48  # of a source, a completion and a reference text
PROMPT_TOKENS = 64  # the source and the words around it


@dataclass(frozen=True)
class Cost:
    """A metric: its model, and how many sequences of how many tokens it reads for P prompts and N completions."""

    name: str
    config: Callable[[], PretrainedConfig]
    sequences: tuple[tuple[str, int], ...]  # per prompt ("P") or completion ("N"), tokens


def roberta(width: int, layers: int, inner: int) -> Callable[[], PretrainedConfig]:
    return lambda: XLMRobertaConfig(
        vocab_size=250002,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=inner,
    )


large = roberta(1024, 24, 4096)


def xl() -> PretrainedConfig:
    return XLMRobertaXLConfig()


def mt5(d_model: int, d_ff: int, heads: int) -> Callable[[], PretrainedConfig]:
    return lambda: MT5Config(
        d_model=d_model, d_ff=d_ff, num_heads=heads, d_kv=64, num_layers=24, num_decoder_layers=24,
        feed_forward_proj="gated-gelu", vocab_size=250112,
    )  # fmt: skip


def rembert() -> PretrainedConfig:
    """RemBERT's layers in BERT's class, which needs no values of a mask; its projection of the embeddings is not counted."""
    return BertConfig(
        vocab_size=250300,
        hidden_size=1152,
        num_hidden_layers=32,
        num_attention_heads=18,
        intermediate_size=4608,
    )


def labse() -> PretrainedConfig:
    return BertConfig(vocab_size=501153)


PAIR = (("P", TOKENS), ("N", TOKENS))  # of a cosine: a reference text and a completion
ALONE = (("P", TOKENS), ("P", TOKENS), ("N", TOKENS))
UNIFIED = (("N", 2 * TOKENS), ("N", 2 * TOKENS), ("N", 3 * TOKENS))
METRICS = (
    Cost("LaBSE (cosine)", labse, PAIR),
    Cost("multilingual E5-base (cosine)", roberta(768, 12, 3072), PAIR),
    Cost("multilingual E5-large (cosine)", large, PAIR),
    Cost("BGE-M3, dense (cosine)", large, PAIR),
    Cost("SONAR, text (cosine)", roberta(1024, 24, 8192), PAIR),  # products of the same shapes
    Cost("COMET-22", large, ALONE),
    Cost("COMETKiwi-22", large, (("N", 2 * TOKENS),)),
    Cost("UniTE", large, UNIFIED),
    Cost("BLEURT-20", rembert, (("N", 2 * TOKENS),)),
    Cost("MetricX-24-hybrid-large", mt5(1024, 2816, 16), (("N", 3 * TOKENS),)),
    Cost("MetricX-24-hybrid-xl", mt5(2048, 5120, 32), (("N", 3 * TOKENS),)),
    Cost("xCOMET-XL", xl, UNIFIED),
)


def pass_flops(config: PretrainedConfig, tokens: int) -> int:
    """Operations of one sequence of `tokens`, padded as in reward/encoders/pooled.py."""
    width = (tokens // WIDTH_STEP + 1) * WIDTH_STEP
    with torch.device("meta"):
        model = AutoModel.from_config(config, attn_implementation="eager").eval()
        ids = torch.zeros(1, width, dtype=torch.int64)
        first = {"decoder_input_ids": ids[:, :1]} if config.is_encoder_decoder else {}
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(input_ids=ids, **first)
    return counter.get_total_flops()


def metric_flops(cost: Cost) -> int:
    """Of all completions of a step; a source and a reference text of COMET are read once for their group."""
    counts = {"P": PROMPTS, "N": PROMPTS * GROUP}
    config = cost.config()
    return sum(counts[kind] * pass_flops(config, tokens) for kind, tokens in cost.sequences)


def largest_share(cost: float, budget: float = BUDGET) -> float:
    """The largest `reward.metric_share`, in whole per cent, by which a cost, as a share of a step, stays within `budget`.

    >>> largest_share(0.34), largest_share(6.41), largest_share(0.03)
    (0.58, 0.03, 1.0)
    """
    return min(1.0, math.floor(100 * budget / cost) / 100)


def policy_step_flops() -> int:
    """A step of a policy of 0.6 billion parameters (the sizes of Qwen3-0.6B) over the same prompts and completions."""
    config = Qwen3Config(
        vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(step_flops(shape_of(model), uniform(PROMPTS, PROMPT_TOKENS, GROUP, TOKENS)).values())


def main() -> int:
    step = policy_step_flops()
    print(
        f"{PROMPTS * GROUP:,} completions of {TOKENS} tokens; a step of a 0.6B policy: {step / TERA:,.0f} TFLOP\n"
    )
    print(f"| metric | TFLOP | of the step | `metric_share` for {100 * BUDGET:.0f} % |\n|---|---|---|---|")
    for cost in METRICS:
        flops = metric_flops(cost)
        share = largest_share(flops / step)
        print(f"| {cost.name} | {flops / TERA:,.0f} | {100 * flops / step:,.0f} % | {share:g} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
