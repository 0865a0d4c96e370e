"""Tests a model before training: does it compute the same on packed rows as on plain ones, and has it enough positions?

Packing needs attention that takes any mask, and positions that are given; other models compute padded rows
(grpo/engine/padding.py). Whatever a model computes, it is compared once with plain rows, on a few random tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from data.errors import InputError
from data.model_folder import first_line
from grpo.engine.attention import uses_blocks
from grpo.engine.decode_step import is_known
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import pack
from grpo.engine.padding import cause_of_padding
from grpo.engine.products import ProductLinear, format_of
from grpo.engine.sampler import Sampling, generate
from grpo.engine.token_rows import token_logits, token_rows
from grpo.records import Rollout

TOLERANCES = {"fp32": 1e-3, "bf16x2": 1e-2, "fp16": 0.1, "bf16": 0.5}  # nats, one token, by number format
HEADROOM = 8  # fp16 must reach so many times the largest operand of the trial
ADVICE = "use a model of another family (Gemma, Llama, Qwen, ...; docs/models.md)"


class Need(NamedTuple):
    """So many positions are needed by `what`; `cure` says how to need fewer."""

    tokens: int
    what: str
    cure: str


@torch.no_grad()
def check_packing(model: PreTrainedModel, fast: bool = True) -> float:
    """Largest difference in nats between packed, sampled and plain log-probabilities.

    Raises InputError, with the cause, where they disagree. Rows may be padded ones (grpo/engine/padding.py).
    """
    generator = torch.Generator().manual_seed(0)
    vocabulary = len(token_rows(model, torch.empty(model.config.get_text_config().vocab_size, 0)))
    prompts = [torch.randint(4, vocabulary, (length,), generator=generator).tolist() for length in (9, 5)]
    rollout = trial_rollout(model, prompts, fast)
    try:
        packed = completion_logps(model, pack(prompts, rollout.completions(), 2).to(model.device)).logps
    except Exception as error:
        fault = f"packed rows cannot be run ({first_line(error)})"
        raise refusal(model, fault, packed_switch(model)) from error
    plain = torch.zeros_like(packed)
    with largest_operands(model) as largest:
        for row, completion in enumerate(rollout.completions()):
            prompt = prompts[row // 2]
            ids = torch.tensor([prompt + completion], device=model.device)
            logits = token_logits(model, model(input_ids=ids, use_cache=False).logits[0])
            logps = logits.float().log_softmax(dim=-1)
            plain[row] = logps[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0]
    check_range(model, max(largest, default=0.0))
    rows = "padded rows" if cause_of_padding(model) else "packed rows"
    gaps = {
        name: float((logps - plain).abs().max())
        for name, logps in ((rows, packed), ("the sampler", rollout.sampling_logps))
    }
    for name, gap in gaps.items():
        if not gap < TOLERANCES[format_of(model).name]:
            switch = packed_switch(model) if name == rows else fast_switch(model, fast)
            fault = f"log-probabilities of {name} differ from plain ones by {gap:.3g} nats"
            raise refusal(model, fault, switch)
    return max(gaps.values())


@contextmanager
def largest_operands(model: PreTrainedModel) -> Iterator[list[float]]:
    """Inside, gathers the largest absolute value of every operand that a linear layer rounds."""
    found: list[float] = []

    def note(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(float(inputs[0].abs().max()))

    hooks = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if isinstance(module, ProductLinear)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def check_range(model: PreTrainedModel, largest: float) -> None:
    """InputError where fp16 would cut the activations of a model."""
    limit = torch.finfo(torch.float16).max
    if format_of(model).forward == torch.float16 and largest * HEADROOM > limit:
        raise InputError(
            f"{name_of(model)}: its activations reach {largest:,.0f}, and the numbers of fp16 end at {limit:,.0f}; "
            "write engine.number_format=bf16x2 (twice the work of a forward pass) or bf16 (a larger sampler gap)"
        )


def trial_rollout(model: PreTrainedModel, prompts: list[list[int]], fast: bool) -> Rollout:
    """Two completions of 6 tokens for each prompt. InputError where the sampler cannot run the model."""
    settings = Sampling(2, max_new_tokens=6, temperature=1.0, stop_ids=(), fast=fast)
    try:
        return generate(model, prompts, settings, seed=(0,))
    except Exception as error:
        found = f"the sampler cannot run it ({first_line(error)})"
        raise refusal(model, found, fast_switch(model, fast)) from error


def refusal(model: PreTrainedModel, cause: str, switch: str = "") -> InputError:
    """The sentence for a model that cannot be trained: the cause, and the switch that may help."""
    if padding := cause_of_padding(model):
        cause = f"{padding}, and {cause}"
    return InputError(f"{name_of(model)} cannot be trained: {cause}; {switch}{ADVICE}")


def check_shares(model: PreTrainedModel) -> None:
    """InputError for a model that processes cannot share: one with padded rows, which decodes by `generate`."""
    if cause := cause_of_padding(model):
        raise InputError(f"{name_of(model)} cannot be shared out: {cause}; write parallel.mode='data'")


def name_of(model: PreTrainedModel) -> str:
    """The folder of a model, where it has one, and its architecture."""
    kind = model.config.model_type
    folder = model.name_or_path
    return f"{folder}: {kind}" if folder else str(kind)


def packed_switch(model: PreTrainedModel) -> str:
    return "write engine.packed_attention=false, or " if uses_blocks(model) else ""


def fast_switch(model: PreTrainedModel, fast: bool) -> str:
    return "write engine.fast_decode=false, or " if fast and is_known(model) else ""


def check_positions(model: PreTrainedModel, needs: Sequence[Need]) -> str:
    """A sentence where more positions are needed than the model was made for, else "".

    Raises InputError where it has no more. The model may have moved to the CPU.
    """
    limit = positions_of(model)
    most = max(needs)
    if not 0 < limit < most.tokens:
        return ""
    if not has_position(nn.Module.to(model, "cpu"), limit):
        need = f"{most.what} need {most.tokens}"
        raise InputError(f"{name_of(model)} has {limit} positions, and {need}; {most.cure}")
    beyond = f"{most.tokens} positions, more than the {limit} that this model was made for"
    return f"{most.what} need {beyond}; {most.cure}"


def positions_of(model: PreTrainedModel) -> int:
    """How many positions a model was made for; 0 where it does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0


@torch.no_grad()
def has_position(model: PreTrainedModel, position: int) -> bool:
    """Can a token stand there, counted from 0? Only for a CPU: elsewhere a no ends the process."""
    inputs = {"input_ids": torch.ones(1, 1, dtype=torch.int64), "position_ids": torch.tensor([[position]])}
    if cause_of_padding(model):
        inputs = {"input_ids": torch.ones(1, position + 1, dtype=torch.int64)}
    try:
        model(**inputs, use_cache=False)
    except (IndexError, RuntimeError):
        return False
    return True
