"""Prompts and completions -> rows for one forward pass, each prompt stored once in front of its whole group.

A row is `prompt, completion 1, completion 2, ...`; every completion sees the prompt and itself, nothing else, and
takes positions as if it followed the prompt directly. For G completions of R tokens behind P prompt tokens that is
P + G R tokens instead of G (P + R). With a group of one, the same code packs SFT examples, evaluation choices and
plain text. Row layout and masks come from lengths, never from token values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = -1


@dataclass(frozen=True)
class Packed:
    """R rows of S tokens, and the K completion tokens whose probability they predict.

    input_ids, position_ids  (R, S)
    segment_ids              (R, S) 0 = prompt, g + 1 = completion g, -1 = padding
    source                   (K,) index into the R * S hidden states: the one that predicts target k
    targets                  (K,) token ids
    slots                    (K,) index into the N * T result, row-major
    shape                    (N, T)
    """

    input_ids: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    source: Tensor
    targets: Tensor
    slots: Tensor
    shape: tuple[int, int]

    def to(self, device: torch.device) -> "Packed":
        moved = {
            name: getattr(self, name).to(device) for name in ("input_ids", "position_ids", "segment_ids", "source", "targets", "slots")
        }
        return Packed(**moved, shape=self.shape)


def row_tokens(prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> int:
    """Tokens of a row: a completion's last token is only predicted, never fed."""
    return len(prompt) + sum(max(len(completion) - 1, 0) for completion in completions)


def pack(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], group_size: int, width: int | None = None) -> Packed:
    """P prompts and their P * G completions (row p * G + g) -> a `Packed` of P rows.

    `width` is T of the result, by default the longest completion. Raises ValueError for an empty prompt or a count
    of completions that is not P * G.
    """
    if len(completions) != len(prompts) * group_size:
        raise ValueError(f"{len(completions)} completions for {len(prompts)} prompts x {group_size} a group")
    if any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("a prompt has no tokens; give it at least a beginning-of-text token")
    width = width or max((len(completion) for completion in completions), default=1)
    groups = [completions[p * group_size : (p + 1) * group_size] for p in range(len(prompts))]
    length = max(row_tokens(prompt, group) for prompt, group in zip(prompts, groups, strict=True))
    inputs, positions, segments = (torch.full((len(prompts), length), fill) for fill in (0, 0, PADDING))
    source: list[int] = []
    targets: list[int] = []
    slots: list[int] = []
    for p, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        ids, places, owners = list(prompt), list(range(len(prompt))), [0] * len(prompt)
        for g, completion in enumerate(group):
            fed = max(len(completion) - 1, 0)
            predictors = [len(prompt) - 1, *range(len(ids), len(ids) + fed)][: len(completion)]
            source.extend(p * length + index for index in predictors)
            targets.extend(completion)
            slots.extend(range((p * group_size + g) * width, (p * group_size + g) * width + len(completion)))
            ids.extend(completion[:fed])
            places.extend(range(len(prompt), len(prompt) + fed))
            owners.extend([g + 1] * fed)
        for tensor, values in ((inputs, ids), (positions, places), (segments, owners)):
            tensor[p, : len(values)] = torch.tensor(values)
    flat = [torch.tensor(values, dtype=torch.int64) for values in (source, targets, slots)]
    return Packed(inputs, positions, segments, flat[0], flat[1], flat[2], (len(completions), width))


def visible(segment_ids: Tensor, position_ids: Tensor, window: int | None = None) -> Tensor:
    """(R, S), (R, S) -> (R, 1, S, S) bool: may query q look at key k?

    Prompt keys are open to all, a completion's keys only to itself, both only backwards and at most `window`
    positions. A padding query sees itself, so that no softmax is over nothing.
    """
    query, key = segment_ids[:, :, None], segment_ids[:, None, :]
    distance = position_ids[:, :, None] - position_ids[:, None, :]
    allowed = ((key == 0) | (key == query)) & (query != PADDING) & (key != PADDING) & (distance >= 0)
    if window is not None:
        allowed &= distance < window
    itself = torch.eye(segment_ids.shape[1], dtype=torch.bool, device=segment_ids.device)
    return (allowed | itself)[:, None]


def by_budget(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Group row indices into micro-batches of at most `max_tokens` padded tokens, rows of like length together.

    A row longer than the budget gets a micro-batch of its own.

    >>> by_budget([5, 2, 5, 3], max_tokens=10)
    [[0, 2], [3, 1]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
