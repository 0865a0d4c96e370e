"""What every learned metric consists of."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reward.learned.folder import Facts


@dataclass(eq=False)
class Network:
    """The settings of metric.json, the model below the head, its tokenizer, and the tensors of the head by name."""

    facts: Facts
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    head: Mapping[str, Tensor]
