"""SFT as a method of the stage `train`, to compare GRPO with: the same warm start, the same prompts in the same
order, as many updates.

sft            on the reference texts
best_of_group  on the best of G samples of the warm start by the run's own reward (RAFT, arXiv 2304.06767); with
               train.refresh_every = k the samples of every k steps are those of the policy at their begin, iterated
               as in ReST (arXiv 2308.08998)

The samples of a window of steps are on disk before the first of them is trained on, so a resumed run learns from the
same ones.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from data.errors import InputError, Interrupted
from data.examples import Example
from data.prompt import Prompt
from data.records import Mapped
from data.stream import Stream
from grpo.engine.model import parameter_hash
from grpo.runtime.run_log import PLAIN_EVERY
from grpo.samples import draw_samples, sampling_of
from grpo.sft import SHOWN_SFT, Pair, train_sft
from grpo.stages.best_samples import FILE, Sample, SampledStep, append, best_of_groups, header_of, steps_in
from grpo.stages.context import Run
from grpo.stages.hooks import Scores, dev_score
from grpo.stages.method import Method
from grpo.stages.mixing import stream_of
from grpo.stages.reward_setup import functions_of, load_rewards, training_rewards
from grpo.training import PromptSource, Task, by_language
from reward.faults import RewardFailure

Draw = Callable[[int], None]  # the samples of all steps before this one


@dataclass(frozen=True)
class SamplePairs:
    """The prompts of each step that have a best sample, with it. One policy draws the samples of a `window` of steps,
    at their begin: `draw` adds those of all steps before its argument to `steps`.
    """

    steps: Sequence[SampledStep]
    prompts: PromptSource
    prompt: Prompt
    window: int
    draw: Draw

    def at(self, step: int) -> list[Pair]:
        if step % self.window == 0:
            self.draw(step + self.window)
        if step >= len(self.steps):
            raise InputError(
                f"{FILE}: the samples of step {step} are gone, and the policy that drew them has been trained since; "
                "restore the file, or write run_dir=runs/another"
            )
        prompts = {example.id: self.prompt.encode_prompt(example) for example in self.prompts.at(step)}
        samples = self.steps[step].chosen
        if wrong_ids := [sample.id for sample in samples if sample.id not in prompts]:
            raise InputError(
                f"{FILE}:{step + 2}: {wrong_ids[0]!r} is no prompt of this step; remove the file to sample anew"
            )
        return [(prompts[sample.id], sample.completion_ids) for sample in samples]


def sft_method(run: Run, policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example]) -> Method:
    """SFT on the reference texts, whole."""
    limit = run.config.rollout.max_new_tokens
    pairs: Sequence[Pair] = Mapped(examples, prompt.encode_pair)
    longer = sum(len(prompt.encode_completion(example.reference)) > limit for example in examples)
    run.say(
        f"SFT on {len(pairs):,} references, whole: {longer:,} of them have more than rollout.max_new_tokens = {limit} tokens"
    )
    stream = stream_of(run, examples, pairs, run.config.rollout.num_prompts)
    return imitation(run, stream, score_of(run, policy, prompt, examples))


def best_of_group_method(
    run: Run, policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example]
) -> Method:
    """SFT on the best of the samples of `policy`: as it is now, the warm start, or as it is every `refresh_every` steps."""
    config = run.config
    num_steps = config.train.num_steps
    prompts = stream_of(run, examples, examples, config.rollout.num_prompts)
    steps, draw = sampled_steps(run, policy, prompt, examples, prompts)
    window = config.train.refresh_every or num_steps
    if not config.train.refresh_every:
        draw_all(draw, steps, num_steps)
        check_samples(run, steps)
        run.say(summary(run, [sample for step in steps for sample in step.chosen], num_steps))
    score = score_of(run, policy, prompt, examples)
    method = imitation(run, SamplePairs(steps, prompts, prompt, window, draw), score, steps)
    return replace(method, check=lambda: check_samples(run, steps))


def imitation(
    run: Run, pairs: Stream[Pair], score: Callable[[], Scores] | None, samples: Sequence[SampledStep] = ()
) -> Method:
    """SFT on `pairs`, one update a step."""
    config = run.config.train
    return Method(
        lambda training, state: train_sft(config, training, pairs, state), config.num_steps, SHOWN_SFT, score, samples
    )  # fmt: skip


def score_of(
    run: Run, policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example]
) -> Callable[[], Scores] | None:
    """The figures of the dev set; None, and no reward is loaded, where eval.every is 0."""
    if not run.config.eval.every:
        return None
    return dev_score(run, policy, prompt, functions_of(load_rewards(run, policy, prompt, examples)))


def check_samples(run: Run, steps: Sequence[SampledStep]) -> None:
    """Raises InputError where no prompt of the run has a best sample, so that nothing can be or was learned."""
    count = run.config.train.num_steps * run.config.rollout.num_prompts
    if count and not any(step.chosen for step in steps):
        raise InputError(
            f"{run.folder / FILE}: of {count} prompts none has a sample to imitate: either all are cut at rollout.max_new_tokens = "
            f"{run.config.rollout.max_new_tokens}, or the reward gives all of a group the same; raise rollout.max_new_tokens, or train the "
            "warm start for longer, under a new run_dir"
        )


def summary(run: Run, samples: Sequence[Sample], num_steps: int) -> str:
    """How many prompts of so many steps have a best sample, and by how much it is better."""
    count = num_steps * run.config.rollout.num_prompts
    best = sum(sample.reward for sample in samples) / max(1, len(samples))
    mean = sum(sample.group_mean for sample in samples) / max(1, len(samples))
    return f"best of group: SFT on the best samples of {len(samples):,} of {count:,} prompts: reward {best:.3f}, their groups {mean:.3f}"


def sampled_steps(
    run: Run, policy: PreTrainedModel, prompt: Prompt, examples: Sequence[Example], prompts: PromptSource
) -> tuple[list[SampledStep], Draw]:
    """The best samples of the steps that the file has, and a function that draws those of all steps before its argument
    by `policy` as it then is, into the file and the list.
    """
    path = run.folder / FILE
    num_steps = run.config.train.num_steps
    steps = steps_in(path, header_of(run.config, parameter_hash(policy), examples))[:num_steps]
    run.say(f"samples of {len(steps)} of {num_steps} steps are in {path}")
    if len(steps) == num_steps:
        return steps, lambda _: None
    rewards = load_rewards(run, policy, prompt, examples)
    floor = max(reward.std_floor for reward in rewards.values())
    task = Task(
        prompts,
        prompt,
        by_language(training_rewards(run, rewards, examples)),
        policy,
        sampling_of(run.config, prompt),
    )

    def draw(end: int) -> None:
        first = len(steps)
        last = min(end, num_steps)
        for step in range(first, last):
            steps.append(sample_step(run, policy, task, floor, step))
            append(path, steps[-1])
            if step % PLAIN_EVERY == 0 or step + 1 == last:
                run.say(f"  sampling {step + 1}/{num_steps}")
            if run.stop():
                raise Interrupted(run.stop.signal)
        if first < last and run.config.train.refresh_every:
            run.say(summary(run, [sample for step in steps[first:] for sample in step.chosen], last - first))

    return steps, draw


def draw_all(draw: Draw, steps: Sequence[SampledStep], num_steps: int) -> None:
    """Draw the samples of all steps before training. Raises InputError for a reward that fails."""
    try:
        draw(num_steps)
    except RewardFailure as failure:
        raise InputError(f"{failure}; the samples of all {len(steps)} steps before are saved") from failure


def sample_step(run: Run, policy: PreTrainedModel, task: Task, floor: float, step: int) -> SampledStep:
    """Draw and judge a group for each prompt of a step, as GRPO does in it."""
    batch = task.prompts.at(step)
    start = time.perf_counter()
    samples = draw_samples(task, policy, batch, (run.config.seed, step))
    best = best_of_groups(
        [example.id for example in batch], samples.rollout, samples.texts, samples.rewards, floor
    )
    tokens = int(samples.rollout.lengths.sum())
    return SampledStep(step, time.perf_counter() - start, best, tokens)
