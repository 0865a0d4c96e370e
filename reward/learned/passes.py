"""Runs a transformers model over token sequences, in shapes that follow from a sequence's own length alone, so that
the score of a text does not depend on the texts around it (reward/encoders/pooled.py says why).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from reward.encoders.pooled import batch_tokens, last_positions, length_batches, pad_rows
from reward.encoders.pooling import Head, in_blocks

# (sequences, shape of a pass) -> inputs by name
More = Callable[[list[int], tuple[int, int]], dict[str, Any]]


def passes(
    model: PreTrainedModel, ids: Sequence[Sequence[int]], pad: int, more: More
) -> Iterator[tuple[list[int], Any, Tensor]]:
    """Yields, for each forward pass, the indices of its sequences, the model's output, and the mask (rows, T) of tokens
    that count; rows behind the indices are padding. `more` gives further inputs of the model.
    """
    positions = last_positions(model)
    device = model.device
    with torch.autocast(device.type, enabled=False):
        for members, shape in length_batches([*map(len, ids)], positions, batch_tokens(device)):
            padded_ids, lengths = pad_rows([ids[i] for i in members], shape, pad)
            mask = (torch.arange(shape[1]) < lengths[:, None]).to(device)
            inputs = {"input_ids": padded_ids.to(device), "attention_mask": mask.long()}
            yield members, model(**inputs, **more(members, shape)), mask


def with_states(members: list[int], shape: tuple[int, int]) -> dict[str, Any]:
    """Asks for the hidden states of every layer."""
    return {"output_hidden_states": True}


def head_scores(head: Head, rows: Tensor) -> Tensor:
    """Run `head` by blocks of rows: (n, D) -> (n,) on the CPU."""
    return in_blocks(head, rows).cpu()
