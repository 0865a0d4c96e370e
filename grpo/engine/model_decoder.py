"""Decodes through the model's own forward pass, for every model that can pack; slower than
grpo/engine/decode_step.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.forward import masks_for, output_weight
from grpo.engine.kv_cache import GroupCache
from grpo.engine.products import format_of, product
from grpo.engine.token_rows import token_logits


class ModelDecoder:
    """Has the interface of `FastDecoder`: `prefill` once, then a `step` for each token."""

    def __init__(self, model: PreTrainedModel, tail: int):
        self.model = model
        self.cache = GroupCache(tail)

    def next_logits(
        self, ids: Tensor, positions: Tensor, mask: Tensor | dict[str, Tensor], at: Tensor
    ) -> Tensor:
        """(B, S) ids -> (B, V) fp32 logits after position `at` (B,) of each row; the cache takes the new keys
        and values.
        """
        inputs = {
            "input_ids": ids,
            "position_ids": positions,
            "attention_mask": mask,
            "past_key_values": self.cache,
            "use_cache": True,
        }
        rows = torch.arange(len(ids), device=ids.device)
        weight = output_weight(self.model)
        if weight is None:
            return token_logits(self.model, self.model(**inputs).logits[rows, at]).float()
        hidden = self.model.base_model(**inputs).last_hidden_state[rows, at]
        return product(hidden, weight, None, format_of(self.model)).float()

    def prefill(self, prompts: Sequence[Sequence[int]], group_size: int) -> Tensor:
        """Run every prompt once, right-padded -> (N, V) logits of the first tokens of its group.

        What stands in the padding comes after every real token, so a causal mask hides it here; later `real`
        does.
        """
        device = self.model.device
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        width = int(lengths.max())
        ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=device)
        positions = torch.arange(width, device=device).expand(len(prompts), -1)

        def causal(window: int | None) -> Tensor:
            distance = positions[:1, :, None] - positions[:1, None, :]
            return ((distance >= 0) & (distance < (window or width)))[:, None].expand(
                len(prompts), -1, -1, -1
            )

        logits = self.next_logits(ids, positions, masks_for(self.model, causal), lengths - 1)
        self.cache.expand(group_size)
        real = positions < lengths[:, None]
        logits, self.real, self.positions, self.next_position = (
            x.repeat_interleave(group_size, dim=0) for x in (logits, real, positions, lengths)
        )
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """(B,) newest tokens, directly behind what each row has -> (B, V) logits of the next ones."""
        self.real = torch.cat([self.real, torch.ones_like(self.real[:, :1])], dim=1)
        self.positions = torch.cat([self.positions, self.next_position[:, None]], dim=1)
        self.next_position = self.next_position + 1
        mask = masks_for(self.model, self.visible_keys)
        logits = self.next_logits(tokens[:, None], self.positions[:, -1:], mask, torch.zeros_like(tokens))
        self.cache.advance()
        return logits

    def visible_keys(self, window: int | None) -> Tensor:
        """(B, 1, 1, S) bool: which keys may the newest token look at?"""
        visible = self.real
        if window is not None:
            visible = visible & (self.positions[:, -1:] - self.positions < window)
        return visible[:, None, None]

    def keep(self, rows: Tensor) -> None:
        """Drop every row that is not in `rows`."""
        self.cache.keep(rows)
        self.real = self.real[rows]
        self.positions = self.positions[rows]
        self.next_position = self.next_position[rows]
