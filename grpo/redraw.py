"""Draws other prompts in the place of those whose group teaches nothing: the dynamic sampling of DAPO (arXiv 2503.14476,
section 3.2, eq. 11), for any reward.

Where the rewards of a group are equal its advantages are 0, and the update has fewer prompts than it was given. A try
draws the group of another prompt for each such place. What it draws is a function of (seed, step, try, place), so a
resumed run draws the same, and several processes what one draws. A place that no try helps keeps its first group.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from data.examples import Example
from grpo.advantage import group_spread
from grpo.config import Config
from grpo.engine.sampler import generate
from grpo.guide import guidance
from grpo.records import ROLLOUT_TENSORS, Rollout
from grpo.samples import Samples, reward_groups
from grpo.training import PromptSource, Task, Training

REDRAW = 1  # in a seed, between the step and the try


def batch_at(prompts: PromptSource, step: int, tries: Tensor | None) -> list[Example]:
    """The examples of a step. `tries` (P,) says from which try each is, 0 = the first draw; None = all of them."""
    batch = list(prompts.at(step))
    for place, attempt in enumerate([] if tries is None else tries.tolist()):
        if attempt:
            batch[place] = prompts.replacement(step, attempt, place)
    return batch


def idle_groups(config: Config, samples: Samples, step: int) -> list[int]:
    """The groups, by number, that count in the loss and whose rewards spread no more than the floor; a reference text
    that joins its group counts among them.
    """
    rewards = samples.rewards
    texts = samples.text_rewards
    guide = guidance(config.guide, config.advantage, rewards, texts, step, config.train.num_steps)
    members = rewards if texts is None else torch.cat([rewards, texts.to(rewards)], dim=1)
    idle = (group_spread(members) <= config.advantage.std_floor) & (guide.samples > 0)
    return [number for number, flag in enumerate(idle.tolist()) if flag]


def choose_groups(samples: Samples, others: Samples, numbers: Sequence[int]) -> Samples:
    """The groups `numbers`, of the P of `samples` and then those of `others`, in this order."""
    groups = torch.tensor(numbers)
    first = samples.rollout
    second = others.rollout
    rows = first.rows_of(groups)

    def choose(own: Tensor, other: Tensor, places: Tensor) -> Tensor:
        return torch.cat([own, other])[places.to(own.device)]

    prompt_ids = first.prompt_ids + second.prompt_ids
    texts = samples.texts + others.texts
    rollout = Rollout(
        tuple(prompt_ids[number] for number in numbers),
        **{name: choose(getattr(first, name), getattr(second, name), rows) for name in ROLLOUT_TENSORS},
        group_size=first.group_size,
    )
    text_rewards = samples.text_rewards
    if text_rewards is not None and others.text_rewards is not None:
        text_rewards = choose(text_rewards, others.text_rewards, groups)
    return Samples(
        rollout,
        [texts[row] for row in rows.tolist()],
        choose(samples.rewards, others.rewards, groups),
        {name: choose(values, others.terms[name], groups) for name, values in samples.terms.items()},
        text_rewards,
    )


def redraw(
    config: Config, training: Training, task: Task, samples: Samples, own: Sequence[int], step: int
) -> tuple[Samples, Tensor]:
    """The samples of the places `own` of a step, with others where a group was idle, and the (P,) tries they are from;
    all processes call it together. The log gets what it took.
    """
    world = training.world
    tries = [0] * len(own)
    num_redraws = 0
    tokens = int(samples.rollout.lengths.sum())
    for attempt in range(1, config.rollout.redraws + 1):
        idle = idle_groups(config, samples, step)
        if not world.any(bool(idle)):
            break
        # a process without an idle group keeps step with a draw that counts for nothing
        others = draw_others(config, training, task, [own[number] for number in idle or [0]], step, attempt)
        useless = {*idle_groups(config, others, step)}
        numbers = [*range(len(own))]
        for new, old in enumerate(idle):
            if new not in useless:
                numbers[old] = len(own) + new
                tries[old] = attempt
        samples = choose_groups(samples, others, numbers)
        num_redraws += len(idle)
        tokens += int(others.rollout.lengths.sum()) if idle else 0
    counts = {
        "redrawn_groups": num_redraws,
        "replaced_groups": sum(map(bool, tries)),
        "sampled_tokens": tokens,
    }
    totals = world.total({name: (float(count), 1.0) for name, count in counts.items()})
    training.log.put({name: total for name, (total, _) in totals.items()})
    return samples, torch.tensor(tries)


def draw_others(
    config: Config, training: Training, task: Task, places: Sequence[int], step: int, attempt: int
) -> Samples:
    """The groups of the prompts that a try has for these places."""
    batch = [task.prompts.replacement(step, attempt, place) for place in places]
    prompt_ids = [task.prompt.encode_prompt(example) for example in batch]
    seed = (config.seed, step, REDRAW, attempt)
    with training.log.phase("rollout"):
        rollout = generate(training.policy, prompt_ids, task.sampling, seed, places)
    with training.log.phase("reward"):
        return reward_groups(config, task, rollout, batch, training.world)
