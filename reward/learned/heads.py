"""What the COMET family puts on top of an encoder, as pure functions: the mix of hidden states, the pooling of the
tokens of a text, the feed-forward estimator.

Source: Rei et al., "COMET" (EMNLP 2020) and "COMET-22" (WMT 2022); sparsemax: Martins and Astudillo (ICML 2016).
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from reward.encoders.modules import ACTIVATIONS
from reward.encoders.pooling import Head
from reward.learned.folder import Facts


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the simplex nearest to `scores`: (k,) -> (k,), many of them 0.

    >>> sparsemax(torch.tensor([1.0, 0.5, -2.0])).tolist()
    [0.75, 0.25, 0.0]
    """
    falling = scores.sort(descending=True).values
    counts = torch.arange(1, len(scores) + 1, device=scores.device)
    sums = falling.cumsum(0)
    support = int((1 + counts * falling > sums).sum())
    return (scores - (sums[support - 1] - 1) / support).clamp_min(0)


def mixed_states(states: Sequence[Tensor], mask: Tensor, weights: Tensor, is_normal: bool) -> Tensor:
    """Weighted sum of hidden states: L of (n, T, D), `weights` (L,), mask (n, T) -> (n, T, D).

    `is_normal`: each state is standardised first, over all numbers of all tokens of a text.
    """
    if is_normal:
        states = [_standard(state, mask) for state in states]
    return torch.stack([weight * state for weight, state in zip(weights, states, strict=True)]).sum(dim=0)


def _standard(state: Tensor, mask: Tensor) -> Tensor:
    counts = mask[..., None]
    number = mask.sum(dim=1)[:, None, None] * state.shape[2]
    centred = state - torch.where(counts, state, 0).sum(dim=(1, 2), keepdim=True) / number
    variance = torch.where(counts, centred, 0).square().sum(dim=(1, 2), keepdim=True) / number
    return centred / torch.sqrt(variance + 1e-12)


def state_of(facts: Facts, head: Mapping[str, Tensor], states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The hidden state that the sentence score is read from: (n, T, D) fp32."""
    if facts.layer != "mix":
        return states[facts.layer].float()
    scalars = torch.cat([head[f"layerwise_attention.scalar_parameters.{i}"] for i in range(len(states))])
    shares = sparsemax(scalars) if facts.mix == "sparsemax" else torch.softmax(scalars, dim=0)
    return mixed_states(
        [state.float() for state in states],
        mask,
        head["layerwise_attention.gamma"] * shares,
        facts.layer_norm,
    )


def estimator(facts: Facts, head: Mapping[str, Tensor]) -> Head:
    """The feed-forward network (n, D) -> (n,): linear maps with an activation after each but the last."""
    inner = ACTIVATIONS[facts.activation]
    last = ACTIVATIONS[facts.final_activation or "Identity"]
    layers = [
        partial(
            F.linear, weight=head[f"estimator.ff.{3 * i}.weight"], bias=head[f"estimator.ff.{3 * i}.bias"]
        )
        for i in range(len(facts.hidden_sizes) + 1)
    ]

    def scores(rows: Tensor) -> Tensor:
        for layer in layers[:-1]:
            rows = inner(layer(rows))
        return last(layers[-1](rows))[:, 0]

    return scores


def head_shapes(facts: Facts, width: int, num_states: int, features: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of a head over an encoder of `width` with `num_states` hidden states; `features`
    vectors side by side go into the estimator.
    """
    sizes = [features * width, *facts.hidden_sizes, 1]
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(len(sizes) - 1):
        shapes[f"estimator.ff.{3 * i}.weight"] = (sizes[i + 1], sizes[i])
        shapes[f"estimator.ff.{3 * i}.bias"] = (sizes[i + 1],)
    if facts.layer == "mix":
        shapes |= {f"layerwise_attention.scalar_parameters.{i}": (1,) for i in range(num_states)}
        shapes["layerwise_attention.gamma"] = (1,)
    if facts.family == "xcomet":
        shapes |= {"hidden2tag.weight": (4, width), "hidden2tag.bias": (4,)}
    return shapes
