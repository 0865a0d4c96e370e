"""Measures signal and noise of a step's gradient: `python -m benchmarks.step_signal --config configs/mt.toml`.

The model is the warm start in the configuration's run folder. Each of K steps draws the run's own prompts and gives three
gradients of the same prompts: GRPO's by the run's reward, GRPO's by random rewards, and that of SFT on the reference
texts. The gradients of different steps share nothing but what there is to learn. So with g_k the gradient of a step,

    signal = mean over i != j of g_i . g_j = |E g|^2,    share = signal / mean of |g_k|^2,

without bias, from running sums alone: sum over i != j of g_i . g_j = |sum g|^2 - sum |g_k|^2. A step of n times as
many prompts has the share 1 / (1 + (1 / share - 1) / n). Printed by part of the model, with the cosine of the true
directions of GRPO and of SFT.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.arguments import ArgumentParser
from data.cache import cache_dir
from data.examples import Example
from data.stream import PromptStream
from grpo.advantage import group_advantages
from grpo.config import Config
from grpo.config_file import load_config
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import by_budget, pack, row_tokens
from grpo.loss import OBJECTIVES, token_weights
from grpo.minibatch import micro_batches
from grpo.runtime.device import choose, configure
from grpo.runtime.interrupt import StopRequest
from grpo.samples import Samples, draw_samples, sampling_of
from grpo.stages.context import Run, corpus_of, load_model, load_prompt, within_limit
from grpo.stages.reward_setup import load_reward
from grpo.stages.token_limits import with_limits
from grpo.training import Task

Gradient = dict[str, Tensor]


@dataclass
class Sums:
    """Sums over steps of a gradient and of its squared norms, by parameter."""

    total: Gradient = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, gradient: Gradient) -> None:
        self.steps += 1
        for name, values in gradient.items():
            self.squares[name] = self.squares.get(name, 0.0) + float(values.double().square().sum())
            if name in self.total:
                self.total[name] += values
            else:
                self.total[name] = values.clone()


@dataclass
class Products:
    """Sums over steps of the product of two gradients of the same prompts, by parameter."""

    values: dict[str, float] = field(default_factory=dict)

    def add(self, one: Gradient, other: Gradient) -> None:
        for name in one:
            product = float((one[name].double() * other[name].double()).sum())
            self.values[name] = self.values.get(name, 0.0) + product


def signal(sums: Sums, names: list[str]) -> tuple[float, float]:
    """(|E g|^2, E |g|^2) over some parameters, both without bias; at least two steps."""
    squares = sum(sums.squares[name] for name in names)
    whole = sum(float(sums.total[name].double().square().sum()) for name in names)
    return (whole - squares) / (sums.steps * (sums.steps - 1)), squares / sums.steps


def direction_cosine(one: Sums, other: Sums, same: Products, names: list[str]) -> float:
    """The cosine of E g of two gradients without bias; nan where a signal is not above 0."""
    both = sum(float((one.total[name].double() * other.total[name].double()).sum()) for name in names)
    product = (both - sum(same.values[name] for name in names)) / (one.steps * (one.steps - 1))
    norms = signal(one, names)[0], signal(other, names)[0]
    return product / (norms[0] * norms[1]) ** 0.5 if min(norms) > 0 else float("nan")


def parts(model: PreTrainedModel) -> dict[str, list[str]]:
    """Names of parameters by part of the model: all, embeddings, and three thirds of the layers by kind."""
    names = [name for name, _ in model.named_parameters()]
    layers = {name: int(number) for name in names for number in name.split(".") if number.isdigit()}
    depth = 1 + max(layers.values(), default=0)
    by_part: dict[str, list[str]] = {"all": names, "embeddings": [name for name in names if "embed" in name]}
    for name, layer in layers.items():
        kind = "attention" if "attn" in name else "feed-forward" if "mlp" in name else "norms"
        third = ("lower", "middle", "upper")[3 * layer // depth]
        by_part.setdefault(f"{kind}, {third}", []).append(name)
    return {part: members for part, members in by_part.items() if members}


def take_gradient(policy: PreTrainedModel) -> Gradient:
    """The gradient of all parameters, which have none afterwards."""
    gradient = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad(set_to_none=True)
    return gradient


def grpo_gradient(config: Config, policy: PreTrainedModel, samples: Samples, rewards: Tensor) -> Gradient:
    """Of the loss of GRPO without KL at a ratio of 1, with rewards (P, G)."""
    rollout = samples.rollout
    settings = config.advantage
    advantages = group_advantages(rewards, settings.std_floor, settings.baseline, settings.scale).flatten()
    weights = token_weights(rollout.completion_mask, OBJECTIVES[config.loss.objective].aggregation)
    for rows, packed in micro_batches(rollout, torch.arange(len(rewards)), config.train.max_tokens_per_pass):
        logps = completion_logps(policy, packed, config.rollout.temperature).logps
        (-(weights[rows] * advantages[rows, None] * logps).sum()).backward()
    return take_gradient(policy)


def sft_gradient(config: Config, policy: PreTrainedModel, task: Task, batch: list[Example]) -> Gradient:
    """Of the mean negative log-likelihood of the reference texts' tokens."""
    pairs = [
        (task.prompt.encode_prompt(example), task.prompt.encode_completion(example.reference))
        for example in batch
    ]
    total = sum(len(completion) for _, completion in pairs)
    lengths = [row_tokens(prompt, [completion]) for prompt, completion in pairs]
    for chosen in by_budget(lengths, config.train.max_tokens_per_pass):
        prompts, completions = zip(*(pairs[i] for i in chosen), strict=True)
        (-completion_logps(policy, pack(prompts, completions, 1)).logps.sum() / total).backward()
    return take_gradient(policy)


def lines(
    kinds: dict[str, Sums], same: Products, names_of: dict[str, list[str]], prompts: int
) -> Iterator[str]:
    """The table, one row a part and kind of gradient."""
    yield f"| part | gradient | norm | share of signal at {prompts} prompts | prompts for half |"
    yield "|---|---|---|---|---|"
    for part, names in names_of.items():
        for kind, sums in kinds.items():
            strength, square = signal(sums, names)
            half = f"{prompts * (square - strength) / strength:,.0f}" if strength > 0 else "-"
            yield f"| {part} | {kind} | {square**0.5:.3g} | {strength / square:+.4f} | {half} |"
        cosine = direction_cosine(kinds["grpo"], kinds["sft"], same, names)
        yield f"| {part} | cosine of the directions of grpo and sft | | {cosine:+.3f} | |"


def measure(run: Run, steps: int, say: Callable[[str], None]) -> list[str]:
    """The table of a run's warm start."""
    config = run.config
    prompt = load_prompt(run, run.warm_start)
    policy = load_model(run, run.warm_start)
    policy.requires_grad_(True)
    examples = within_limit(corpus_of(run).train, prompt, config.model.max_prompt_tokens)
    reward = load_reward(run, policy, prompt, examples)
    floor = replace(config.advantage, std_floor=reward.std_floor)
    config = replace(config, advantage=floor)
    stream = PromptStream(examples, config.rollout.num_prompts, config.seed)
    task = Task(stream, prompt, reward.function, policy, sampling_of(config, prompt))
    kinds = {"grpo": Sums(), "random": Sums(), "sft": Sums()}
    same = Products()
    for step in range(steps):
        batch = list(stream.at(step))
        with torch.no_grad():
            samples = draw_samples(task, policy, batch, (config.seed, step))
        noise = torch.rand(samples.rewards.shape, generator=torch.Generator().manual_seed(step))
        learnt = grpo_gradient(config, policy, samples, samples.rewards)
        imitated = sft_gradient(config, policy, task, batch)
        kinds["grpo"].add(learnt)
        kinds["sft"].add(imitated)
        same.add(learnt, imitated)
        kinds["random"].add(grpo_gradient(config, policy, samples, noise))
        say(f"{step + 1}/{steps}: reward {float(samples.rewards.mean()):.3f}")
    return list(lines(kinds, same, parts(policy), config.rollout.num_prompts))


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the configuration of a run that has a warm start")
    parser.add_argument("--steps", type=int, default=12, help="at least 2; more is sharper")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    if options.steps < 2:
        parser.error("--steps: two steps are the least that show a signal")
    config = load_config(options.config, options.overrides)
    compute = choose(config.device)
    configure(compute, threads=config.threads)
    run = with_limits(Run(config, Path(config.run_dir), cache_dir(), compute, StopRequest(), print))
    print(*measure(run, options.steps, print), sep="\n")


if __name__ == "__main__":
    main()
