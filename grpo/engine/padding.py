"""Gives each completion a row of its own, for models that cannot compute packed rows.

These have a recurrent or a convolution layer, or take a token's place in the row for its position. Each row is a copy of
the prompt and the completion behind it, padded at its end. No causal model sees what comes
after a token, whatever it does with a mask.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.packing import Packed

CAUSE = "cause_of_padding"  # attribute of a model that needs padded rows


def use_padding(model: PreTrainedModel, cause: str) -> None:
    """From now on compute padded rows with `model`, and with its copies; `cause` says why it cannot pack."""
    setattr(model, CAUSE, cause)


def cause_of_padding(model: PreTrainedModel) -> str:
    """Why the rows of a model are padded; "" where they are packed."""
    return str(vars(model).get(CAUSE, ""))


class PaddedRows(NamedTuple):
    """The N completions of a packed row, W tokens each; one row where there are none.

    input_ids, attention_mask  (N, W); 1 = a token
    source                     (K,) index into the N * W hidden states: the one that predicts target k
    """

    input_ids: Tensor
    attention_mask: Tensor
    source: Tensor

    def inputs(self) -> dict[str, Any]:
        """Arguments of a forward pass."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask, "use_cache": False}


def padded_rows(packed: Packed) -> PaddedRows:
    """A packed row as padded ones. As in the packed row, a completion's last token is only predicted."""
    is_prompt = packed.segment_ids[0] == 0
    prompt = packed.group_ids[0, is_prompt]
    prompt_lengths = prompt.bincount()
    group_size = max(1, packed.shape[0] // len(prompt_lengths))
    starts = prompt_lengths.repeat_interleave(group_size)
    row = packed.slots // packed.shape[1]
    place = packed.slots % packed.shape[1]
    fed = (row.bincount(minlength=len(starts)) - 1).clamp_min(0)
    lengths = starts + fed
    width = int(lengths.max())
    prompts = packed.input_ids.new_zeros(len(prompt_lengths), width)
    prompts[prompt, packed.position_ids[0, is_prompt]] = packed.input_ids[0, is_prompt]
    ids = prompts.repeat_interleave(group_size, dim=0)
    is_fed = place < fed[row]
    ids[row[is_fed], (starts[row] + place)[is_fed]] = packed.targets[is_fed]
    mask = torch.arange(width, device=ids.device) < lengths[:, None]
    return PaddedRows(ids, mask.long(), row * width + starts[row] + place - 1)
