"""COMETKiwi, UniTE and xCOMET: output, source and reference text go through the encoder as one sequence.

    <s> output </s></s> source </s></s> reference </s>

COMETKiwi reads output and source. UniTE and xCOMET read output with source, output with reference text, and all
three; without a reference text only the first. xCOMET also labels every token of the output as right, or as a minor,
major or critical error, and its score counts these errors as MQM does.

Source: Rei et al., "CometKiwi" (WMT 2022); Wan et al., "UniTE" (ACL 2022); Guerreiro et al., "xCOMET" (TACL 2024).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from reward.encoders.pooled import last_positions, token_ids
from reward.learned.heads import estimator, state_of
from reward.learned.network import Network, Segment
from reward.learned.passes import head_scores, passes, with_states

LABELS = ("", "minor", "major", "critical")
PENALTIES = (0.0, 1.0, 5.0, 10.0)
MOST_PENALTY = 25.0
# of output with source, output with reference text, all three; and of the errors that are counted
SCORE_WEIGHTS = (0.12, 0.33, 0.33)
ERROR_WEIGHT = 0.22
LABEL_WEIGHTS = (0.1667, 0.3333, 0.5)


@dataclass(frozen=True)
class Span:
    """An error in the output: its tokens `start` to `end` (not included), how bad it is, and the mean probability of
    its tokens' likeliest labels.
    """

    start: int
    end: int
    severity: int
    confidence: float

    @property
    def label(self) -> str:
        return LABELS[self.severity]


@dataclass(frozen=True)
class ErrorSpan:
    """The same in characters of the output; `text` is what stands there."""

    text: str
    start: int
    end: int
    severity: str
    confidence: float


class Unified(Network):
    """Scores segments; the reference text may be None. About 0 to 1, higher is better."""

    def scores(self, segments: Sequence[Segment]) -> Tensor:
        """(n,) fp32 on the CPU."""
        return self._judge(segments)[0]

    def judgements(self, segments: Sequence[Segment]) -> tuple[Tensor, list[list[ErrorSpan]]]:
        """Scores (n,), and the errors that xCOMET marks in each output; none of the other metrics."""
        scores, spans = self._judge(segments)
        offsets = self.tokenizer(
            [one.output for one in segments], truncation=True, max_length=last_positions(self.model) - 2,
            return_offsets_mapping=True,
        )["offset_mapping"]  # fmt: skip
        return scores, [
            [in_characters(span, one.output, places) for span in own]
            for own, one, places in zip(spans, segments, offsets, strict=True)
        ]

    @torch.inference_mode()
    def _judge(self, segments: Sequence[Segment]) -> tuple[Tensor, list[list[Span]]]:
        texts = list(dict.fromkeys(text for one in segments for text in one if text is not None))
        positions = last_positions(self.model)
        ids_of = dict(zip(texts, token_ids(self.tokenizer, texts, positions - 2), strict=True))
        inputs = [self._inputs(one, ids_of, positions) for one in segments]
        flat = [row for rows in inputs for row in rows]
        values, labels = self._forward(
            flat, [len(ids_of[one.output]) for one in segments for _ in self._parts(one)]
        )
        counts = [len(rows) for rows in inputs]
        rest = iter(labels)
        results = [self._result(part, [*islice(rest, len(part))]) for part in values.split(counts)]
        return torch.stack([score for score, _ in results]), [spans for _, spans in results]

    def _parts(self, segment: Segment) -> list[tuple[str, ...]]:
        """The texts behind the output in each sequence of a segment."""
        if segment.reference is None:
            return [(segment.source,)]
        return [(segment.source,), (segment.reference,), (segment.source, segment.reference)]

    def _inputs(self, segment: Segment, ids_of: Mapping[str, list[int]], positions: int) -> list[list[int]]:
        return [
            joined_ids([ids_of[segment.output], *(ids_of[text] for text in texts)], positions)
            for texts in self._parts(segment)
        ]

    def _forward(self, ids: Sequence[Sequence[int]], lengths: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Estimates (m,) of m sequences; probabilities of labels (T, 4) of the first `lengths` tokens, or (0, 4)."""
        has_labels = self.facts.family == "xcomet"
        rows = torch.empty(len(ids), self.model.config.hidden_size, device=self.model.device)
        labels = [torch.empty(0, len(LABELS))] * len(ids)
        for members, output, mask in passes(self.model, ids, self.tokenizer.pad_token_id, with_states):
            states = output.hidden_states
            first = states if self.facts.layer_norm else [state[:, :1] for state in states]
            rows[members] = state_of(self.facts, self.head, first, mask)[: len(members), 0]
            if has_labels:
                logits = F.linear(
                    states[self.facts.word_layer].float(),
                    self.head["hidden2tag.weight"],
                    self.head["hidden2tag.bias"],
                )
                for row, place in enumerate(members):
                    labels[place] = logits[row, : lengths[place]].softmax(dim=1).cpu()
        return head_scores(estimator(self.facts, self.head), rows), labels

    def _result(self, values: Tensor, labels: Sequence[Tensor]) -> tuple[Tensor, list[Span]]:
        """The score of one segment, from its sequences."""
        if self.facts.family != "xcomet":
            return values.mean(), []
        is_single = len(values) == 1
        weights = (sum(SCORE_WEIGHTS),) if is_single else SCORE_WEIGHTS
        shares = (1.0,) if is_single else LABEL_WEIGHTS
        spans = error_spans(sum(share * part for share, part in zip(shares, labels, strict=True)))  # type: ignore[arg-type]
        penalty = min(MOST_PENALTY, sum(PENALTIES[span.severity] for span in spans))
        estimate = (values.clamp_max(1.0) * torch.tensor(weights)).sum()
        return estimate + ERROR_WEIGHT * (1 - penalty / MOST_PENALTY), spans


def joined_ids(parts: Sequence[Sequence[int]], positions: int) -> list[int]:
    """Token ids of several texts, each with its special tokens, as one sequence of at most `positions`.

    >>> joined_ids([[0, 5, 2], [0, 6, 7, 2]], 10)
    [0, 5, 2, 2, 6, 7, 2]
    """
    first, *others = parts
    sequence = [*first[:-1]]
    end = first[-1]
    for part in others:
        sequence += [end, end, *part[1:-1]]
    return [*sequence, end][:positions]


def error_spans(probabilities: Tensor) -> list[Span]:
    """The runs of tokens whose likeliest label is an error: (T, 4) -> spans. As in the published code, a span has the
    label of its first token, and one that no right token follows does not count.

    >>> error_spans(torch.eye(4)[[0, 1, 2, 0, 3]])
    [Span(start=1, end=3, severity=1, confidence=1.0)]
    """
    spans = []
    start = None
    largest, indices = probabilities.max(dim=1)
    labels = indices.tolist()
    for place, label in enumerate(labels):
        if label and start is None:
            start = place
        elif not label and start is not None:
            spans.append(Span(start, place, labels[start], float(largest[start:place].mean())))
            start = None
    return spans


def in_characters(span: Span, output: str, offsets: Sequence[tuple[int, int]]) -> ErrorSpan:
    """The characters from the first token's begin to the last one's end; `offsets`: those of each token.

    >>> in_characters(Span(1, 3, 2, 0.9), "a cat sat", [(0, 0), (0, 1), (2, 5), (6, 9), (0, 0)]).text
    'a cat'
    """
    start = offsets[span.start][0]
    end = offsets[span.end - 1][1]
    return ErrorSpan(output[start:end], start, end, span.label, span.confidence)
