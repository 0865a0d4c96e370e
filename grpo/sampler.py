"""G completions a prompt from the policy: each prompt runs once, its group decodes together.

Pure temperature sampling, no truncation: the loss uses the full softmax at the same temperature, so what is sampled
is exactly what is trained. Randomness is addressed: the draw of row r at token t is a function of (seed, r, t) alone,
whatever else is in the batch. Lengths and reasons to stop are recorded here and never inferred later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.kv_cache import GroupCache
from grpo.policy import output_weight, per_layer_kind
from grpo.records import Rollout

BLOCK = 256  # vocabulary entries whose probabilities are added up before the fp64 cumulative sum
COMPACT_BELOW = 0.75  # drop finished rows when fewer than this share of the rows held are alive


@dataclass(frozen=True)
class Sampling:
    """How to decode. temperature 0 is greedy, and log-probabilities are then those of temperature 1."""

    group_size: int
    max_new_tokens: int
    temperature: float
    stop_ids: tuple[int, ...]


def draw(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sampling, (B, V) logits and (B,) uniforms in [0, 1) -> (B,) token ids and their log-probabilities.

    Probabilities are added up in blocks, then the cumulative sum runs in fp64 over blocks and inside the block hit: no
    sort, and no long fp32 cumulative sum whose rounding would favour some tokens.
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
    """(rows, tokens) fp64 uniforms; row r, counted from `first_row`, comes from a generator of its own, seeded by (*seed, r)."""
    return torch.from_numpy(np.stack([np.random.default_rng((*seed, first_row + row)).random(tokens) for row in range(rows)]))


def next_logits(
    model: PreTrainedModel, ids: Tensor, positions: Tensor, mask: Tensor | dict[str, Tensor], cache: GroupCache, at: Tensor
) -> Tensor:
    """(B, S) ids -> (B, V) fp32 logits after position `at` (B,) of each row; the cache takes the new keys and values."""
    inputs = {"input_ids": ids, "position_ids": positions, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
    rows = torch.arange(len(ids), device=ids.device)
    weight = output_weight(model)
    if weight is None:
        return model(**inputs).logits[rows, at].float()
    hidden = model.base_model(**inputs).last_hidden_state[rows, at]
    return (hidden @ weight.to(hidden.dtype).T).float()


@dataclass
class _Rows:
    """The rows still held in the cache: which rows of the rollout they are, which keys are real, and every key's position."""

    index: Tensor
    alive: Tensor
    real: Tensor
    positions: Tensor
    next_position: Tensor

    def keep(self, rows: Tensor) -> None:
        for name in ("index", "alive", "real", "positions", "next_position"):
            setattr(self, name, getattr(self, name)[rows])

    def append(self) -> None:
        """One more token each, directly behind what the row has."""
        self.real = torch.cat([self.real, torch.ones_like(self.alive)[:, None]], dim=1)
        self.positions = torch.cat([self.positions, self.next_position[:, None]], dim=1)
        self.next_position = self.next_position + 1

    def seen_by_last(self, window: int | None) -> Tensor:
        """(B, 1, 1, S) bool: which keys may the newest token look at?"""
        seen = self.real
        if window is not None:
            seen = seen & (self.positions[:, -1:] - self.positions < window)
        return seen[:, None, None]


def prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], cache: GroupCache, group_size: int) -> tuple[Tensor, _Rows]:
    """Run every prompt once, right-padded -> logits of the first tokens (N, V), and the N rows that decode behind them.

    What stands in the padding comes after every real token, so a causal mask hides it here; later `real` does.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    width = int(lengths.max())
    ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=model.device)
    positions = torch.arange(width, device=model.device).expand(len(prompts), -1)

    def causal(window: int | None) -> Tensor:
        distance = positions[:1, :, None] - positions[:1, None, :]
        return ((distance >= 0) & (distance < (window or width)))[:, None].expand(len(prompts), -1, -1, -1)

    logits = next_logits(model, ids, positions, per_layer_kind(model, causal), cache, lengths - 1)
    cache.expand(group_size)
    real = positions < lengths[:, None]
    logits, real, positions, lengths = (x.repeat_interleave(group_size, dim=0) for x in (logits, real, positions, lengths))
    index = torch.arange(len(lengths), device=model.device)
    return logits, _Rows(index, torch.ones_like(index, dtype=torch.bool), real, positions, lengths)


@torch.no_grad()
def generate(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: Sampling, seed: tuple[int, ...], first_row: int = 0
) -> Rollout:
    """Decode `settings.group_size` completions of each of P prompts; see `Rollout` for what comes back.

    `first_row` is the number of the first completion where these prompts are a share of several processes.
    """
    cache = GroupCache(tail=settings.max_new_tokens)
    logits, rows = prefill(model, prompts, cache, settings.group_size)
    shape = (len(logits), settings.max_new_tokens)
    uniforms = (uniforms_for(seed, *shape, first_row) if settings.temperature > 0 else torch.zeros(shape)).to(model.device)
    ids, logps = torch.zeros(shape, dtype=torch.int64, device=model.device), torch.zeros(shape, device=model.device)
    lengths = torch.zeros(shape[0], dtype=torch.int64, device=model.device)
    finished = torch.zeros(shape[0], dtype=torch.bool, device=model.device)
    stop_ids = torch.tensor(settings.stop_ids, device=model.device)
    for t in range(settings.max_new_tokens):
        tokens, token_logps = pick(logits, uniforms[rows.index, t], settings.temperature)
        live = rows.index[rows.alive]
        ids[live, t], logps[live, t], lengths[live] = tokens[rows.alive], token_logps[rows.alive], t + 1
        stopped = torch.isin(tokens, stop_ids)
        finished[live] = stopped[rows.alive]
        rows.alive &= ~stopped
        num_alive = int(rows.alive.sum())
        if num_alive == 0 or t + 1 == settings.max_new_tokens:
            break
        if num_alive < COMPACT_BELOW * len(rows.index):
            kept = rows.alive.nonzero()[:, 0]
            tokens = tokens[kept]
            cache.keep(kept)
            rows.keep(kept)
        rows.append()
        mask = per_layer_kind(model, rows.seen_by_last)
        at = torch.zeros_like(rows.index)
        logits = next_logits(model, tokens[:, None], rows.positions[:, -1:], mask, cache, at)
        cache.advance()
    return Rollout(tuple(map(tuple, prompts)), ids, lengths, finished, logps, settings.group_size)
