"""Measures what policies gained and how far they went: `python -m benchmarks.reward_per_kl --config configs/mt.toml`.

The start is the warm start in the configuration's run folder; `--policy FOLDER`, once or more, names what came of it.
Each policy answers the same dev prompts twice: by
samples at the run's temperature, with the same random numbers, and greedily. A row of the table has the gain of a policy
over the warm start and its distance from it:

    KL = mean over sampled tokens of r - 1 - log r,  r = p_start / p_policy      (nats per token, at temperature 1)

The error of a gain is the standard error of its mean over prompts, so rows of one table are paired.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.arguments import ArgumentParser
from data.cache import cache_dir
from data.examples import Example
from data.stream import PromptStream
from grpo.config_file import load_config
from grpo.engine.logprob import completion_logps
from grpo.kl import kl_k3
from grpo.minibatch import micro_batches
from grpo.records import Rollout
from grpo.runtime.device import choose, configure
from grpo.runtime.interrupt import StopRequest
from grpo.samples import draw_samples, sampling_of
from grpo.stages.context import Run, corpus_of, greedy_texts, load_model, load_prompt, within_limit
from grpo.stages.reward_setup import load_reward
from grpo.stages.token_limits import with_limits
from grpo.training import Task, reward_examples

GREEDY = ("cosine", "cosine_held_out", "chrf")


@dataclass(frozen=True)
class Outcome:
    """Of P prompts: the means of their samples' rewards and terms (P,), the terms of their greedy outputs (P,), the
    KL to the start and the mean entropy, nats per token.
    """

    sampled: dict[str, Tensor]
    greedy: dict[str, Tensor]
    kl: float
    entropy: float


def gain(after: Tensor, before: Tensor) -> tuple[float, float]:
    """The mean difference over prompts (P,) and its standard error."""
    difference = (after - before).double()
    return float(difference.mean()), float(difference.std() / len(difference) ** 0.5)


def of_sampled_tokens(
    model: PreTrainedModel, rollout: Rollout, prompts: int, budget: int
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy, at temperature 1, of every token that was sampled: (M,) each."""
    logps, entropies = list[Tensor](), list[Tensor]()
    with torch.no_grad():
        for rows_of_pass, packed in micro_batches(rollout, torch.arange(prompts), budget):
            mask = rollout.completion_mask[rows_of_pass]
            scores = completion_logps(model, packed)
            logps.append(scores.logps[mask])
            entropies.append(scores.entropy[mask])
    return torch.cat(logps), torch.cat(entropies)


def measure(run: Run, task: Task, policy: PreTrainedModel, examples: Sequence[Example]) -> Outcome:
    """What a policy answers to `examples`."""
    with torch.no_grad():
        samples = draw_samples(task, policy, examples, (run.config.seed, 0))
        texts = greedy_texts(run, policy, task.prompt, examples)
    _, terms = reward_examples(task.reward, examples, texts, 1)
    budget = run.config.train.max_tokens_per_pass
    own, entropy = of_sampled_tokens(policy, samples.rollout, len(examples), budget)
    start, _ = of_sampled_tokens(task.reference, samples.rollout, len(examples), budget)
    values = {"reward": samples.rewards, **samples.terms}
    return Outcome(
        {name: value.mean(1) for name, value in values.items()},
        {name: terms[name][:, 0] for name in GREEDY},
        float(kl_k3(own.double() - start.double()).mean()),
        float(entropy.mean()),
    )


def rows(names: Sequence[str], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The table; the first outcome is the start's."""
    sampled = ("reward", "cosine_held_out")
    titles = [f"{name}, {how}" for how, group in (("sampled", sampled), ("greedy", GREEDY)) for name in group]
    yield "| policy | KL | entropy | " + " | ".join(titles) + " | reward per nat |"
    yield "|---" * (len(titles) + 4) + "|"
    start = outcomes[0]
    for name, outcome in zip(names, outcomes, strict=True):
        cells = [name, f"{outcome.kl:.3f}", f"{outcome.entropy:.2f}"]
        pairs = [(outcome.sampled[n], start.sampled[n]) for n in sampled]
        pairs += [(outcome.greedy[n], start.greedy[n]) for n in GREEDY]
        for after, before in pairs:
            mean, error = gain(after, before)
            cells.append(f"{float(before.mean()):.3f}" if outcome is start else f"{mean:+.3f} ({error:.3f})")
        reward = gain(outcome.sampled["reward"], start.sampled["reward"])[0]
        cells.append("" if outcome is start else f"{reward / outcome.kl:.2f}")
        yield "| " + " | ".join(cells) + " |"


def compare(run: Run, policies: Sequence[Path], num_prompts: int) -> list[str]:
    """The table of a run's warm start and of policies."""
    config = run.config
    prompt = load_prompt(run, run.warm_start)
    start = load_model(run, run.warm_start)
    corpus = corpus_of(run)
    limit = config.model.max_prompt_tokens
    examples = within_limit(corpus.dev, prompt, limit)[:num_prompts]
    reward = load_reward(run, start, prompt, [*within_limit(corpus.train, prompt, limit), *examples])
    sampling = replace(sampling_of(config, prompt), parts=max(1, len(examples) // config.rollout.num_prompts))
    task = Task(PromptStream(examples, len(examples), config.seed), prompt, reward.function, start, sampling)
    names = ["warm start", *map(str, policies)]
    outcomes = []
    for folder in (None, *policies):
        policy = load_model(run, folder) if folder else start
        outcomes.append(measure(run, task, policy, examples))
        run.say(list(rows(names[: len(outcomes)], outcomes))[-1])
    return list(rows(names, outcomes))


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the configuration of a run that has a warm start")
    parser.add_argument("--prompts", type=int, default=200, help="prompts of the dev part")
    parser.add_argument(
        "--policy", action="append", default=[], type=Path, help="a folder; may be given again"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    config = load_config(options.config, options.overrides)
    compute = choose(config.device)
    configure(compute, threads=config.threads)
    run = with_limits(Run(config, Path(config.run_dir), cache_dir(), compute, StopRequest(), print))
    print(*compare(run, options.policy, options.prompts), sep="\n")


if __name__ == "__main__":
    main()
