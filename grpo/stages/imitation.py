"""What GRPO is compared with: imitation from the same warm start, at the same prompts in the same order, with
as many updates.

sft            of the reference texts (`strong SFT`)
best_of_group  of the best of G samples of the warm start by the run's own reward (`self-SFT`: RAFT, arXiv 2304.06767)

Both are `grpo.sft.train_sft`, and are saved, resumed and looked at on the way like every other stage.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.errors import InputError, Interrupted
from data.examples import Example
from data.stream import PromptStream
from data.template import encode_completion, encode_prompt
from grpo.config import SFTConfig
from grpo.engine.model import frozen_copy, load_tokenizer, parameter_hash
from grpo.optim import Optimizer
from grpo.runtime.run_log import PLAIN_EVERY, RunLog
from grpo.samples import draw_samples, sampling_of
from grpo.sft import SHOWN_SFT, Pair, PairStream, train_sft
from grpo.stages.anchor_setup import anchored
from grpo.stages.best_samples import FILE, Chosen, SampledStep, append, best_of_groups, header_of, steps_in
from grpo.stages.context import Run, corpus_of, trainable, within_limit
from grpo.stages.hooks import UpdateHook, dev_score, export_best, finish, resume
from grpo.stages.pass_size import tokens_per_pass
from grpo.stages.reward_setup import rewarded, steered
from grpo.stages.snapshots import Snapshots
from grpo.stages.tax_guard import guarded
from grpo.training import Task, Training
from reward.faults import RewardFailure


@dataclass(frozen=True)
class ChosenPairs:
    """The prompts of each step that have a chosen sample, with it."""

    steps: Sequence[SampledStep]
    prompts: PromptStream[Example]
    tokenizer: PreTrainedTokenizerBase

    def at(self, step: int) -> list[Pair]:
        prompts = {example.id: encode_prompt(self.tokenizer, example) for example in self.prompts.at(step)}
        chosen = self.steps[step].chosen
        if strange := [one.id for one in chosen if one.id not in prompts]:
            raise InputError(
                f"{FILE}:{step + 2}: {strange[0]!r} is no prompt of this step; remove the file to sample anew"
            )
        return [(prompts[one.id], one.completion_ids) for one in chosen]


def strong_sft(run: Run) -> None:
    """SFT on the reference texts: run/warm_start -> run/policy."""
    tokenizer = load_tokenizer(run.warm_start)
    policy = trainable(run, run.warm_start)
    examples = prompts_of(run, tokenizer)
    limit = run.config.rollout.max_new_tokens
    pairs: list[Pair] = [
        (encode_prompt(tokenizer, example), encode_completion(tokenizer, example.reference))
        for example in examples
    ]
    longer = sum(len(completion) > limit for _, completion in pairs)
    run.say(
        f"strong SFT on {len(pairs):,} references, whole: {longer:,} of them have more than rollout.max_new_tokens = {limit} tokens"
    )
    imitate(
        run,
        "strong_sft",
        policy,
        tokenizer,
        examples,
        PromptStream(pairs, run.config.rollout.num_prompts, run.config.seed),
    )


def best_of_group(run: Run) -> None:
    """SFT on the best of the warm start's own samples: run/warm_start -> run/policy."""
    tokenizer = load_tokenizer(run.warm_start)
    policy = trainable(run, run.warm_start)
    examples = prompts_of(run, tokenizer)
    steps = sampled(run, policy, tokenizer, examples)
    run.say(told(run, [one for step in steps for one in step.chosen]))
    pairs = ChosenPairs(
        steps, PromptStream(examples, run.config.rollout.num_prompts, run.config.seed), tokenizer
    )
    imitate(run, "best_of_group", policy, tokenizer, examples, pairs, [step.seconds for step in steps])


def told(run: Run, chosen: Sequence[Chosen]) -> str:
    """How many prompts have a best sample, and by how much it is better. Raises InputError where none has."""
    count = run.config.train.num_steps * run.config.rollout.num_prompts
    if count and not chosen:
        raise InputError(
            f"{run.folder / FILE}: of {count} prompts none has a sample to imitate: either all are cut at rollout.max_new_tokens = "
            f"{run.config.rollout.max_new_tokens}, or the reward gives all of a group the same; raise rollout.max_new_tokens, or train the "
            "warm start for longer, under a new run_dir"
        )
    best, mean = (
        sum(values) / max(1, len(chosen))
        for values in ([c.reward for c in chosen], [c.group_mean for c in chosen])
    )
    return f"self-SFT on the best samples of {len(chosen):,} of {count:,} prompts: reward {best:.3f}, their groups {mean:.3f}"


def prompts_of(run: Run, tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    """The prompts of the stage grpo, whatever its method."""
    return within_limit(corpus_of(run).train, tokenizer, run.config.model.max_prompt_tokens)


def imitate(
    run: Run,
    name: str,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: list[Example],
    pairs: PairStream,
    sampling_seconds: Sequence[float] = (),
) -> None:
    """Train the warm start on `pairs`, logged as stage `name`; `policy` still is the warm start, which a
    reward may be measured by.
    """
    train = replace(run.config.train, max_tokens_per_pass=tokens_per_pass(run, "train", policy))
    config = SFTConfig(num_steps=train.num_steps, max_tokens_per_pass=train.max_tokens_per_pass)
    optimizer = Optimizer(policy, train.optim, train.num_steps)
    score = None
    if run.config.eval.every:
        _, reward, _ = run.world.first_then_all(lambda: rewarded(run, policy, tokenizer, examples))
        score = dev_score(run, policy, tokenizer, reward)
    state = resume(run, "grpo", policy, optimizer)
    with RunLog(run.log_folder, name, state.step, train.num_steps, SHOWN_SFT, quiet=run.is_silent) as log:
        guard, state = guarded(run, "grpo", policy, tokenizer, optimizer, train.num_steps, log, state)
        snapshots = Snapshots(run, policy, tokenizer, log, sampling_seconds)
        hook = UpdateHook(run, "grpo", policy, optimizer, train.num_steps, log, state, score, snapshots)
        anchor = anchored(run, tokenizer, run.config.anchor.train, train.max_tokens_per_pass)
        training = Training(policy, optimizer, log, run.compute, anchor, run.world)
        state = train_sft(config, training, pairs, state, after_update=hook, after_step=guard)
    if score is not None:
        export_best(hook, frozen_copy(policy), tokenizer, run.best_policy)
    finish(run, "grpo", state, train.num_steps, policy, tokenizer, run.policy)


def sampled(
    run: Run, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: list[Example]
) -> list[SampledStep]:
    """The best samples of every step, from the file as far as it goes; the others are drawn from `policy`,
    the warm start.
    """
    path = run.folder / FILE
    num_steps = run.config.train.num_steps
    steps = steps_in(path, header_of(run.config, parameter_hash(policy), examples))
    run.say(f"samples of {min(len(steps), num_steps)} of {num_steps} steps are in {path}")
    if len(steps) < num_steps:
        _, own, floor = rewarded(run, policy, tokenizer, examples)
        prompts = PromptStream(examples, run.config.rollout.num_prompts, run.config.seed)
        task = Task(
            prompts, tokenizer, steered(run, own, examples), policy, sampling_of(run.config, tokenizer)
        )
        for step in range(len(steps), num_steps):
            steps.append(sample_step(run, policy, task, floor, step))
            append(path, steps[-1])
            if step % PLAIN_EVERY == 0 or step + 1 == num_steps:
                run.say(f"  sampling {step + 1}/{num_steps}")
            if run.stop():
                raise Interrupted(run.stop.signal)
    return steps[:num_steps]


def sample_step(run: Run, policy: PreTrainedModel, task: Task, floor: float, step: int) -> SampledStep:
    """Draw and judge a group for each prompt of a step, as GRPO does in it."""
    batch = task.prompts.at(step)
    started = time.perf_counter()
    try:
        drawn = draw_samples(task, policy, batch, (run.config.seed, step))
    except RewardFailure as failure:
        raise InputError(f"{failure}; the samples of all {step} steps before are saved") from failure
    chosen = best_of_groups(
        [example.id for example in batch], drawn.rollout, drawn.texts, drawn.rewards, floor
    )
    return SampledStep(step, time.perf_counter() - started, chosen)
