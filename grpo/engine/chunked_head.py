"""Log-probabilities and KL from hidden states and an output head, a chunk of tokens at a time.

Logits of all tokens by the whole vocabulary never exist together; the gradients are made on the way. Also
what the head's product needs: its number format, and a product that is added in place.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.model import output_weight, packed_hidden, packed_logits
from grpo.engine.packing import Packed
from grpo.kl import full_kl

KL_CHUNK = 128  # tokens whose logits under both models exist at a time


class _HeadKL(torch.autograd.Function):
    """sum over K tokens of KL(base || policy) from the hidden states and heads of both; its gradient is made
    on the way, by chunks.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, base_hidden: Tensor, base_weight: Tensor) -> Tensor:
        precise = at_least_fp32(hidden.dtype)
        matrix = weight.to(hidden.dtype)
        base_matrix = base_weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight)
        total = torch.zeros((), device=hidden.device, dtype=torch.float64)
        for start in range(0, len(hidden), KL_CHUNK):
            part = slice(start, start + KL_CHUNK)
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
        return (
            grad_hidden * grad_total.to(grad_hidden.dtype),
            grad_weight.mul_(grad_total.to(grad_weight.dtype)),
            None,
            None,
        )


def kl_to_base(policy: PreTrainedModel, base: PreTrainedModel, packed: Packed) -> Tensor:
    """KL(base || policy) in nats, over the whole vocabulary, summed over the K target tokens of `packed`;
    differentiable in `policy`.
    """
    weight = output_weight(policy)
    base_weight = output_weight(base)
    if weight is None or base_weight is None:
        with torch.no_grad():
            theirs = packed_logits(base, packed)
        mine = packed_logits(policy, packed)
        theirs, mine = (
            logits.to(at_least_fp32(logits.dtype)).log_softmax(dim=-1) for logits in (theirs, mine)
        )
        return full_kl(theirs, mine).sum()
    with torch.no_grad():
        base_hidden = packed_hidden(base, packed)
    hidden = packed_hidden(policy, packed)
    kind = product_dtype(hidden)
    total: Tensor = _HeadKL.apply(hidden.to(kind), weight, base_hidden.to(kind), base_weight)
    return total


# tokens; 512 x 48,578 fp32 logits are 100 MB; every chunk reads the whole head, so that few are faster
CHUNK = 512


class _HeadLogps(torch.autograd.Function):
    """log softmax(hidden @ weight.T / temperature)[target] in chunks; the backward makes the logits again."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        precise = at_least_fp32(hidden.dtype)
        logps, entropy, normaliser = (
            torch.empty(len(targets), device=hidden.device, dtype=precise) for _ in range(3)
        )
        matrix = weight.to(hidden.dtype)
        for start in range(0, len(targets), CHUNK):
            part = slice(start, start + CHUNK)
            logits = (hidden[part] @ matrix.T).to(precise).div_(temperature)
            normaliser[part] = logits.logsumexp(dim=-1)
            logps[part] = logits.gather(1, targets[part, None])[:, 0] - normaliser[part]
            probabilities = torch.softmax(logits, dim=-1)
            entropy[part] = normaliser[part] - probabilities.mul_(logits).sum(dim=-1)
        ctx.save_for_backward(hidden, weight, targets, normaliser)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy)
        return logps, entropy

    @staticmethod
    def backward(ctx: Any, grad_logps: Tensor, _grad_entropy: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, weight, targets, normaliser = ctx.saved_tensors
        matrix = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight)
        for start in range(0, len(targets), CHUNK):
            part = slice(start, start + CHUNK)
            logits = (hidden[part] @ matrix.T).to(normaliser.dtype).div_(ctx.temperature)
            scale = grad_logps[part, None] / ctx.temperature
            grad_logits = logits.sub_(normaliser[part, None]).exp_().mul_(-scale)
            grad_logits.scatter_add_(1, targets[part, None], scale.to(grad_logits.dtype))
            grad_logits = grad_logits.to(hidden.dtype)
            grad_hidden[part] = grad_logits @ matrix
            add_product(grad_weight, grad_logits, hidden[part])
        return grad_hidden, grad_weight, None, None


def product_dtype(tensor: Tensor) -> torch.dtype:
    """The format in which a product with `tensor` runs here; said once, because the backward pass runs
    outside of autocast.
    """
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def add_product(grad_weight: Tensor, grad_logits: Tensor, hidden: Tensor) -> None:
    """grad_weight (V, H) += grad_logits.T @ hidden, without a second tensor of its size where the formats are
    the same.
    """
    if grad_weight.dtype == grad_logits.dtype:
        grad_weight.addmm_(grad_logits.T, hidden)
    else:
        grad_weight += grad_logits.T @ hidden


def at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
