"""COMET-22 (wmt22-comet-da): each text of a segment is encoded alone, mixed over layers and averaged over tokens; a
feed-forward network scores what the three vectors make together.

Source: Rei et al., "COMET-22: Unbabel-IST 2022 Submission for the Metrics Shared Task" (WMT 2022).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from reward.encoders.pooled import last_positions, token_ids
from reward.encoders.pooling import mean
from reward.learned.heads import estimator, state_of
from reward.learned.network import Network, Segment
from reward.learned.passes import head_scores, passes, with_states

FEATURES = 6  # vectors side by side before the estimator


class Comet(Network):
    """Scores segments of source, output and reference text; about 0 to 1, higher is better."""

    @torch.inference_mode()
    def scores(self, segments: Sequence[Segment]) -> Tensor:
        """(n,) fp32 on the CPU; every distinct text is encoded once."""
        row_of = {
            text: row
            for row, text in enumerate(dict.fromkeys(text for one in segments for text in one.texts))
        }
        vectors = self._vectors(list(row_of))
        source, output, reference = (
            vectors[[row_of[text] for text in column]]
            for column in zip(*(one.texts for one in segments), strict=True)
        )
        features = [
            output, reference, output * reference, (output - reference).abs(), output * source, (output - source).abs()
        ]  # fmt: skip
        return head_scores(estimator(self.facts, self.head), torch.cat(features, dim=1))

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        """(n, D) on the model's device."""
        limit = last_positions(self.model) - 2
        ids = token_ids(self.tokenizer, texts, limit)
        rows = torch.empty(len(texts), self.model.config.hidden_size, device=self.model.device)
        for members, output, mask in passes(self.model, ids, self.tokenizer.pad_token_id, with_states):
            state = state_of(self.facts, self.head, output.hidden_states, mask)
            rows[members] = mean(state, mask)[: len(members)]
        return rows
