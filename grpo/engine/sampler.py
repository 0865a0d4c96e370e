"""G completions a prompt from the policy: each prompt runs once, its group decodes together.

Pure temperature sampling, no truncation: the loss uses the full softmax at the same temperature, so what is
sampled is exactly what is trained. Randomness is addressed: the draw of row r at token t is a function of
(seed, r, t) alone, whatever else is in the batch. Lengths and reasons to stop are recorded here and never
inferred later.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.capture import say_once
from grpo.engine.decode_step import FastDecoder
from grpo.engine.draw import Sampling, pick, uniforms_for
from grpo.engine.gathering import has_fast_step
from grpo.engine.generation import decode_by_generation
from grpo.engine.graph_decoder import GraphDecoder, is_static
from grpo.engine.model_decoder import ModelDecoder
from grpo.engine.padding import cause_of_padding
from grpo.engine.sharding import any_process, is_sharded, run_in
from grpo.records import ROLLOUT_TENSORS, Rollout

COMPACT_BELOW = 0.75  # drop finished rows when fewer than this share of the active rows go on


def uses_graph(model: PreTrainedModel) -> bool:
    """Whether a step of fixed shapes pays: on an accelerator, for a model that it computes."""
    if model.device.type == "cpu":
        return False
    if is_static(model):
        return has_fast_step(model)
    say_once(f"{model.config.model_type}: no captured step for this model, so it decodes kernel by kernel")
    return False


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    settings: Sampling,
    seed: tuple[int, ...],
    numbers: Sequence[int] | None = None,
) -> Rollout:
    """Decode `settings.group_size` completions of each of P prompts; see `Rollout` for what comes back.

    `numbers` are those of the prompts in the batch of which they are the share of this process.
    """
    shape = (len(prompts) * settings.group_size, settings.max_new_tokens)
    uniforms = torch.zeros(shape)
    if settings.temperature > 0:
        uniforms = uniforms_for(seed, rows_of(numbers or range(len(prompts)), settings.group_size), shape[1])
    uniforms = uniforms.to(model.device)
    decode = decode_in_slots if settings.fast and uses_graph(model) else decode_in_rows
    parts = 1 if is_sharded(model) else settings.parts  # the processes of a sharded model keep step
    size = max(1, -(-len(prompts) // parts))
    if size >= len(prompts):
        return decode(model, prompts, settings, uniforms)
    starts = range(0, len(prompts), size)
    each = zip(starts, uniforms.split(size * settings.group_size), strict=True)
    return whole_rollout([decode(model, prompts[start : start + size], settings, own) for start, own in each])


def whole_rollout(rollouts: Sequence[Rollout]) -> Rollout:
    """The rollouts of parts of the prompts as one."""
    prompt_ids = tuple(ids for rollout in rollouts for ids in rollout.prompt_ids)
    rows = {name: torch.cat([getattr(rollout, name) for rollout in rollouts]) for name in ROLLOUT_TENSORS}
    return Rollout(prompt_ids, **rows, group_size=rollouts[0].group_size)


def rows_of(prompts: Sequence[int], group_size: int) -> list[int]:
    """The numbers of the completions of prompts."""
    return [prompt * group_size + member for prompt in prompts for member in range(group_size)]


def decode_in_slots(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: Sampling, uniforms: Tensor
) -> Rollout:
    """Decode by a step of fixed shapes, as accelerators like it; `uniforms` (N, T)."""
    tail = settings.max_new_tokens
    shape = (len(prompts), settings.group_size, tail)
    device = model.device
    ids = torch.zeros(shape, dtype=torch.int64, device=device)
    logps = torch.zeros(shape, device=device)
    lengths = torch.zeros(shape[:2], dtype=torch.int64, device=device)
    for numbers, rows in GraphDecoder.of(model).outputs(model, prompts, settings, uniforms.view(shape)):
        ids[numbers] = rows.ids[:, :, :tail]
        logps[numbers] = rows.logps[:, :, :tail]
        lengths[numbers] = rows.lengths
    stop_ids = torch.tensor(settings.stop_ids, device=device)
    has_end = torch.isin(ids.gather(2, lengths[:, :, None] - 1), stop_ids).flatten()
    return Rollout(
        tuple(map(tuple, prompts)),
        ids.flatten(0, 1),
        lengths.flatten(),
        has_end,
        logps.flatten(0, 1),
        settings.group_size,
    )


def decode_in_rows(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: Sampling, uniforms: Tensor
) -> Rollout:
    """Decode by tensors that shrink as rows end, as a CPU likes it; `uniforms` (N, T)."""
    num_rows, tail = uniforms.shape
    if cause_of_padding(model):
        return decode_by_generation(model, prompts, settings, uniforms)
    if settings.fast and has_fast_step(model):
        return decode_with(FastDecoder(model, tail, num_rows), prompts, settings, uniforms)
    return run_in(model, decode_by_model, prompts, settings, uniforms)


def decode_by_model(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: Sampling, uniforms: Tensor
) -> Rollout:
    """Decode by the model's own forward pass. A process goes on while another one needs the layers."""
    decoder = ModelDecoder(model, uniforms.shape[1])
    return decode_with(decoder, prompts, settings, uniforms, partial(any_process, model))


def decode_with(
    decoder: FastDecoder | ModelDecoder,
    prompts: Sequence[Sequence[int]],
    settings: Sampling,
    uniforms: Tensor,
    goes_on: Callable[[bool], bool] = bool,
) -> Rollout:
    """Decode until `goes_on`, which is told whether a row here has not ended, says no."""
    num_rows, tail = shape = uniforms.shape
    device = uniforms.device
    logits = decoder.prefill(prompts, settings.group_size)
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
        is_stop = torch.isin(tokens, stop_ids)
        finished[live] = is_stop[alive]
        alive &= ~is_stop
        num_alive = int(alive.sum())
        if not goes_on(num_alive > 0) or t + 1 == tail:
            break
        if num_alive < COMPACT_BELOW * len(index) and len(index) > 1:
            rows = alive.nonzero()[:, 0] if num_alive else index.new_zeros(1)  # one that has ended keeps step
            index = index[rows]
            alive = alive[rows]
            tokens = tokens[rows]
            decoder.keep(rows)
        logits = decoder.step(tokens)
    return Rollout(tuple(map(tuple, prompts)), ids, lengths, finished, logps, settings.group_size)
