"""KL between two models over the whole vocabulary, at the target tokens of packed rows, alone or from the same pass as
log-probabilities.

The model that is not trained gives its final hidden states and its head (`states_and_head`). Functions in the second
half run inside of a forward pass (`run_in`), where the parameters of a sharded model are whole.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.chunked_head import dense_log_softmax, head_logps, kl_of_heads
from grpo.engine.forward import output_weight, packed_hidden, packed_logits
from grpo.engine.logprob import CompletionLogps, by_completion
from grpo.engine.packing import Packed, joined_rows
from grpo.engine.products import format_of
from grpo.engine.sharding import run_in, whole
from grpo.kl import full_kl

EVERY = slice(None)  # of the targets of a row


@torch.no_grad()
def states_and_head(model: PreTrainedModel, packed: Packed) -> tuple[Tensor, Tensor | None]:
    """The final hidden states (K, H) of a model that is only read and its head (V, H); its log-probabilities (K, V) and
    None for a head that is more than a product.
    """
    weight = output_weight(model)
    if weight is None:
        return run_in(model, all_logps, packed), None
    return run_in(model, packed_hidden, packed), whole(weight)


def kl_to_base(policy: PreTrainedModel, base: PreTrainedModel, packed: Packed) -> Tensor:
    """KL(base || policy) in nats, over the whole vocabulary, summed over the K target tokens of `packed`;
    differentiable in `policy`.
    """
    found, weight = states_and_head(base, packed)
    if weight is None:
        return full_kl(found, run_in(policy, all_logps, packed)).sum()
    return kl_to_states(policy, packed, found, weight)


def kl_to_states(policy: PreTrainedModel, packed: Packed, base_hidden: Tensor, base_weight: Tensor) -> Tensor:
    """`kl_to_base` from the base's final hidden states (K, H) and its head (V, H); for a head that is a plain
    product.
    """
    return run_in(policy, head_kl, packed, base_hidden, base_weight)


def kl_from_policy(policy: PreTrainedModel, packed: Packed, teacher: PreTrainedModel, read: Packed) -> Tensor:
    """KL(policy || teacher) in nats, over the whole vocabulary, summed over K target tokens; differentiable in `policy`.

    The teacher reads the same targets in the row `read`, where other prompts may stand before them.
    """
    found, weight = states_and_head(teacher, read)
    if weight is None:
        return full_kl(run_in(policy, all_logps, packed), found).sum()
    return run_in(policy, head_kl, packed, found, weight, True)


def logps_and_kl(policy: PreTrainedModel, base: PreTrainedModel, packed: Packed) -> tuple[Tensor, Tensor]:
    """Log-probabilities (K,) of the targets of `packed`, and `kl_to_base`, from one forward pass of the policy."""
    found, weight = states_and_head(base, packed)
    if weight is not None:
        logps, _, divergence = run_in(policy, head_logps_and_kl, packed, EVERY, EVERY, found, weight)
        return logps, divergence
    logps = run_in(policy, all_logps, packed)
    return logps.gather(1, packed.targets[:, None])[:, 0], full_kl(found, logps).sum()


def logps_beside_texts(
    model: PreTrainedModel, packed: Packed, texts: Packed, base_hidden: Tensor, base_weight: Tensor
) -> tuple[CompletionLogps, Tensor]:
    """`completion_logps` of `packed` at temperature 1, and `kl_to_states` of `texts`, from one pass through the layers;
    for rows with groups of one and a head that is a plain product.
    """
    both = joined_rows(packed, texts)
    count = len(packed.targets)
    targets = slice(count), slice(count, None)
    *found, divergence = run_in(model, head_logps_and_kl, both, *targets, base_hidden, base_weight)
    return by_completion(packed, *found), divergence


def head_kl(
    policy: PreTrainedModel, packed: Packed, base_hidden: Tensor, base_weight: Tensor, reverse: bool = False
) -> Tensor:
    """`kl_to_states`, or in `reverse` `kl_from_policy`, for a policy whose head is a plain product."""
    weight = output_weight(policy)
    assert weight is not None
    hidden = packed_hidden(policy, packed)
    return kl_of_heads(hidden, weight, base_hidden, base_weight, format_of(policy), reverse)


def head_logps_and_kl(
    policy: PreTrainedModel,
    packed: Packed,
    scored: slice,
    compared: slice,
    base_hidden: Tensor,
    base_weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities and entropies of the targets `scored`, and the KL of the targets `compared`."""
    weight = output_weight(policy)
    assert weight is not None
    format = format_of(policy)
    hidden = packed_hidden(policy, packed)
    logps, entropies = head_logps(hidden[scored], weight, packed.targets[scored], 1.0, format)
    return logps, entropies, kl_of_heads(hidden[compared], weight, base_hidden, base_weight, format)


def all_logps(model: PreTrainedModel, packed: Packed) -> Tensor:
    """(K, V) log-probabilities of every token at the places of the targets, by the model's own head."""
    return dense_log_softmax(packed_logits(model, packed))
