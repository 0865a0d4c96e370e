"""SFT as a method of the stage `train`, what GRPO is compared with: the same warm start, the same prompts in
the same order, as many updates.

sft            on the reference texts
best_of_group  on the best of G samples of the warm start by the run's own reward (RAFT, arXiv 2304.06767)
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from data.errors import InputError, Interrupted
from data.examples import Example
from data.prompt import Prompt
from grpo.engine.model import parameter_hash
from grpo.records import LoopState
from grpo.runtime.run_log import PLAIN_EVERY
from grpo.samples import draw_samples, sampling_of
from grpo.sft import SHOWN_SFT, Pair, PairStream, train_sft
from grpo.stages.best_samples import FILE, Sample, SampledStep, append, best_of_groups, header_of, steps_in
from grpo.stages.context import Run
from grpo.stages.hooks import Scores, dev_score
from grpo.stages.method import Method
from grpo.stages.mixing import of_language, runs_by_language, stream_of
from grpo.stages.reward_setup import functions_of, load_rewards, training_reward
from grpo.training import AfterStep, AfterUpdate, PromptSource, Task, Training, by_language
from reward.faults import RewardFailure


@dataclass(frozen=True)
class SamplePairs:
    """The prompts of each step that have a best sample, with it."""

    steps: Sequence[SampledStep]
    prompts: PromptSource
    prompt: Prompt

    def at(self, step: int) -> list[Pair]:
        prompts = {example.id: self.prompt.encode_prompt(example) for example in self.prompts.at(step)}
        samples = self.steps[step].chosen
        if unknown := [sample.id for sample in samples if sample.id not in prompts]:
            raise InputError(
                f"{FILE}:{step + 2}: {unknown[0]!r} is no prompt of this step; remove the file to sample anew"
            )
        return [(prompts[sample.id], sample.completion_ids) for sample in samples]


def sft_method(run: Run, policy: PreTrainedModel, prompt: Prompt, examples: list[Example]) -> Method:
    """SFT on the reference texts, whole."""
    limit = run.config.rollout.max_new_tokens
    pairs: list[Pair] = [
        (prompt.encode_prompt(example), prompt.encode_completion(example.reference)) for example in examples
    ]
    longer = sum(len(completion) > limit for _, completion in pairs)
    run.say(
        f"SFT on {len(pairs):,} references, whole: {longer:,} of them have more than rollout.max_new_tokens = {limit} tokens"
    )
    stream = stream_of(run, examples, pairs, run.config.rollout.num_prompts)
    return imitation(run, stream, score_of(run, policy, prompt, examples))


def best_of_group_method(
    run: Run, policy: PreTrainedModel, prompt: Prompt, examples: list[Example]
) -> Method:
    """SFT on the best of the samples of `policy`, which is the warm start."""
    prompts = stream_of(run, examples, examples, run.config.rollout.num_prompts)
    steps = sample_steps(run, policy, prompt, examples, prompts)
    run.say(summary(run, [sample for step in steps for sample in step.chosen]))
    score = score_of(run, policy, prompt, examples)
    return imitation(run, SamplePairs(steps, prompts, prompt), score, [step.seconds for step in steps])


def imitation(
    run: Run,
    pairs: PairStream,
    score: Callable[[], Scores] | None,
    sampling_seconds: Sequence[float] = (),
) -> Method:
    """SFT on `pairs`, one update a step."""
    config = run.config.train

    def loop(
        training: Training, state: LoopState, *, after_update: AfterUpdate, after_step: AfterStep
    ) -> LoopState:
        return train_sft(
            training,
            pairs,
            state,
            num_steps=config.num_steps,
            max_tokens_per_pass=config.max_tokens_per_pass,
            after_update=after_update,
            after_step=after_step,
        )

    return Method(loop, config.num_steps, SHOWN_SFT, score, sampling_seconds)


def score_of(
    run: Run, policy: PreTrainedModel, prompt: Prompt, examples: list[Example]
) -> Callable[[], Scores] | None:
    """The figures of the dev set; None, and no reward is loaded, where eval.every is 0."""
    if not run.config.eval.every:
        return None
    return dev_score(run, policy, prompt, functions_of(load_rewards(run, policy, prompt, examples)))


def summary(run: Run, samples: Sequence[Sample]) -> str:
    """How many prompts have a best sample, and by how much it is better. Raises InputError where none has."""
    count = run.config.train.num_steps * run.config.rollout.num_prompts
    if count and not samples:
        raise InputError(
            f"{run.folder / FILE}: of {count} prompts none has a sample to imitate: either all are cut at rollout.max_new_tokens = "
            f"{run.config.rollout.max_new_tokens}, or the reward gives all of a group the same; raise rollout.max_new_tokens, or train the "
            "warm start for longer, under a new run_dir"
        )
    best = sum(sample.reward for sample in samples) / max(1, len(samples))
    mean = sum(sample.group_mean for sample in samples) / max(1, len(samples))
    return f"best of group: SFT on the best samples of {len(samples):,} of {count:,} prompts: reward {best:.3f}, their groups {mean:.3f}"


def sample_steps(
    run: Run, policy: PreTrainedModel, prompt: Prompt, examples: list[Example], prompts: PromptSource
) -> list[SampledStep]:
    """The best samples of every step: those in the file, and behind them new ones of `policy`."""
    path = run.folder / FILE
    num_steps = run.config.train.num_steps
    steps = steps_in(path, header_of(run.config, parameter_hash(policy), examples))
    run.say(f"samples of {min(len(steps), num_steps)} of {num_steps} steps are in {path}")
    if len(steps) < num_steps:
        runs = runs_by_language(run)
        rewards = load_rewards(run, policy, prompt, examples)
        steering = {
            language: training_reward(run, reward.function, of_language(runs[language], examples))
            for language, reward in rewards.items()
        }
        floor = max(reward.std_floor for reward in rewards.values())
        task = Task(prompts, prompt, by_language(steering), policy, sampling_of(run.config, prompt))
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
    start = time.perf_counter()
    try:
        samples = draw_samples(task, policy, batch, (run.config.seed, step))
    except RewardFailure as failure:
        raise InputError(f"{failure}; the samples of all {step} steps before are saved") from failure
    best = best_of_groups(
        [example.id for example in batch], samples.rollout, samples.texts, samples.rewards, floor
    )
    return SampledStep(step, time.perf_counter() - start, best)
