"""Frozen records handed from one stage of a step to the next; shapes are checked when they are made."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rollout:
    """One step's N = P x G completions and everything the sampler knew about them.

    prompt_ids      P token-id tuples, ragged
    completion_ids  (N, T) int64; row p * G + g is completion g of prompt p; beyond `lengths` the content is meaningless
    lengths         (N,) tokens of each completion, the end token included when it was sampled
    finished        (N,) True = an end token was sampled, False = cut by the length limit
    sampling_logps  (N, T) fp32 log-probability of each token at the moment it was drawn
    """

    prompt_ids: tuple[tuple[int, ...], ...]
    completion_ids: Tensor
    lengths: Tensor
    finished: Tensor
    sampling_logps: Tensor
    group_size: int

    def __post_init__(self) -> None:
        rows = len(self.prompt_ids) * self.group_size
        shapes = {
            "completion_ids": self.completion_ids.shape[:1] == (rows,) and self.completion_ids.dim() == 2,
            "lengths": self.lengths.shape == (rows,),
            "finished": self.finished.shape == (rows,),
            "sampling_logps": self.sampling_logps.shape == self.completion_ids.shape,
        }
        wrong = [name for name, right in shapes.items() if not right]
        if wrong:
            raise ValueError(
                f"rollout of {len(self.prompt_ids)} prompts x {self.group_size} completions: wrong shape of {', '.join(wrong)}"
            )

    @property
    def completion_mask(self) -> Tensor:
        """(N, T) bool, True = a token of the completion. Made from lengths, never from token values."""
        return torch.arange(self.completion_ids.shape[1], device=self.lengths.device) < self.lengths[:, None]

    def completions(self) -> list[list[int]]:
        """The N completions as lists of token ids."""
        return [ids[:length] for ids, length in zip(self.completion_ids.tolist(), self.lengths.tolist(), strict=True)]

    def rows_of(self, prompts: Tensor) -> Tensor:
        """(K,) prompt indices -> (K * G,) row indices."""
        return (prompts[:, None] * self.group_size + torch.arange(self.group_size, device=prompts.device)).flatten()


@dataclass(frozen=True)
class LoopState:
    """What a training loop must remember besides tensors: the next step."""

    step: int = 0
