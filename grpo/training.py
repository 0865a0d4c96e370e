"""What the training loops are given: the model and its optimiser, the log, the machine; and GRPO's task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel

from data.examples import Example
from data.prompt import Prompt
from grpo.anchor import AnchorFunction, no_anchor
from grpo.engine.sampler import Sampling
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.replay import Replay, no_replay
from grpo.runtime.device import Compute
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.runtime.run_log import RunLog
from grpo.token_loss import TokenLoss, nll

# (sources, completions, references of each, group_size), N rows -> rewards (P, G) and each term (P, G)
RewardFunction = Callable[
    [Sequence[str], Sequence[str], Sequence[Sequence[str]], int], tuple[Tensor, dict[str, Tensor]]
]
AfterUpdate = Callable[[LoopState], bool]  # saves, evaluates; True ends the loop
AfterStep = Callable[[LoopState], LoopState]  # the state to go on from -> the same, or an earlier one


class PromptSource(Protocol):
    def at(self, step: int) -> Sequence[Example]:
        """The examples of a step: a function of (seed, step) alone."""
        ...

    def replacement(self, step: int, attempt: int, place: int) -> Example:
        """The example that stands in for another one: a function of (seed, step, attempt, place) alone."""
        ...


@dataclass(frozen=True)
class Training:
    """The model that is trained, and what every update of it needs. `anchor` adds its own gradient to each
    update (grpo/anchor.py). SFT learns by `token_loss` (grpo/token_loss.py) from its pairs and those of `replay`
    (grpo/replay.py).
    """

    policy: PreTrainedModel
    optimizer: Optimizer
    log: RunLog
    compute: Compute
    anchor: AnchorFunction = no_anchor
    world: World = SINGLE_PROCESS
    token_loss: TokenLoss = nll
    replay: Replay = no_replay

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Add the gradient of a micro-batch, the last one or not of its update; the anchor's come after it."""
        self.optimizer.backward(loss, is_last and self.anchor is no_anchor)


@dataclass(frozen=True)
class Task:
    """What GRPO teaches: examples, the prompt that asks for a completion, how completions are sampled,
    their reward, and the reference policy of the KL term.
    """

    prompts: PromptSource
    prompt: Prompt
    reward: RewardFunction
    reference: PreTrainedModel
    sampling: Sampling


def same_state(state: LoopState) -> LoopState:
    """The `AfterStep` that goes on from the state as it is."""
    return state
