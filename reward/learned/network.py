"""What every learned metric consists of, and what it scores: an output with its source and one reference text, or without
it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reward.learned.folder import Facts


class Segment(NamedTuple):
    """`source` is "" for a metric that reads none; `reference` None where there is none."""

    source: str
    output: str
    reference: str | None = None

    @property
    def texts(self) -> tuple[str, str, str]:
        """Source, output and reference text of a metric that needs all three."""
        if self.reference is None:
            raise ValueError("a segment without a reference text")
        return self.source, self.output, self.reference


@dataclass(eq=False)
class Network:
    """The settings of metric.json, the model below the head, its tokenizer, and the tensors of the head by name."""

    facts: Facts
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    head: Mapping[str, Tensor]
