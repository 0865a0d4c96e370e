"""Holds training to what the untouched model knows: every update also goes down KL(untouched || policy) on general text.

What a model unlearns on a small corpus shows on text that training never visits, so that is where it is held. PPO-ptx (arXiv 2203.02155,
section 3.5) mixes the pre-training loss into every update in this way; here the target is the untouched model's own distribution at every
token and not the next token, so nothing is learnt of the texts themselves and a few hundred will do. The KL term of GRPO is another: it is
counted on the task's own prompts, from the warm start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.stream import PromptStream
from grpo.device import Compute
from grpo.kl import full_kl
from grpo.logprob import add_product, at_least_fp32, product_dtype
from grpo.packing import Packed, by_budget, pack
from grpo.parallel import World
from grpo.policy import output_weight, packed_hidden, packed_logits

CHUNK = 128  # tokens whose logits under both models exist at a time

Sums = dict[str, tuple[float, float]]  # figure -> (sum, count)
AnchorFunction = Callable[[PreTrainedModel, int], Sums]


def unanchored(_policy: PreTrainedModel, _update: int) -> Sums:
    """The anchor of training without one."""
    return {}


class _HeadKL(torch.autograd.Function):
    """sum over K tokens of KL(base || policy) from the hidden states and heads of both; its gradient is made on the way, by chunks."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, base_hidden: Tensor, base_weight: Tensor) -> Tensor:
        precise = at_least_fp32(hidden.dtype)
        matrix, base_matrix = weight.to(hidden.dtype), base_weight.to(hidden.dtype)
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        total = torch.zeros((), device=hidden.device, dtype=torch.float64)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            mine, theirs = ((states[part] @ head.T).to(precise).log_softmax(dim=-1)
                            for states, head in ((hidden, matrix), (base_hidden, base_matrix)))  # fmt: skip
            total += full_kl(theirs, mine).sum()
            grad_logits = mine.exp_().sub_(theirs.exp_()).to(hidden.dtype)  # d KL / d logits = policy - base
            grad_hidden[part] = grad_logits @ matrix
            add_product(grad_weight, grad_logits, hidden[part])
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad_total.to(grad_hidden.dtype), grad_weight.mul_(grad_total.to(grad_weight.dtype)), None, None


def kl_to_base(policy: PreTrainedModel, base: PreTrainedModel, packed: Packed) -> Tensor:
    """KL(base || policy) in nats, over the whole vocabulary, summed over the K target tokens of `packed`; differentiable in `policy`."""
    weight, base_weight = output_weight(policy), output_weight(base)
    if weight is None or base_weight is None:
        with torch.no_grad():
            theirs = packed_logits(base, packed)
        mine = packed_logits(policy, packed)
        theirs, mine = (logits.to(at_least_fp32(logits.dtype)).log_softmax(dim=-1) for logits in (theirs, mine))
        return full_kl(theirs, mine).sum()
    with torch.no_grad():
        base_hidden = packed_hidden(base, packed)
    hidden = packed_hidden(policy, packed)
    kind = product_dtype(hidden)
    total: Tensor = _HeadKL.apply(hidden.to(kind), weight, base_hidden.to(kind), base_weight)
    return total


@dataclass(frozen=True)
class Anchor:
    """Called before each update with the policy and the update's number: adds coef x mean KL(base || policy) to the gradients.

    Gives back {"anchor_kl": (sum over the tokens of this process, their number)}. Which texts an update sees is a function of (seed,
    update); processes share them.
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
        num_tokens, total = sum(map(len, batch)), 0.0
        mine = batch[self.world.rank :: self.world.size]
        for chosen in by_budget([len(self.start) + len(ids) for ids in mine], self.max_tokens):
            packed = pack([self.start] * len(chosen), [mine[i] for i in chosen], group_size=1).to(self.compute.device)
            with self.compute.autocast():
                divergence = kl_to_base(policy, self.base, packed)
            (self.coef / num_tokens * divergence).backward()
            total += float(divergence.detach())
        return {"anchor_kl": (total, float(sum(map(len, mine))))}
