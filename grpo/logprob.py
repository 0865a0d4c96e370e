"""Log-probabilities of completion tokens: the only division by temperature on the training side.

Logits exist for one chunk of tokens at a time, in the forward and again in the backward pass, so memory never holds
(tokens x vocabulary). log-softmax in fp32, in fp64 for a model in fp64. The idea of recomputing the head is that of cut cross-entropy
(arXiv 2411.09009) and Liger Kernel (arXiv 2410.10989).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.packing import Packed
from grpo.policy import output_weight, packed_hidden, packed_logits

CHUNK = 512  # tokens; 512 x 48,578 fp32 logits are 100 MB; every chunk reads the whole head, so that few are faster


@dataclass(frozen=True)
class CompletionLogps:
    """(N, T) each, fp32 or better, 0 beyond a completion's length; `entropy` (nats, at the same temperature) has no gradient."""

    logps: Tensor
    entropy: Tensor


class _HeadLogps(torch.autograd.Function):
    """log softmax(hidden @ weight.T / temperature)[target] in chunks; the backward makes the logits again."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        precise = at_least_fp32(hidden.dtype)
        logps, entropy, normaliser = (torch.empty(len(targets), device=hidden.device, dtype=precise) for _ in range(3))
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
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
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
    """The format in which a product with `tensor` runs here; said once, because the backward pass runs outside of autocast."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def add_product(grad_weight: Tensor, grad_logits: Tensor, hidden: Tensor) -> None:
    """grad_weight (V, H) += grad_logits.T @ hidden, without a second tensor of its size where the formats are the same."""
    if grad_weight.dtype == grad_logits.dtype:
        grad_weight.addmm_(grad_logits.T, hidden)
    else:
        grad_weight += grad_logits.T @ hidden


def at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def completion_logps(model: PreTrainedModel, packed: Packed, temperature: float = 1.0) -> CompletionLogps:
    """log pi(token | prompt, tokens before) at `temperature` for every completion token of `packed`."""
    weight = output_weight(model)
    if weight is not None:
        hidden = packed_hidden(model, packed)
        values, entropies = _HeadLogps.apply(hidden.to(product_dtype(hidden)), weight, packed.targets, temperature)
    else:
        logits = packed_logits(model, packed)
        log_softmax = (logits.to(at_least_fp32(logits.dtype)) / temperature).log_softmax(dim=-1)
        values = log_softmax.gather(1, packed.targets[:, None])[:, 0]
        entropies = -(log_softmax.detach().exp() * log_softmax.detach()).sum(dim=-1)
    empty = torch.zeros(packed.shape[0] * packed.shape[1], device=values.device, dtype=values.dtype)
    logps = empty.index_put((packed.slots,), values)
    entropy = empty.index_put((packed.slots,), entropies.detach())
    return CompletionLogps(logps.view(packed.shape), entropy.view(packed.shape))
