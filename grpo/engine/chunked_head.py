"""Log-probabilities and KL from hidden states and an output head, a chunk of tokens at a time.

Logits of all tokens by the whole vocabulary never exist together; the gradients are made on the way. Also
what the head's product needs: its number format, and a product that is added in place.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.model import output_weight, packed_hidden, packed_logits
from grpo.engine.packing import Packed
from grpo.kl import full_kl

# tokens; 512 x 48,578 fp32 logits are 100 MB; every chunk reads the whole head, so that few are faster
CHUNK = 512
# tokens whose log-probabilities under two models exist at a time: some 700 MB over 262,144 pieces
KL_CHUNK = 128


def row_chunks(count: int, size: int) -> Iterator[slice]:
    """`count` rows, cut in order into chunks of at most `size`.

    >>> [*row_chunks(5, 2)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    return (slice(start, start + size) for start in range(0, count, size))


def head_logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """(K, H) hidden states and a (V, H) head of the same number format -> (K, V) logits, fp32 or better."""
    return (hidden @ weight.T).to(at_least_fp32(hidden.dtype))


class _HeadLogps(torch.autograd.Function):
    """The backward pass makes the logits again, from the normaliser that the forward pass has kept."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        precise = at_least_fp32(hidden.dtype)
        logps, entropy, normaliser = (
            torch.empty(len(targets), device=hidden.device, dtype=precise) for _ in range(3)
        )
        matrix = weight.to(hidden.dtype)
        for part in row_chunks(len(targets), CHUNK):
            logits = head_logits(hidden[part], matrix).div_(temperature)
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
        for part in row_chunks(len(targets), CHUNK):
            logits = head_logits(hidden[part], matrix).div_(ctx.temperature)
            scale = grad_logps[part, None] / ctx.temperature
            grad_logits = logits.sub_(normaliser[part, None]).exp_().mul_(-scale)
            grad_logits.scatter_add_(1, targets[part, None], scale.to(grad_logits.dtype))
            grad_logits = grad_logits.to(hidden.dtype)
            grad_hidden[part] = grad_logits @ matrix
            add_product(grad_weight, grad_logits, hidden[part])
        return grad_hidden, grad_weight, None, None


def head_logps(hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """log softmax(hidden @ weight.T / temperature)[target] and the entropy of the same distribution (nats,
    without gradient), (K,) each.
    """
    values: tuple[Tensor, Tensor] = _HeadLogps.apply(
        hidden.to(product_dtype(hidden)), weight, targets, temperature
    )
    return values


class _HeadKL(torch.autograd.Function):
    """Sum over K tokens of KL(base || policy) from the hidden states and heads of both; the gradient is made
    in the forward pass.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, base_hidden: Tensor, base_weight: Tensor) -> Tensor:
        matrix = weight.to(hidden.dtype)
        base_matrix = base_weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight)
        total = torch.zeros((), device=hidden.device, dtype=torch.float64)
        for part in row_chunks(len(hidden), KL_CHUNK):
            logps = head_logits(hidden[part], matrix).log_softmax(dim=-1)
            base_logps = head_logits(base_hidden[part], base_matrix).log_softmax(dim=-1)
            total += full_kl(base_logps, logps).sum()
            # d KL / d logits = policy - base
            grad_logits = logps.exp_().sub_(base_logps.exp_()).to(hidden.dtype)
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
            base_logps = dense_log_softmax(packed_logits(base, packed))
        return full_kl(base_logps, dense_log_softmax(packed_logits(policy, packed))).sum()
    with torch.no_grad():
        base_hidden = packed_hidden(base, packed)
    hidden = packed_hidden(policy, packed)
    kind = product_dtype(hidden)
    total: Tensor = _HeadKL.apply(hidden.to(kind), weight, base_hidden.to(kind), base_weight)
    return total


def dense_log_softmax(logits: Tensor) -> Tensor:
    """(K, V) logits -> (K, V) log-probabilities, fp32 or better: for a head that is more than a product."""
    return logits.to(at_least_fp32(logits.dtype)).log_softmax(dim=-1)


def product_dtype(tensor: Tensor) -> torch.dtype:
    """The number format in which a product with `tensor` runs here; asked in the forward pass, because the
    backward pass runs outside of autocast.
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
    """`dtype`, or fp32 where that is more precise."""
    return torch.promote_types(dtype, torch.float32)
