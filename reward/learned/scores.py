"""Scores of a learned metric for rows of texts: every distinct segment once, those seen before from a cache, the best
of several reference texts.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from data.errors import InputError
from reward.encoders.folder import folder_hash
from reward.encoders.pooled import batch_tokens
from reward.learned.bleurt import Bleurt
from reward.learned.comet import FEATURES, Comet
from reward.learned.folder import LARGEST, Facts, check_parts, metric_folder, read_facts, read_parts
from reward.learned.heads import head_shapes
from reward.learned.metricx import MetricX
from reward.learned.network import Segment
from reward.learned.unified import ErrorSpan, Unified

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}  # of weights and states below the head
CAPACITY = 1 << 16  # scores that are kept, of 100 bytes each
References = Sequence[Sequence[str]]


class Metric(Protocol):
    """A learned metric: segments -> numbers on its own scale."""

    facts: Facts
    model: Any

    def scores(self, segments: Sequence[Segment]) -> Tensor:
        """(n,) fp32 on the CPU; number i depends on segments[i] alone."""
        ...


MAKERS: dict[str, Callable[..., Metric]] = {
    "comet": Comet, "cometkiwi": Unified, "unite": Unified, "xcomet": Unified, "metricx": MetricX, "bleurt": Bleurt
}  # fmt: skip


def shapes_of(facts: Facts, config: Any) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of a metric's head over a model with the sizes of `config`."""
    width = config.hidden_size
    if facts.family == "metricx":
        return {"score.weight": (1, width)}
    if facts.family == "bleurt":
        pooler = {"pooler.weight": (width, width), "pooler.bias": (width,)}
        return pooler | {"classifier.weight": (1, width), "classifier.bias": (1,)}
    return head_shapes(facts, width, config.num_hidden_layers + 1, FEATURES if facts.family == "comet" else 1)


class Scorer:
    """One metric, loaded when the first segment needs it, with its cache. `num_requested` and `num_scored` count
    segments, for the log.
    """

    def __init__(
        self, facts: Facts, load: Callable[[], Metric], fingerprint: str, capacity: int = CAPACITY
    ) -> None:
        self.facts = facts
        self.load = load
        self.fingerprint = fingerprint
        self._metric: Metric | None = None
        self.capacity = capacity
        self.num_requested = 0
        self.num_scored = 0
        self._cache: dict[bytes, float] = {}  # in order of arrival

    def scores(self, sources: Sequence[str], outputs: Sequence[str], references: References) -> Tensor:
        """N rows -> (N,) fp32 on the metric's own scale; of several reference texts the best score counts.

        Raises InputError for a row without a reference text where the metric needs one.
        """
        rows = self._rows(sources, outputs, references)
        values = self._values([*chain.from_iterable(rows)])
        best = max if self.facts.better > 0 else min
        taken = iter(values)
        return torch.tensor([best(islice(taken, len(row))) for row in rows], dtype=torch.float32)

    def rewards(self, sources: Sequence[str], outputs: Sequence[str], references: References) -> Tensor:
        """The same where higher is better: a number of errors s becomes 1 - s / the largest one, in [0, 1]."""
        values = self.scores(sources, outputs, references)
        largest = LARGEST.get(self.facts.family)
        return values if largest is None else 1 - values / largest

    def judgements(
        self, sources: Sequence[str], outputs: Sequence[str], references: References
    ) -> tuple[Tensor, list[list[ErrorSpan]]]:
        """The scores of xCOMET, which are not kept, and the errors that it marks in each output; of several reference
        texts by the one with the best score. Raises ValueError for another family.
        """
        self._metric = self._metric or self.load()
        if not (self.facts.marks_errors and isinstance(self._metric, Unified)):
            raise ValueError(f"{self.facts.family} marks no errors; use scores()")
        rows = self._rows(sources, outputs, references)
        segments = list(dict.fromkeys(chain.from_iterable(rows)))
        scores, errors = self._metric.judgements(segments)
        judgements = dict(zip(segments, zip(scores.tolist(), errors, strict=True), strict=True))
        best = [max((judgements[one] for one in row), key=lambda pair: pair[0]) for row in rows]
        return torch.tensor([score for score, _ in best]), [spans for _, spans in best]

    @property
    def signature(self) -> str:
        """Family and fingerprint of weights, tokenizer, settings and arithmetic."""
        return f"{self.facts.family}:{self.fingerprint[:12]}"

    def release(self) -> None:
        """Give the model's memory back; it is loaded again when a new segment needs it."""
        self._metric = None

    def _rows(
        self, sources: Sequence[str], outputs: Sequence[str], references: References
    ) -> list[list[Segment]]:
        return [
            self._segments(source, output, texts)
            for source, output, texts in zip(sources, outputs, references, strict=True)
        ]

    def _segments(self, source: str, output: str, references: Sequence[str]) -> list[Segment]:
        if self.facts.needs_reference and not references:
            raise InputError(
                f"the metric {self.facts.family} needs a reference text, and there is none for the source "
                f"{source[:80]!r}; take a metric without references, such as cometkiwi or metricx"
            )
        texts: Sequence[str | None] = references if references and self.facts.reads_reference else [None]
        return [Segment(source if self.facts.needs_source else "", output, text) for text in texts]

    def _values(self, segments: Sequence[Segment]) -> list[float]:
        keys = [hashlib.blake2b(repr(segment).encode(), digest_size=16).digest() for segment in segments]
        fresh = {key: one for key, one in zip(keys, segments, strict=True) if key not in self._cache}
        self.num_requested += len(segments)
        self.num_scored += len(fresh)
        if fresh and self._metric is None:
            self._metric = self.load()
        scores = self._metric.scores(list(fresh.values())).tolist() if self._metric and fresh else []
        self._cache |= zip(fresh, scores, strict=True)
        values = [self._cache[key] for key in keys]
        for key in list(islice(self._cache, max(0, len(self._cache) - self.capacity))):
            del self._cache[key]
        return values


def open_scorer(name: str, device: torch.device, number_format: str = "fp32") -> Scorer:
    """The scorer of the metric in a folder; its model computes in `number_format`, its head in fp32, and is loaded later.
    Raises InputError for what is no such folder.
    """
    folder = metric_folder(name)
    facts = read_facts(folder)
    check_parts(folder)
    fingerprint = folder_hash(folder, facts, batch_tokens(device), device.type, number_format)
    return Scorer(facts, partial(_load, folder, facts, device, FORMATS[number_format]), fingerprint)


def _load(folder: Path, facts: Facts, device: torch.device, dtype: torch.dtype) -> Metric:
    model, tokenizer, head = read_parts(folder, lambda config: shapes_of(facts, config))
    parts = {key: tensor.to(device) for key, tensor in head.items()}
    return MAKERS[facts.family](facts, model.to(device, dtype), tokenizer, parts)  # type: ignore[arg-type]


class Metrics:
    """The metrics of `reward.metrics`: name -> folder, each opened when a term or the evaluation asks for it.

    `one_at_a_time`: of all their models at most one is in memory. `number_format`: in which they compute.
    """

    def __init__(
        self,
        folders: Mapping[str, str],
        device: torch.device,
        one_at_a_time: bool = False,
        number_format: str = "fp32",
    ) -> None:
        self.folders = folders
        self.device = device
        self.one_at_a_time = one_at_a_time
        self.number_format = number_format
        self._scorers: dict[str, Scorer] = {}

    def __getitem__(self, name: str) -> Scorer:
        if name not in self._scorers:
            self._scorers[name] = open_scorer(self.folders[name], self.device, self.number_format)
        if self.one_at_a_time:
            for other in self._scorers.keys() - {name}:
                self._scorers[other].release()
        return self._scorers[name]
