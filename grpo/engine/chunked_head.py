"""Log-probabilities and KL from hidden states and an output head, a chunk of tokens at a time.

Logits of all tokens by the whole vocabulary never exist together; the gradients are made on the way.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from grpo.engine.products import FP32, Format, multiply
from grpo.kl import full_kl, reverse_kl_slope

# tokens; 512 x 48,578 fp32 logits are 100 MB; every chunk reads the whole head, so that few are faster
CHUNK = 512
# tokens whose log-probabilities under two models exist at a time: some 700 MB over 262,144 pieces
KL_CHUNK = 128
VOCABULARY_CHUNK = 1 << 14  # pieces whose gradient exists twice at a time, in 16-bit formats


def at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    """`dtype`, or fp32 where that is more precise."""
    return torch.promote_types(dtype, torch.float32)


def dense_log_softmax(logits: Tensor) -> Tensor:
    """(K, V) logits -> (K, V) log-probabilities, fp32 or better: for a head that is more than a product."""
    return logits.to(at_least_fp32(logits.dtype)).log_softmax(dim=-1)


def row_chunks(count: int, size: int) -> Iterator[slice]:
    """`count` rows, cut in order into chunks of at most `size`.

    >>> [*row_chunks(5, 2)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    return (slice(start, start + size) for start in range(0, count, size))


def operands(hidden: Tensor, weight: Tensor, format: Format) -> tuple[list[Tensor], Tensor]:
    """The pieces of the hidden states and the head, as the products of the forward pass take them."""
    pieces = [hidden] if format == FP32 else format.split(hidden)
    return pieces, weight.to(pieces[0].dtype)


def head_type(weight: Tensor, format: Format) -> torch.dtype:
    """The type in which the products of the forward pass read a head: a frozen head loses nothing in it."""
    return weight.dtype if format == FP32 else format.forward


def head_logits(hidden: Sequence[Tensor], matrix: Tensor) -> Tensor:
    """The pieces of (K, H) hidden states and a (V, H) head of the same type -> (K, V) logits, fp32 or better."""
    logits = multiply(hidden[0], matrix.T)
    for piece in hidden[1:]:
        logits += multiply(piece, matrix.T)
    return logits


class HeadGradient:
    """The gradients of hidden states (K, H) and head (V, H), gathered from those of the logits by chunks. `matrix`: the
    head in the type of the forward pass. A head that is not `trained` has none.
    """

    def __init__(self, hidden: Tensor, weight: Tensor, format: Format, matrix: Tensor, trained: bool = True):
        self.type = hidden.dtype if format == FP32 else format.backward
        self.hidden = hidden.to(self.type)
        self.matrix = matrix if matrix.dtype == self.type else weight.to(self.type)
        wide = at_least_fp32(hidden.dtype)
        self.of_hidden = torch.empty(hidden.shape, device=hidden.device, dtype=wide)
        self.of_weight = torch.zeros_like(weight) if trained else None

    def add(self, part: slice, grad_logits: Tensor) -> None:
        """Take in the gradient (k, V) of the logits of the rows `part`."""
        grad_logits = grad_logits.to(self.type)
        self.of_hidden[part] = multiply(grad_logits, self.matrix)
        if self.of_weight is None:
            return
        if self.type == self.of_weight.dtype:  # in place: no second tensor of the head's size
            self.of_weight.addmm_(grad_logits.T, self.hidden[part])
        else:  # a slice of the vocabulary at a time, for the same reason
            for pieces in row_chunks(len(self.of_weight), VOCABULARY_CHUNK):
                self.of_weight[pieces] += multiply(grad_logits[:, pieces].T, self.hidden[part])


class _HeadLogps(torch.autograd.Function):
    """The backward pass makes the logits again, from the normaliser that the forward pass has kept."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, format: Format
    ) -> tuple[Tensor, Tensor]:
        pieces, matrix = operands(hidden, weight, format)
        logps, entropy, normaliser = (
            torch.empty(len(targets), device=hidden.device, dtype=hidden.dtype) for _ in range(3)
        )
        for part in row_chunks(len(targets), CHUNK):
            logits = head_logits([piece[part] for piece in pieces], matrix).div_(temperature)
            normaliser[part] = logits.logsumexp(dim=-1)
            logps[part] = logits.gather(1, targets[part, None])[:, 0] - normaliser[part]
            probabilities = torch.softmax(logits, dim=-1)
            entropy[part] = normaliser[part] - probabilities.mul_(logits).sum(dim=-1)
        ctx.save_for_backward(*pieces, weight, targets, normaliser)
        ctx.temperature = temperature
        ctx.format = format
        ctx.mark_non_differentiable(entropy)
        return logps, entropy

    @staticmethod
    def backward(
        ctx: Any, grad_logps: Tensor, _grad_entropy: Tensor
    ) -> tuple[Tensor, Tensor | None, None, None, None]:
        *pieces, weight, targets, normaliser = ctx.saved_tensors
        matrix = weight.to(pieces[0].dtype)
        grad = HeadGradient(pieces[0], weight, ctx.format, matrix, ctx.needs_input_grad[1])
        for part in row_chunks(len(targets), CHUNK):
            logits = head_logits([piece[part] for piece in pieces], matrix).div_(ctx.temperature)
            scale = grad_logps[part, None] / ctx.temperature
            grad_logits = logits.sub_(normaliser[part, None]).exp_().mul_(-scale)
            grad_logits.scatter_add_(1, targets[part, None], scale.to(grad_logits.dtype))
            grad.add(part, grad_logits)
        return grad.of_hidden, grad.of_weight, None, None, None


def head_logps(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, format: Format
) -> tuple[Tensor, Tensor]:
    """log softmax(hidden @ weight.T / temperature)[target] and the entropy of the same distribution (nats,
    without gradient), (K,) each.
    """
    values: tuple[Tensor, Tensor] = _HeadLogps.apply(
        hidden.to(at_least_fp32(hidden.dtype)), weight, targets, temperature, format
    )
    return values


class _HeadKL(torch.autograd.Function):
    """Sum over K tokens of KL(base || policy), or in `reverse` of KL(policy || base), from the hidden states and heads
    of both; the gradient is made in the forward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        base_hidden: Tensor,
        base_weight: Tensor,
        format: Format,
        reverse: bool,
    ) -> Tensor:
        pieces, matrix = operands(hidden, weight, format)
        base_pieces, base_matrix = operands(base_hidden, base_weight, format)
        grad = HeadGradient(pieces[0], weight, format, matrix, ctx.needs_input_grad[1])
        total = torch.zeros((), device=hidden.device, dtype=torch.float64)
        for part in row_chunks(len(hidden), KL_CHUNK):
            logps = head_logits([piece[part] for piece in pieces], matrix).log_softmax(dim=-1)
            base_logps = head_logits([piece[part] for piece in base_pieces], base_matrix).log_softmax(dim=-1)
            kl = full_kl(logps, base_logps) if reverse else full_kl(base_logps, logps)
            total += kl.sum()
            if reverse:
                grad.add(part, reverse_kl_slope(logps, base_logps, kl))
            else:
                grad.add(part, logps.exp_().sub_(base_logps.exp_()))  # d KL / d logits = policy - base
        ctx.save_for_backward(grad.of_hidden, grad.of_weight)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return (
            grad_hidden * grad_total.to(grad_hidden.dtype),
            None if grad_weight is None else grad_weight.mul_(grad_total.to(grad_weight.dtype)),
            None,
            None,
            None,
            None,
        )


def kl_of_heads(
    hidden: Tensor,
    weight: Tensor,
    base_hidden: Tensor,
    base_weight: Tensor,
    format: Format,
    reverse: bool = False,
) -> Tensor:
    """() fp64 sum over K tokens of KL(base || policy), or in `reverse` of KL(policy || base), in nats; differentiable in
    the policy's `hidden` (K, H) and `weight` (V, H).
    """
    total: Tensor = _HeadKL.apply(hidden, weight, base_hidden, base_weight, format, reverse)
    return total
