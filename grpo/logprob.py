"""Log-probabilities of completion tokens: the only division by temperature on the training side.

Logits exist for one chunk of tokens at a time, in the forward and again in the backward pass, so memory never holds
(tokens x vocabulary). log-softmax in fp32. The idea of recomputing the head is that of cut cross-entropy
(arXiv 2411.09009) and Liger Kernel (arXiv 2410.10989).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.packing import Packed
from grpo.policy import output_weight, packed_hidden, packed_logits

CHUNK = 256  # tokens; 256 x 48,578 fp32 logits are 50 MB


@dataclass(frozen=True)
class CompletionLogps:
    """(N, T) fp32 each, 0 beyond a completion's length; `entropy` (nats, at the same temperature) has no gradient."""

    logps: Tensor
    entropy: Tensor


class _HeadLogps(torch.autograd.Function):
    """log softmax(hidden @ weight.T / temperature)[target] in chunks; the backward makes the logits again."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        logps, entropy, normaliser = (torch.empty(len(targets), device=hidden.device) for _ in range(3))
        matrix = weight.to(hidden.dtype)
        for start in range(0, len(targets), CHUNK):
            part = slice(start, start + CHUNK)
            logits = (hidden[part] @ matrix.T).float().div_(temperature)
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
            logits = (hidden[part] @ matrix.T).float().div_(ctx.temperature)
            scale = grad_logps[part, None] / ctx.temperature
            grad_logits = logits.sub_(normaliser[part, None]).exp_().mul_(-scale)
            grad_logits.scatter_add_(1, targets[part, None], scale.to(grad_logits.dtype))
            grad_logits = grad_logits.to(hidden.dtype)
            grad_hidden[part] = grad_logits @ matrix
            if grad_weight.dtype == grad_logits.dtype:
                grad_weight.addmm_(grad_logits.T, hidden[part])
            else:
                grad_weight += grad_logits.T @ hidden[part]
        return grad_hidden, grad_weight, None, None


def completion_logps(model: PreTrainedModel, packed: Packed, temperature: float = 1.0) -> CompletionLogps:
    """log pi(token | prompt, tokens before) at `temperature` for every completion token of `packed`."""
    weight = output_weight(model)
    if weight is not None:
        values, entropies = _HeadLogps.apply(packed_hidden(model, packed), weight, packed.targets, temperature)
    else:
        log_softmax = (packed_logits(model, packed).float() / temperature).log_softmax(dim=-1)
        values = log_softmax.gather(1, packed.targets[:, None])[:, 0]
        entropies = -(log_softmax.detach().exp() * log_softmax.detach()).sum(dim=-1)
    empty = torch.zeros(packed.shape[0] * packed.shape[1], device=values.device)
    logps = empty.index_put((packed.slots,), values)
    entropy = empty.index_put((packed.slots,), entropies.detach())
    return CompletionLogps(logps.view(packed.shape), entropy.view(packed.shape))
