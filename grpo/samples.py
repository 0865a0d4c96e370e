"""A step's samples: a group of completions for each prompt, and their rewards.

GRPO and best-of-group SFT (grpo/stages/imitation.py) draw them by the same two functions, so what the two learn from
differs by what they do with it and by nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.examples import Example
from data.template import decode_completion, encode_prompt, stop_ids
from grpo.config import Config
from grpo.engine.sampler import Sampling, generate
from grpo.records import Rollout
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.training import Task


@dataclass(frozen=True)
class Samples:
    """The rollout of P prompts and what is said of it: N = P * G texts, rewards (P, G), terms name -> (P,
    G).
    """

    rollout: Rollout
    texts: list[str]
    rewards: Tensor
    terms: dict[str, Tensor]


def sampling_of(config: Config, tokenizer: PreTrainedTokenizerBase) -> Sampling:
    """How a run samples."""
    rollout = config.rollout
    return Sampling(
        rollout.group_size,
        rollout.max_new_tokens,
        rollout.temperature,
        stop_ids(tokenizer),
        config.engine.fast_decode,
    )


def draw_samples(
    task: Task, policy: PreTrainedModel, batch: Sequence[Example], seed: tuple[int, ...]
) -> Samples:
    """Sample a group for each example of `batch` and reward it, in one process; no gradient. Which tokens are drawn is
    a function of `seed` and a row's place in the batch.

    Raises RewardFailure for a reward that cannot be computed.
    """
    prompt_ids = [encode_prompt(task.tokenizer, example) for example in batch]
    rollout = roll_out(task, policy, prompt_ids, range(len(batch)), seed)
    return reward_rollout(task, rollout, batch, SINGLE_PROCESS)


def roll_out(
    task: Task,
    policy: PreTrainedModel,
    prompt_ids: Sequence[Sequence[int]],
    own: Sequence[int],
    seed: tuple[int, ...],
) -> Rollout:
    """A group for each of the prompts `own` of a batch: prefill each prompt once, decode its G completions."""
    return generate(policy, [prompt_ids[i] for i in own], task.sampling, seed, own)


def reward_rollout(task: Task, rollout: Rollout, batch: Sequence[Example], world: World) -> Samples:
    """The texts and rewards of the rollout of `batch`, the share of this process, which encodes these texts and no
    others. All of it but the encoders runs on the host.
    """
    group_size = task.sampling.group_size
    texts = [decode_completion(task.tokenizer, ids) for ids in rollout.completions()]
    examples = [example for example in batch for _ in range(group_size)]
    sources = [example.source for example in examples]
    references = [example.references for example in examples]
    rewards, terms = world.together(lambda: task.reward(sources, texts, references, group_size))
    return Samples(rollout, texts, rewards, terms)
