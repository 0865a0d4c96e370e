"""Frozen records handed from one stage of a step to the next; shapes are checked when they are made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

ROLLOUT_TENSORS = ("completion_ids", "lengths", "finished", "sampling_logps")
EXPERIENCE_TENSORS = (
    "rewards",
    "ref_logps",
    "old_logps",
    "text_rewards",
    "tries",
)  # the last three may be None
TERM = "term:"


@dataclass(frozen=True)
class Rollout:
    """The N = P x G completions of one step, and what the sampler says of each.

    prompt_ids      P token-id tuples, ragged
    completion_ids  (N, T) int64; row p * G + g is completion g of prompt p; beyond `lengths` the content is meaningless
    lengths         (N,) tokens of each completion, the end token included when it was sampled
    finished        (N,) True = an end token was sampled, False = cut by the length limit
    sampling_logps  (N, T) fp32 log-probability of each token when it was sampled
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
        """The N completions as lists of token ids, read from the device once."""
        return self._completions

    @cached_property
    def _completions(self) -> list[list[int]]:
        return [
            ids[:length]
            for ids, length in zip(self.completion_ids.tolist(), self.lengths.tolist(), strict=True)
        ]

    def groups(self) -> list[list[list[int]]]:
        """The completions of each prompt."""
        rows, size = self.completions(), self.group_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def num_tokens(self, prompt: int) -> int:
        """Tokens of a prompt and of all completions behind it."""
        group = self.completions()[prompt * self.group_size : (prompt + 1) * self.group_size]
        return len(self.prompt_ids[prompt]) + sum(map(len, group))

    def map_tensors(
        self, change: Callable[[Tensor], Tensor], prompt_ids: Sequence[Sequence[int]]
    ) -> "Rollout":
        """The rollout of `prompt_ids` with `change` applied to every tensor: to gather the shares of several processes."""
        tensors = {name: change(getattr(self, name)) for name in ROLLOUT_TENSORS}
        return Rollout(tuple(map(tuple, prompt_ids)), **tensors, group_size=self.group_size)

    def rows_of(self, prompts: Tensor) -> Tensor:
        """(K,) prompt indices -> (K * G,) row indices."""
        return (
            prompts[:, None] * self.group_size + torch.arange(self.group_size, device=prompts.device)
        ).flatten()


@dataclass(frozen=True)
class Experience:
    """A rollout and all that is computed of it before the first update; the rest of the step is a function of
    it.

    rewards (P, G), NaN where one is missing; terms name -> (P, G); ref_logps, old_logps (N, T), old_logps
    None when one update follows; text_rewards (P, 1) of the reference texts, where they join their groups; tries
    (P,) the try that gave each group, 0 = the first draw, where groups are drawn again (grpo/redraw.py).
    """

    rollout: Rollout
    rewards: Tensor
    terms: Mapping[str, Tensor]
    ref_logps: Tensor
    old_logps: Tensor | None = None
    text_rewards: Tensor | None = None
    tries: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the prompts, by name, for a checkpoint in the middle of a step."""
        named = {name: getattr(self.rollout, name) for name in ROLLOUT_TENSORS}
        own = {name: getattr(self, name) for name in EXPERIENCE_TENSORS}
        named |= {name: values for name, values in own.items() if values is not None}
        return named | {f"{TERM}{name}": values for name, values in self.terms.items()}

    @classmethod
    def of(
        cls, tensors: Mapping[str, Tensor], prompt_ids: Sequence[Sequence[int]], group_size: int
    ) -> "Experience":
        """The experience whose `tensors()` these are; the prompts, a function of (seed, step), are given."""
        rollout = Rollout(
            tuple(map(tuple, prompt_ids)),
            **{name: tensors[name] for name in ROLLOUT_TENSORS},
            group_size=group_size,
        )
        terms = {
            name.removeprefix(TERM): tensors[name] for name in sorted(tensors) if name.startswith(TERM)
        }  # files keep no order
        own = {name: tensors[name] for name in EXPERIENCE_TENSORS if name in tensors}
        return cls(rollout, terms=terms, **own)


@dataclass(frozen=True)
class LoopState:
    """The state of a training loop besides parameters and moments; everything else is a function of
    (seed, step).

    step     the step to run, or to go on with
    update   optimiser updates of that step already done; 0 = between two steps
    kl_coef  the KL coefficient of that step; None = as configured
    tensors  `Experience.tensors()` of a step that has begun its updates, else empty
    partial  what the log has gathered of that step, else empty; plain numbers
    tax      the state of the tax guard (grpo/stages/tax_controller.py), else empty; plain numbers
    """

    step: int = 0
    update: int = 0
    kl_coef: float | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    partial: Mapping[str, Any] = field(default_factory=dict)
    tax: Mapping[str, Any] = field(default_factory=dict)
