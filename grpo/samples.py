"""A step's samples: a group of completions for each prompt, and their rewards.

GRPO and best-of-group SFT (grpo/stages/imitation.py) sample and reward by the same functions, so what the two learn
from differs by what they do with it and by nothing else.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.examples import Example
from data.prompt import Prompt
from grpo.config import Config
from grpo.engine.sampler import Sampling, generate
from grpo.records import Rollout
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.training import Task, reward_examples


@dataclass(frozen=True)
class Samples:
    """The rollout of P prompts and what is said of it: N = P * G texts, rewards (P, G), terms name -> (P,
    G), and rewards (P, 1) of the reference texts where they join the groups.
    """

    rollout: Rollout
    texts: list[str]
    rewards: Tensor
    terms: dict[str, Tensor]
    text_rewards: Tensor | None = None


def sampling_of(config: Config, prompt: Prompt) -> Sampling:
    """How a run samples."""
    rollout = config.rollout
    return Sampling(
        rollout.group_size,
        rollout.max_new_tokens,
        rollout.temperature,
        prompt.stops,
        config.engine.fast_decode,
        rollout.parts,
    )


def draw_samples(
    task: Task, policy: PreTrainedModel, batch: Sequence[Example], seed: tuple[int, ...]
) -> Samples:
    """Sample a group for each example of `batch` and reward it, in one process; no gradient. Which tokens are drawn is
    a function of `seed` and a row's place in the batch.

    Raises RewardFailure for a reward that cannot be computed.
    """
    prompt_ids = [task.prompt.encode_prompt(example) for example in batch]
    rollout = generate(policy, prompt_ids, task.sampling, seed)
    return reward_rollout(task, rollout, batch, SINGLE_PROCESS)


def reward_rollout(task: Task, rollout: Rollout, batch: Sequence[Example], world: World) -> Samples:
    """The texts and rewards of the rollout of `batch`, the share of this process, which encodes these texts and no
    others. All of it but the encoders runs on the host.
    """
    group_size = task.sampling.group_size
    texts = [task.prompt.decode_completion(ids) for ids in rollout.completions()]
    examples = [example for example in batch for _ in range(group_size)]
    rewards, terms = world.together(lambda: reward_examples(task.reward, examples, texts, group_size))
    return Samples(rollout, texts, rewards, terms)


def reward_groups(
    config: Config, task: Task, rollout: Rollout, batch: Sequence[Example], world: World
) -> Samples:
    """`reward_rollout` with the rewards of the reference texts, where they join the groups."""
    samples = reward_rollout(task, rollout, batch, world)
    return replace(samples, text_rewards=reward_texts(config, task, batch, world))


def reference_ids(config: Config, task: Task, batch: Sequence[Example]) -> list[list[int]]:
    """Token ids of each example's reference text, with the end token; none of a text that is too long, where there
    is a limit.
    """
    most = config.sft.max_completion_tokens or sys.maxsize
    texts = [task.prompt.encode_completion(example.reference) for example in batch]
    return [ids if len(ids) <= most else [] for ids in texts]


def reward_texts(config: Config, task: Task, batch: Sequence[Example], world: World) -> Tensor | None:
    """(P, 1) reward of each example's reference text, NaN for one that is too long; None where it joins no group."""
    if config.guide.mode != "member":
        return None
    texts = [example.reference for example in batch]
    rewards = world.together(lambda: reward_examples(task.reward, batch, texts, 1))[0]
    has_text = rewards.new_tensor(
        [[bool(ids)] for ids in reference_ids(config, task, batch)], dtype=torch.bool
    )
    return rewards.where(has_text, torch.nan)
