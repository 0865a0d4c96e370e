"""The anchor: adds the gradient of KL(untouched || policy) on general text to every update.

What a model unlearns on a small corpus shows on text that training never visits, so it is counted there.
PPO-ptx (arXiv 2203.02155, section 3.5) mixes the pre-training loss into every update in this way; here the
target is the untouched model's own distribution at every token and not the next token, so nothing is learnt
of the texts themselves, and a few hundred of them are enough. The KL term of GRPO is another one: it is
counted on the task's own prompts, against the warm start.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from data.stream import PromptStream
from grpo.engine.chunked_head import kl_to_base
from grpo.engine.packing import by_budget, pack
from grpo.runtime.device import Compute
from grpo.runtime.parallel import Sums, World

AnchorFunction = Callable[[PreTrainedModel, int], Sums]


def no_anchor(_policy: PreTrainedModel, _update: int) -> Sums:
    """For training without an anchor: adds nothing."""
    return {}


@dataclass(frozen=True)
class Anchor:
    """Called before each update with the policy and the update's number: adds the gradient of coef x mean
    KL(base || policy), in nats per token.

    Returns {"anchor_kl": (sum over the tokens of this process, their number)}. Which texts an update sees is
    a function of (seed, update); processes share them. `start` stands before each text and is not counted.
    """

    base: PreTrainedModel
    texts: PromptStream[list[int]]
    start: list[int]
    coef: float
    max_tokens: int
    compute: Compute
    world: World

    def __call__(self, policy: PreTrainedModel, update: int) -> Sums:
        batch = self.texts.at(update)
        num_tokens = sum(map(len, batch))
        total = torch.zeros((), dtype=torch.float64, device=self.compute.device)
        share = batch[self.world.rank :: self.world.size]
        for chosen in by_budget([len(self.start) + len(ids) for ids in share], self.max_tokens):
            packed = pack([self.start] * len(chosen), [share[i] for i in chosen], group_size=1).to(
                self.compute.device
            )
            divergence = kl_to_base(policy, self.base, packed)
            (self.coef / num_tokens * divergence).backward()
            total += divergence.detach()
        return {"anchor_kl": (total, float(sum(map(len, share))))}
