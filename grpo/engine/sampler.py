"""G completions a prompt from the policy: each prompt runs once, its group decodes together.

Pure temperature sampling, no truncation: the loss uses the full softmax at the same temperature, so what is
sampled is exactly what is trained. Randomness is addressed: the draw of row r at token t is a function of
(seed, r, t) alone, whatever else is in the batch. Lengths and reasons to stop are recorded here and never
inferred later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.decode_step import FastDecoder, is_known
from grpo.engine.kv_cache import GroupCache
from grpo.engine.model import masks_for, output_weight
from grpo.engine.products import format_of, product
from grpo.records import Rollout

BLOCK = 256  # vocabulary entries whose probabilities are added up before the fp64 cumulative sum
COMPACT_BELOW = 0.75  # drop finished rows when fewer than this share of the active rows go on


@dataclass(frozen=True)
class Sampling:
    """How to decode. temperature 0 is greedy, and log-probabilities are then those of temperature 1.

    `fast`: by the forward pass of grpo/engine/decode_step.py where it knows the model, else always by the
    model's own.
    """

    group_size: int
    max_new_tokens: int
    temperature: float
    stop_ids: tuple[int, ...]
    fast: bool = True


def draw(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sampling, (B, V) logits and (B,) uniforms in [0, 1) -> (B,) token ids and their
    log-probabilities.

    Probabilities are added up in blocks, then the cumulative sum runs in fp64 over blocks and inside the
    block hit: no sort, and no long fp32 cumulative sum whose rounding would favour some tokens.
    """
    rows, vocabulary = logits.shape
    peak = logits.amax(dim=1, keepdim=True)
    weights = torch.nn.functional.pad((logits - peak).exp_(), (0, -vocabulary % BLOCK)).view(rows, -1, BLOCK)
    sums = weights.sum(dim=2).double()
    ends = sums.cumsum(dim=1)
    goal = uniforms.to(logits.device)[:, None] * ends[:, -1:]
    block = torch.searchsorted(ends, goal, right=True).clamp_max(ends.shape[1] - 1)
    inside = weights.gather(1, block[:, :, None].expand(-1, 1, BLOCK))[:, 0].double()
    place = torch.searchsorted(inside.cumsum(dim=1), goal - (ends - sums).gather(1, block), right=True)
    last_possible = BLOCK - 1 - (inside.flip(1) > 0).int().argmax(dim=1, keepdim=True)
    tokens = block * BLOCK + torch.minimum(place, last_possible)
    return tokens[:, 0], (logits.gather(1, tokens) - peak - ends[:, -1:].log().float())[:, 0]


def pick(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Next tokens and log-probabilities at `temperature`; the arg-max when it is 0."""
    if temperature > 0:
        return draw(logits / temperature, uniforms)
    tokens = logits.argmax(dim=1)
    return tokens, logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=1)


def uniforms_for(seed: tuple[int, ...], rows: int, tokens: int, first_row: int = 0) -> Tensor:
    """(rows, tokens) fp64 uniforms; row r, counted from `first_row`, comes from a generator of its own,
    seeded by (*seed, r).
    """
    return torch.from_numpy(
        np.stack([np.random.default_rng((*seed, first_row + row)).random(tokens) for row in range(rows)])
    )


class ModelDecoder:
    """Decodes through the model's own forward, whatever it is; the same interface as
    `FastDecoder`.
    """

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
            return self.model(**inputs).logits[rows, at].float()
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


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    settings: Sampling,
    seed: tuple[int, ...],
    first_row: int = 0,
) -> Rollout:
    """Decode `settings.group_size` completions of each of P prompts; see `Rollout` for what comes back.

    `first_row` is the number of the first completion where these prompts are a share of several processes.
    """
    is_fast = settings.fast and is_known(model)
    tail = settings.max_new_tokens
    num_rows = len(prompts) * settings.group_size
    decoder = FastDecoder(model, tail, num_rows) if is_fast else ModelDecoder(model, tail)
    logits = decoder.prefill(prompts, settings.group_size)
    shape = (num_rows, tail)
    device = model.device
    uniforms = (uniforms_for(seed, *shape, first_row) if settings.temperature > 0 else torch.zeros(shape)).to(
        device
    )
    ids = torch.zeros(shape, dtype=torch.int64, device=device)
    logps = torch.zeros(shape, device=device)
    lengths = torch.zeros(num_rows, dtype=torch.int64, device=device)
    finished = torch.zeros(num_rows, dtype=torch.bool, device=device)
    stop_ids = torch.tensor(settings.stop_ids, device=device)
    index = torch.arange(num_rows, device=device)  # the active rows, and which of them go on
    alive = torch.ones_like(finished)
    for t in range(tail):
        tokens, token_logps = pick(logits, uniforms[index, t], settings.temperature)
        live = index[alive]
        ids[live, t] = tokens[alive]
        logps[live, t] = token_logps[alive]
        lengths[live] = t + 1
        stopped = torch.isin(tokens, stop_ids)
        finished[live] = stopped[alive]
        alive &= ~stopped
        num_alive = int(alive.sum())
        if num_alive == 0 or t + 1 == tail:
            break
        if num_alive < COMPACT_BELOW * len(index):
            rows = alive.nonzero()[:, 0]
            index = index[rows]
            alive = alive[rows]
            tokens = tokens[rows]
            decoder.keep(rows)
        logits = decoder.step(tokens)
    return Rollout(tuple(map(tuple, prompts)), ids, lengths, finished, logps, settings.group_size)
