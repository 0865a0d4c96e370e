"""How far a checkpoint has moved from the untouched model on given texts: token by token, by its own loss and
by exact KL divergence.

nll   -log p(token | tokens before) under the checkpoint; its change is that minus the same under the untouched model
kl    sum_v base(v) (log base(v) - log policy(v)) at every position, over the whole vocabulary: KL(base || policy)

Both in nats. The paper (arXiv 2605.14366) reports mean and P90 over tokens and says neither the direction of
its KL nor from which model; here it is counted from the untouched model, whose expectation it is, so that
what that one would have said counts. The change of P90 is the difference of two percentiles. Logits of both
models exist for one chunk of tokens at a time. Computed in the weights' own precision, whatever the caller's:
logits rounded to bf16 are a divergence of their own, as large as those looked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.attention import in_fp32
from grpo.engine.chunked_head import KL_CHUNK, dense_log_softmax, head_logits, row_chunks
from grpo.engine.forward import output_weight, packed_hidden, packed_logits
from grpo.engine.packing import Packed, by_budget, pack
from grpo.kl import full_kl

BATCH_TOKENS = 2048
PERCENTILE = 90


@dataclass(frozen=True)
class TokenText:
    """A text as token ids, and what it is conditioned on (a beginning-of-text token), which is not scored."""

    id: str
    start: list[int]
    ids: list[int]


def log_softmax_chunks(model: PreTrainedModel, packed: Packed) -> Iterator[Tensor]:
    """(at most KL_CHUNK, V) log-probabilities, fp32 or better, of the K targets' positions, in order.

    A head that is more than a product gives all K at once; `measure_drift` then keeps K within a chunk.
    """
    weight = output_weight(model)
    if weight is None:
        return map(dense_log_softmax, packed_logits(model, packed).split(KL_CHUNK))
    hidden = packed_hidden(model, packed)
    return (
        head_logits([hidden[part]], weight).log_softmax(dim=-1) for part in row_chunks(len(hidden), KL_CHUNK)
    )


def chunk_pairs(
    model: PreTrainedModel, base: PreTrainedModel, packed: Packed
) -> Iterator[tuple[Tensor, Tensor]]:
    """The chunks of both models side by side; where they are one object it runs once, and every difference is
    exactly 0.
    """
    if model is base:
        return ((chunk, chunk) for chunk in log_softmax_chunks(model, packed))
    return zip(log_softmax_chunks(model, packed), log_softmax_chunks(base, packed), strict=True)


def token_scores(model: PreTrainedModel, base: PreTrainedModel, packed: Packed) -> Tensor:
    """(3, K) fp64: nll under `model`, nll under `base`, KL(base || model), at each target of `packed`."""
    columns = []
    targets = packed.targets.split(KL_CHUNK)
    for (logps, base_logps), tokens in zip(chunk_pairs(model, base, packed), targets, strict=True):
        nll, nll_base = (-chunk.gather(1, tokens[:, None])[:, 0].double() for chunk in (logps, base_logps))
        columns.append(torch.stack([nll, nll_base, full_kl(base_logps, logps)]))
    return torch.cat(columns, dim=1)


def measure_drift(
    model: PreTrainedModel, base: PreTrainedModel, texts: Sequence[TokenText]
) -> dict[str, Any]:
    """Means and P90 over all tokens of all texts, and each text's sums, in nats. Raises ValueError where no
    text has a token.
    """
    texts = [text for text in texts if text.ids]
    if not texts:
        raise ValueError("drift needs at least one text with a token")
    plain = output_weight(model) is not None and output_weight(base) is not None
    device = next(model.parameters()).device
    lengths = [len(text.start) + len(text.ids) for text in texts]
    parts: list[np.ndarray] = []
    with torch.inference_mode(), in_fp32(model, base):
        for batch in by_budget(lengths, BATCH_TOKENS if plain else KL_CHUNK):
            packed = pack([texts[i].start for i in batch], [texts[i].ids for i in batch], group_size=1).to(
                device
            )
            scores = token_scores(model, base, packed).cpu().numpy()
            parts += np.split(scores, np.cumsum([len(texts[i].ids) for i in batch])[:-1], axis=1)
    return drift_record(texts, parts)


def drift_record(texts: Sequence[TokenText], parts: Sequence[np.ndarray]) -> dict[str, Any]:
    """The record of texts from the (3, tokens) scores of each."""
    nll, nll_base, kl = np.concatenate(parts, axis=1)
    sums = [part.sum(axis=1).tolist() for part in parts]
    return {
        "n_tokens": len(nll),
        "nll_mean": float(nll.mean()),
        "nll_p90": percentile(nll),
        "nll_change_mean": float((nll - nll_base).mean()),
        "nll_change_p90": percentile(nll) - percentile(nll_base),
        "kl_mean": float(kl.mean()),
        "kl_p90": percentile(kl),
        "items": [
            {"id": text.id, "tokens": len(text.ids), "nll": first, "nll_base": second, "kl": third}
            for text, (first, second, third) in zip(texts, sums, strict=True)
        ],
    }


def percentile(values: np.ndarray) -> float:
    """P90 by linear interpolation."""
    return float(np.percentile(values, PERCENTILE))
