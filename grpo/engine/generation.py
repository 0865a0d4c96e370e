"""The sampler for models that cannot pack: transformers' own generation, with our draws in it.

Each family keeps its state in a cache of its own; transformers knows all of them. A call has rows of one length,
so that nothing is padded.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from grpo.engine.draw import Sampling, pick
from grpo.engine.token_rows import token_logits
from grpo.records import Rollout


class Draws(LogitsProcessor):
    """Draws each row's next token by its own uniforms, and leaves transformers that token alone to choose.

    uniforms (B, T); `ids` and `logps` get a (B,) tensor for every token.
    """

    def __init__(self, model: PreTrainedModel, uniforms: Tensor, temperature: float):
        self.model = model
        self.uniforms = uniforms
        self.temperature = temperature
        self.ids: list[Tensor] = []
        self.logps: list[Tensor] = []

    def __call__(self, _input_ids: Tensor, scores: Tensor) -> Tensor:
        """(B, V) logits -> (B, V), 0 at the token that was drawn and -inf elsewhere."""
        tokens, logps = pick(
            token_logits(self.model, scores).float(), self.uniforms[:, len(self.ids)], self.temperature
        )
        self.ids.append(tokens)
        self.logps.append(logps)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


@contextmanager
def plain_settings(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the model has no settings of generation, such as a penalty: they would change what is drawn."""
    before = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = before


def decode_by_generation(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: Sampling, uniforms: Tensor
) -> Rollout:
    """Decode by `model.generate`, prompts of one length together; `uniforms` (N, T)."""
    shape = num_rows, tail = uniforms.shape
    device = uniforms.device
    stop_ids = torch.tensor(settings.stop_ids, dtype=torch.int64, device=device)
    ids = torch.zeros(shape, dtype=torch.int64, device=device)
    logps = torch.zeros(shape, device=device)
    by_length: dict[int, list[int]] = defaultdict(list)
    for row in range(num_rows):
        by_length[len(prompts[row // settings.group_size])].append(row)
    generator: Any = model
    plan = GenerationConfig(
        max_new_tokens=tail, do_sample=False, use_cache=True, pad_token_id=0, eos_token_id=list(settings.stop_ids) or None
    )  # fmt: skip
    for rows in by_length.values():
        inputs = torch.tensor([list(prompts[row // settings.group_size]) for row in rows], device=device)
        draws = Draws(model, uniforms[rows], settings.temperature)
        with plain_settings(model):
            generator.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                generation_config=plan,
                logits_processor=LogitsProcessorList([draws]),
            )
        ids[rows, : len(draws.ids)] = torch.stack(draws.ids, dim=1)
        logps[rows, : len(draws.ids)] = torch.stack(draws.logps, dim=1)
    is_stop = torch.isin(ids, stop_ids)
    has_end = is_stop.any(dim=1)
    lengths = torch.where(has_end, is_stop.long().argmax(dim=1) + 1, tail)
    is_written = torch.arange(tail, device=device) < lengths[:, None]
    return Rollout(
        tuple(map(tuple, prompts)),
        ids * is_written,
        lengths,
        has_end,
        logps * is_written,
        settings.group_size,
    )
