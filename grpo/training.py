"""What the training loops are given: the model and its optimiser, the log, the machine; and GRPO's task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.examples import Example
from data.prompt import Prompt
from data.stream import Stream
from grpo.anchor import Anchor, AnchorFunction, TextsBeside, no_anchor
from grpo.engine.sampler import Sampling
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.replay import Replay, no_replay
from grpo.runtime.device import Compute
from grpo.runtime.parallel import SINGLE_PROCESS, Sums, World
from grpo.runtime.run_log import RunLog
from grpo.token_loss import Asft, TokenLoss, nll

# (sources, completions, references of each, group_size), N rows -> rewards (P, G) and each term (P, G)
RewardFunction = Callable[
    [Sequence[str], Sequence[str], Sequence[Sequence[str]], int], tuple[Tensor, dict[str, Tensor]]
]
Rewards = Mapping[str, RewardFunction]  # by target language
AfterStep = Callable[[LoopState], LoopState]


def same_state(state: LoopState) -> LoopState:
    return state


class PromptSource(Stream[Example], Protocol):
    def replacement(self, step: int, attempt: int, place: int) -> Example:
        """The example that stands in for another one: a function of (seed, step, attempt, place) alone."""
        ...


@dataclass(frozen=True)
class Training:
    """The model that is trained, and what every update of it needs. `anchor` adds its own gradient to each
    update (grpo/anchor.py). SFT learns by `token_loss` (grpo/token_loss.py) from its pairs and those of `replay`
    (grpo/replay.py).

    Each loop calls `after_update` after every update: it saves, evaluates, and ends the loop by True. `after_step` gets
    the state to go on from and may give back another one (grpo/stages/tax_guard.py).
    """

    policy: PreTrainedModel
    optimizer: Optimizer
    log: RunLog
    compute: Compute
    anchor: AnchorFunction = no_anchor
    world: World = SINGLE_PROCESS
    token_loss: TokenLoss = nll
    replay: Replay = no_replay
    after_update: Callable[[LoopState], bool] = lambda _: False
    after_step: AfterStep = same_state

    def backward(self, loss: Tensor, is_last: bool, beside: TextsBeside | None = None) -> None:
        """Add the gradient of a micro-batch, the last one or not of its update. The anchor's come after it, unless its
        texts are in the micro-batch.
        """
        if beside is not None:
            loss = loss + beside.loss
        self.optimizer.backward(loss, is_last and (self.anchor is no_anchor or beside is not None))

    def complete_gradient(self, beside: TextsBeside | None = None) -> Sums:
        """Add to the gradient of an update that of the anchor, unless its texts were in a micro-batch, and those of the
        other processes; what the log has of the anchor.
        """
        optimizer = self.optimizer
        sums = beside.sums if beside else self.anchor(self.policy, optimizer.update, optimizer.backward)
        self.world.sum_gradients(self.policy.parameters())
        return sums

    def texts_beside(self, num_tokens: int) -> TextsBeside | None:
        """The anchor's texts for the last pass of the next update, which has `num_tokens` of its own; None where they
        have passes of their own. In GRPO they always do: there a row must be packed as it was scored.
        """
        if not isinstance(self.anchor, Anchor) or isinstance(self.token_loss, Asft):
            return None
        return self.anchor.beside(self.optimizer.update, num_tokens)


@dataclass(frozen=True)
class Task:
    """What GRPO teaches: examples, the prompt that asks for a completion, how completions are sampled,
    their reward, and the reference policy of the KL term.
    """

    prompts: PromptSource
    prompt: Prompt
    reward: RewardFunction | Rewards
    reference: PreTrainedModel
    sampling: Sampling


def by_language(rewards: Rewards) -> RewardFunction | Rewards:
    """The rewards of several target languages; of a single one its function, for every example."""
    return rewards if len(rewards) > 1 else next(iter(rewards.values()))


def reward_examples(
    reward: RewardFunction | Rewards, examples: Sequence[Example], texts: Sequence[str], group_size: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The rewards of N texts, each by the reward of its example's target language where there are several: (P, G),
    and each term (P, G). All examples of a group have one language. An infinite reward is a missing one, NaN.
    """
    if not isinstance(reward, Mapping):
        references = [example.references for example in examples]
        rewards, own_terms = reward([example.source for example in examples], texts, references, group_size)
        return rewards.where(rewards.isfinite(), torch.nan), own_terms
    languages = [example.target_language for example in examples[::group_size]]
    total, terms = torch.full((len(languages), group_size), torch.nan), dict[str, Tensor]()
    for language in dict.fromkeys(languages):
        prompts = [number for number, own in enumerate(languages) if own == language]
        rows = [prompt * group_size + place for prompt in prompts for place in range(group_size)]
        own_examples, own_texts = [examples[row] for row in rows], [texts[row] for row in rows]
        total[prompts], values = reward_examples(reward[language], own_examples, own_texts, group_size)
        for name, value in values.items():
            terms.setdefault(name, torch.full_like(total, torch.nan))[prompts] = value.to(total)
    return total, terms
