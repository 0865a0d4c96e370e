"""Log-probabilities of completion tokens: the only division by temperature on the training side.

Logits exist for one chunk of tokens at a time, in the forward and again in the backward pass, so memory never
holds (tokens x vocabulary). log-softmax in fp32, in fp64 for a model in fp64. The idea of recomputing the
head is that of cut cross-entropy (arXiv 2411.09009) and Liger Kernel (arXiv 2410.10989).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.chunked_head import at_least_fp32, head_logps
from grpo.engine.forward import output_weight, packed_hidden, packed_logits
from grpo.engine.packing import Packed
from grpo.engine.products import format_of
from grpo.engine.sharding import run_in


@dataclass(frozen=True)
class CompletionLogps:
    """(N, T) each, fp32 or better, 0 beyond a completion's length; `entropy` (nats, at the same temperature)
    has no gradient.
    """

    logps: Tensor
    entropy: Tensor


def completion_logps(model: PreTrainedModel, packed: Packed, temperature: float = 1.0) -> CompletionLogps:
    """log pi(token | prompt, tokens before) at `temperature` for every completion token of `packed`."""
    return by_completion(packed, *run_in(model, target_logps, packed, temperature))


def by_completion(packed: Packed, values: Tensor, entropies: Tensor) -> CompletionLogps:
    """Log-probabilities and entropies of the K targets at the places of their completions."""
    empty = torch.zeros(packed.shape[0] * packed.shape[1], device=values.device, dtype=values.dtype)
    logps = empty.index_put((packed.slots,), values)
    entropy = empty.index_put((packed.slots,), entropies.detach())
    return CompletionLogps(logps.view(packed.shape), entropy.view(packed.shape))


def target_logps(model: PreTrainedModel, packed: Packed, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies of the K targets of `packed`, (K,) each."""
    weight = output_weight(model)
    if weight is not None:
        hidden = packed_hidden(model, packed)
        return head_logps(hidden, weight, packed.targets, temperature, format_of(model))
    logits = packed_logits(model, packed)
    log_softmax = (logits.to(at_least_fp32(logits.dtype)) / temperature).log_softmax(dim=-1)
    entropies = -(log_softmax.detach().exp() * log_softmax.detach()).sum(dim=-1)
    return log_softmax.gather(1, packed.targets[:, None])[:, 0], entropies
