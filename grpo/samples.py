"""A step's samples: a group of completions for each prompt, and their rewards.

GRPO and best-of-group SFT (grpo/stages/imitation.py) draw them by this one function, so what the two learn from
differs by what they do with it and by nothing else.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from data.examples import Example
from data.prompt import Prompt
from grpo.config import Config
from grpo.engine.sampler import Sampling, generate
from grpo.records import Rollout
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.training import Task

Phase = Callable[[str], AbstractContextManager[None]]  # times a block by its name


def untimed(_name: str) -> AbstractContextManager[None]:
    """For samples whose phases nobody times."""
    return nullcontext()


@dataclass(frozen=True)
class Samples:
    """The rollout of P prompts and what is said of it: N = P * G texts, rewards (P, G), terms name -> (P,
    G).
    """

    rollout: Rollout
    texts: list[str]
    rewards: Tensor
    terms: dict[str, Tensor]


def sampling_of(config: Config, prompt: Prompt) -> Sampling:
    """How a run samples."""
    rollout = config.rollout
    return Sampling(
        rollout.group_size,
        rollout.max_new_tokens,
        rollout.temperature,
        prompt.stops,
        config.engine.fast_decode,
    )


def draw_samples(
    task: Task,
    policy: PreTrainedModel,
    batch: Sequence[Example],
    seed: tuple[int, ...],
    world: World = SINGLE_PROCESS,
    phase: Phase = untimed,
) -> Samples:
    """Sample a group for each example of this process's share of `batch` and reward it; no gradient. Which
    tokens are drawn is a function of `seed` and a row's place in the batch.

    Raises RewardFailure for a reward that cannot be computed.
    """
    return reward_rollout(task, roll_out(task, policy, batch, seed, world, phase), batch, world, phase)


def roll_out(
    task: Task,
    policy: PreTrainedModel,
    batch: Sequence[Example],
    seed: tuple[int, ...],
    world: World,
    phase: Phase,
) -> Rollout:
    """The first half of `draw_samples`: the completions."""
    share = world.share(len(batch))
    with phase("rollout"):  # prefill each prompt once, decode its G completions
        prompt_ids = [task.prompt.encode_prompt(example) for example in batch[share]]
        first_row = share.start * task.sampling.group_size
        return generate(policy, prompt_ids, task.sampling, seed, first_row=first_row)


def reward_rollout(
    task: Task, rollout: Rollout, batch: Sequence[Example], world: World, phase: Phase
) -> Samples:
    """The second half: their texts and rewards. All of it but the encoders runs on the host."""
    group_size = task.sampling.group_size
    own = batch[world.share(len(batch))]
    with phase("reward"):
        texts = [task.prompt.decode_completion(ids) for ids in rollout.completions()]
        examples = [example for example in own for _ in range(group_size)]
        sources = [example.source for example in examples]
        references = [example.references for example in examples]
        rewards, terms = world.together(lambda: task.reward(sources, texts, references, group_size))
    return Samples(rollout, texts, rewards, terms)
