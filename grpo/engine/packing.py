"""Prompts and completions -> one row of tokens for a forward pass, each prompt stored once in front of its
whole group.

The row is `prompt, completion 1, completion 2, ..., next prompt, ...` without any padding. Every completion
sees its own prompt and itself, nothing else, and takes positions as if it followed the prompt directly. For G
completions of R tokens behind P prompt tokens that is P + G R tokens instead of G (P + R). With a group of
one, the same code packs SFT examples, evaluation choices and plain text. Layout and masks come from lengths,
never from token values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

FILLER = (0,)  # the tokens of a row without prompts


@dataclass(frozen=True)
class Packed:
    """One row of S tokens, and the K completion tokens whose probability it predicts.

    input_ids, position_ids  (1, S)
    group_ids                (1, S) which prompt, with its group, a token belongs to
    segment_ids              (1, S) 0 = prompt, g + 1 = completion g
    source                   (K,) index into the S hidden states: the one that predicts target k
    targets                  (K,) token ids
    slots                    (K,) index into the N * T result, row-major
    shape                    (N, T)
    """

    input_ids: Tensor
    position_ids: Tensor
    group_ids: Tensor
    segment_ids: Tensor
    source: Tensor
    targets: Tensor
    slots: Tensor
    shape: tuple[int, int]

    def to(self, device: torch.device) -> "Packed":
        """The same on a device; the host does not wait for the copy, which is one for all tensors."""
        if device.type == self.source.device.type:
            return self
        tensors = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "shape"}
        parts = send(torch.cat([x.flatten() for x in tensors.values()]), device).split(
            [x.numel() for x in tensors.values()]
        )
        tensors_on_device = {
            name: part.view_as(x) for (name, x), part in zip(tensors.items(), parts, strict=True)
        }
        return replace(self, **tensors_on_device)


def send(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device; the host goes on while it is copied."""
    if device.type == "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def row_tokens(prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> int:
    """Tokens of a group in the row: a completion's last token is only predicted, never fed."""
    return len(prompt) + sum(max(len(completion) - 1, 0) for completion in completions)


def pack(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    group_size: int,
    width: int | None = None,
) -> Packed:
    """P prompts and their P * G completions (completion g of prompt p is number p * G + g) -> one packed row.

    `width` is T of the result, by default the longest completion. Without prompts the row is one token, behind
    which nothing is predicted. Raises ValueError for an empty prompt or a count of completions that is not P * G.
    """
    if not prompts:
        prompts = [FILLER]
        group_size = 0
    if len(completions) != len(prompts) * group_size:
        raise ValueError(f"{len(completions)} completions for {len(prompts)} prompts x {group_size} a group")
    if any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("a prompt has no tokens; give it at least a beginning-of-text token")
    width = width or max((len(completion) for completion in completions), default=1)
    ids: list[int] = []
    positions: list[int] = []
    groups: list[int] = []
    segments: list[int] = []
    source: list[int] = []
    targets: list[int] = []
    slots: list[int] = []
    for p, prompt in enumerate(prompts):
        prompt_end = len(ids) + len(prompt) - 1
        ids.extend(prompt)
        positions.extend(range(len(prompt)))
        segments.extend([0] * len(prompt))
        for g, completion in enumerate(completions[p * group_size : (p + 1) * group_size]):
            fed = max(len(completion) - 1, 0)
            source.extend([prompt_end, *range(len(ids), len(ids) + fed)][: len(completion)])
            targets.extend(completion)
            slots.extend(range((p * group_size + g) * width, (p * group_size + g) * width + len(completion)))
            ids.extend(completion[:fed])
            positions.extend(range(len(prompt), len(prompt) + fed))
            segments.extend([g + 1] * fed)
        groups.extend([p] * (len(ids) - len(groups)))
    row = [torch.tensor([values], dtype=torch.int64) for values in (ids, positions, groups, segments)]
    flat = [torch.tensor(values, dtype=torch.int64) for values in (source, targets, slots)]
    return Packed(row[0], row[1], row[2], row[3], flat[0], flat[1], flat[2], (len(completions), width))


def joined_rows(first: Packed, second: Packed) -> Packed:
    """Two rows with groups of one as a single row; the second's targets follow the first's, and have no slots."""

    def ids(name: str, more: int = 0) -> Tensor:
        return torch.cat([getattr(first, name), getattr(second, name) + more], dim=-1)

    return Packed(
        ids("input_ids"), ids("position_ids"), ids("group_ids", first.shape[0]), ids("segment_ids"),
        ids("source", first.input_ids.shape[1]), ids("targets"), first.slots, first.shape,
    )  # fmt: skip


def visible(packed: Packed, window: int | None = None) -> Tensor:
    """(1, 1, S, S) bool: may query q look at key k?

    Only inside its group; there at the prompt and at its own completion, backwards and at most `window`
    positions.
    """

    def pairs(ids: Tensor) -> tuple[Tensor, Tensor]:
        return ids[:, :, None], ids[:, None, :]

    (query_group, key_group), (query, key), (here, there) = map(
        pairs, (packed.group_ids, packed.segment_ids, packed.position_ids)
    )
    is_visible = (query_group == key_group) & ((key == 0) | (key == query)) & (here >= there)
    if window is not None:
        is_visible &= here - there < window
    return is_visible[:, None]


def by_budget(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cut items, in their order, into micro-batches of at most `max_tokens` tokens; a longer one gets a batch
    of its own.

    >>> by_budget([5, 2, 5, 3, 20], max_tokens=10)
    [[0, 1], [2, 3], [4]]
    """
    batches: list[list[int]] = []
    total = 0
    for index, length in enumerate(lengths):
        if batches and total + length <= max_tokens:
            batches[-1].append(index)
            total += length
        else:
            batches.append([index])
            total = length
    return batches
