"""`make bench`: seconds of each phase of a GRPO step on this machine, as shares of its measured matrix-product rate.

Absolute seconds of a shared machine mean little; the last column (work done per second / rate of a square matrix
product measured in the same run) can be compared. A benchmark, not a test: it asserts nothing.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedModel

from data.cache import cache_dir
from grpo import device
from grpo.advantage import group_advantages
from grpo.config import OptimConfig
from grpo.logprob import completion_logps
from grpo.minibatch import micro_batches, score
from grpo.optim import Optimizer
from grpo.plan import matmul_rate
from grpo.policy import load_policy, output_weight
from grpo.records import Rollout
from grpo.sampler import Sampling, generate
from reward.embedding import EmbeddingStore
from reward.encoder import load_encoder


@dataclass(frozen=True)
class Row:
    """One line of the table; `flops` 0 = not a matter of matrix products."""

    phase: str
    seconds: float
    flops: float
    share_of_rate: float


def default_model(compute: device.Compute) -> PreTrainedModel:
    """The default policy if its folder is in the cache, else a random model of the same shape."""
    folder = cache_dir() / "models" / "gemma-3-270m-trimmed"
    if folder.is_dir():
        return load_policy(folder, compute.device)
    print("the default model is not in the cache (make data train obtains it): random weights of its shape")
    shape = {"hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1}
    config = Gemma3TextConfig(vocab_size=48578, **shape)
    model = Gemma3ForCausalLM(config)
    return torch.nn.Module.to(model, compute.device) and model.eval()


def median_seconds(work: Callable[[], object], compute: device.Compute, repeats: int) -> float:
    """Median of `repeats` runs after one that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        device.synchronise(compute)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def train_pass(model: PreTrainedModel, rollout: Rollout, max_tokens: int) -> None:
    """Forward and backward over a whole rollout, gradients dropped."""
    for rows, packed in micro_batches(rollout, torch.arange(len(rollout.prompt_ids), device=rollout.lengths.device), max_tokens):
        (completion_logps(model, packed).logps.sum() / len(rows)).backward()
    model.zero_grad(set_to_none=False)


def measure(model: PreTrainedModel, compute: device.Compute, options: argparse.Namespace) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    prompts = [torch.randint(4, vocabulary, (options.prompt,), generator=generator).tolist() for _ in range(options.prompts)]
    sampling = Sampling(options.group, options.new, temperature=1.0, stop_ids=())
    rollout = generate(model, prompts, sampling, seed=(0,))
    weight = output_weight(model)
    head = 0 if weight is None else weight.numel()
    body = sum(parameter.numel() for parameter in model.parameters()) - head
    sampled = int(rollout.lengths.sum())
    unique = sum(map(len, prompts)) + sampled
    optimizer = Optimizer(model, OptimConfig(lr=1e-9), num_updates=1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    encoder = load_encoder("use", cache_dir(), compute.device)
    texts = [f"{number} 打开文件 {number % 7}" for number in range(sampled // options.new)]
    work: dict[str, tuple[Callable[[], object], float]] = {
        "rollout": (lambda: generate(model, prompts, sampling, seed=(1,)), 2 * body * unique + 2 * head * sampled),
        "reference": (lambda: score(model, rollout, 1.0, options.max_tokens), 2 * body * unique + 2 * head * sampled),
        "forward and backward": (lambda: train_pass(model, rollout, options.max_tokens), 6 * body * unique + 6 * head * sampled),
        "optimiser": (optimizer.adamw.step, 0.0),
        "reward": (lambda: EmbeddingStore(encoder, None).embed(texts), 0.0),
        "advantages": (lambda: group_advantages(torch.rand(options.prompts, options.group), 1e-3), 0.0),
    }
    rate = matmul_rate(compute)
    timed = {name: median_seconds(function, compute, options.repeats) for name, (function, _) in work.items()}
    rows = [Row(name, timed[name], flops, flops / timed[name] / rate) for name, (_, flops) in work.items()]
    total, flops = sum(timed.values()), sum(flops for _, flops in work.values())
    return [*rows, Row("whole step", total, flops, flops / total / rate)]


def count(text: str) -> int:
    """A whole number from 1, small enough to be meant."""
    number = int(text)
    if not 1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and 1,000,000")
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default, text in (
        ("prompts", 8, "prompts a step"),
        ("group", 8, "completions a prompt"),
        ("prompt", 30, "tokens of a prompt"),
        ("new", 16, "tokens of a completion"),
        ("max-tokens", 640, "packed tokens of one forward pass"),
        ("repeats", 3, "timed runs, after one that is not counted"),
    ):
        parser.add_argument(f"--{name}", type=count, default=default, help=f"{text} (default {default})")
    parser.add_argument("--json", help="write the table to this file too")
    options = parser.parse_args()
    compute = device.choose()
    device.configure()
    rows = measure(default_model(compute), compute, options)
    print(f"{options.prompts} prompts x {options.group} completions x {options.new} tokens; {json.dumps(device.describe(compute))}")
    print(f"{'phase':24}{'seconds':>10}{'TFLOP':>10}{'of matmul rate':>16}")
    for row in rows:
        share = f"{row.share_of_rate:.0%}" if row.flops else "-"
        print(f"{row.phase:24}{row.seconds:10.3f}{row.flops / 1e12:10.2f}{share:>16}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([asdict(row) for row in rows], file, indent=1)


if __name__ == "__main__":
    main()
