"""MetricX-24: an mT5 that answers with a number of errors, 0 (none) to 25. The number is the logit of one token at the
first step of the decoder; with a reference text it reads three texts, without one two (quality estimation).

Source: Juraska et al., "MetricX-24" (WMT 2024), and the published code of its predictions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from reward.encoders.pooled import token_ids
from reward.learned.folder import LARGEST
from reward.learned.network import Network, Segment
from reward.learned.passes import head_scores, passes

SCORE_TOKEN = 250089  # its row of the output matrix is the head
MAX_LENGTH = 1536  # tokens of an input, the end of the text counted


class MetricX(Network):
    """Scores segments; the reference text may be None. 0 to 25, lower is better."""

    @torch.inference_mode()
    def scores(self, segments: Sequence[Segment]) -> Tensor:
        """(n,) fp32 on the CPU."""
        texts = list(map(input_text, segments))
        # without the end token
        ids = [row[:-1] for row in token_ids(self.tokenizer, texts, self.facts.max_length)]
        rows = self.head["score.weight"].new_empty(len(texts), self.model.config.d_model)
        for members, output, _ in passes(self.model, ids, self.tokenizer.pad_token_id, self._first_step):
            rows[members] = output.last_hidden_state[: len(members), 0].float()
        return head_scores(lambda block: block @ self.head["score.weight"][0], rows).clamp(
            0, LARGEST["metricx"]
        )

    def _first_step(self, members: list[int], shape: tuple[int, int]) -> dict[str, Tensor]:
        """The decoder starts from token 0 in every row."""
        return {"decoder_input_ids": torch.zeros(shape[0], 1, dtype=torch.int64, device=self.model.device)}


def input_text(segment: Segment) -> str:
    """What the model reads.

    >>> input_text(Segment("a", "b"))
    'source: a candidate: b'
    """
    text = f"source: {segment.source} candidate: {segment.output}"
    return text if segment.reference is None else f"{text} reference: {segment.reference}"
