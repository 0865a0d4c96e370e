"""BLEURT-20: a RemBERT reads reference text and output as a pair; a pooler and a linear map on its first token score it.

Source: Pu et al., "Learning Compact Metrics for MT" (EMNLP 2021).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from reward.encoders.pooled import token_ids
from reward.learned.network import Network, Segment
from reward.learned.passes import head_scores, passes


class Bleurt(Network):
    """Scores segments of output and reference text; about 0 to 1, higher is better. The source is not read."""

    @torch.inference_mode()
    def scores(self, segments: Sequence[Segment]) -> Tensor:
        """(n,) fp32 on the CPU."""
        texts = list(dict.fromkeys(text for one in segments for text in one.texts[1:]))
        ids_of = dict(zip(texts, token_ids(self.tokenizer, texts, self.facts.max_length), strict=True))
        pairs = [
            pair_ids(ids_of[reference], ids_of[output], self.facts.max_length)
            for _, output, reference in (one.texts for one in segments)
        ]
        rows = self.head["pooler.weight"].new_empty(len(pairs), self.model.config.hidden_size)

        def kinds(members: list[int], shape: tuple[int, int]) -> dict[str, Tensor]:
            kinds = torch.zeros(shape, dtype=torch.int64)
            for row, i in enumerate(members):
                kinds[row, pairs[i][1] : len(pairs[i][0])] = 1
            return {"token_type_ids": kinds.to(self.model.device)}

        for members, output, _ in passes(
            self.model, [ids for ids, _ in pairs], self.tokenizer.pad_token_id, kinds
        ):
            rows[members] = output.last_hidden_state[: len(members), 0].float()
        return head_scores(self._head, rows)

    def _head(self, rows: Tensor) -> Tensor:
        pooled = F.linear(rows, self.head["pooler.weight"], self.head["pooler.bias"]).tanh()
        return F.linear(pooled, self.head["classifier.weight"], self.head["classifier.bias"])[:, 0]


def pair_ids(first: Sequence[int], second: Sequence[int], most: int) -> tuple[list[int], int]:
    """[CLS] a [SEP], [CLS] b [SEP] -> [CLS] a [SEP] b [SEP] of at most `most` tokens, and where b starts. The longer
    text loses its last token first, and b where they are equal.

    >>> pair_ids([1, 7, 8, 9, 2], [1, 5, 6, 2], 6)
    ([1, 7, 8, 2, 5, 2], 4)
    """
    begin, *one, end = first
    other = [*second[1:-1]]
    while len(one) + len(other) + 3 > most:
        (one if len(one) > len(other) else other).pop()
    return [begin, *one, end, *other, end], len(one) + 2
