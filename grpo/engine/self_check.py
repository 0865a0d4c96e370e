"""Before training: does a model compute the same on packed rows as on plain ones? Has it positions enough?

Packing needs attention that takes any mask, and positions that are given. A recurrent layer, ALiBi or a fixed
causal kernel would silently mix completions of a group; so it is tried once, on a few random tokens.
"""

from collections.abc import Sequence
from inspect import signature
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from data.errors import InputError
from data.model_folder import first_line
from grpo.engine.attention import uses_blocks
from grpo.engine.decode_step import is_known
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import pack
from grpo.engine.private_apis import is_stateful
from grpo.engine.sampler import Sampling, generate
from grpo.records import Rollout

TOLERANCE = 1e-3
MASKABLE = {"full_attention", "sliding_attention", "global"}  # kinds of layers that look where a mask says
ADVICE = "use a model with ordinary attention (Gemma, Llama, Qwen, ...; docs/models.md)"


class Need(NamedTuple):
    """So many positions are needed by `what`; `cure` says how to need fewer."""

    tokens: int
    what: str
    cure: str


@torch.no_grad()
def check_packing(model: PreTrainedModel, fast: bool = True) -> float:
    """Largest difference in nats between packed, sampled and plain log-probabilities.

    Raises InputError, with the cause, where they disagree.
    """
    refuse_architecture(model)
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    prompts = [torch.randint(4, vocabulary, (length,), generator=generator).tolist() for length in (9, 5)]
    rollout = trial_rollout(model, prompts, fast)
    try:
        packed = completion_logps(model, pack(prompts, rollout.completions(), 2).to(model.device)).logps
    except Exception as error:
        found = f"packed rows cannot be run ({first_line(error)})"
        raise failure(model, found, packed_switch(model)) from error
    plain = torch.zeros_like(packed)
    for row, completion in enumerate(rollout.completions()):
        prompt = prompts[row // 2]
        ids = torch.tensor([prompt + completion], device=model.device)
        logps = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(dim=-1)
        plain[row] = logps[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0]
    gaps = {
        name: float((logps - plain).abs().max())
        for name, logps in (("packed rows", packed), ("the sampler", rollout.sampling_logps))
    }
    for name, gap in gaps.items():
        if not gap < TOLERANCE:
            switch = packed_switch(model) if name == "packed rows" else fast_switch(model, fast)
            found = f"log-probabilities of {name} differ from plain ones by {gap:.3g} nats"
            raise failure(model, found, switch)
    return max(gaps.values())


def trial_rollout(model: PreTrainedModel, prompts: list[list[int]], fast: bool) -> Rollout:
    """Two completions of 6 tokens for each prompt. InputError where the sampler cannot run the model."""
    settings = Sampling(2, max_new_tokens=6, temperature=1.0, stop_ids=(), fast=fast)
    try:
        return generate(model, prompts, settings, seed=(0,))
    except Exception as error:
        found = f"the sampler cannot run it ({first_line(error)})"
        raise failure(model, found, fast_switch(model, fast)) from error


def refuse_architecture(model: PreTrainedModel) -> None:
    """InputError for a model whose layers follow no mask, or that forgets the keys and values of a prompt."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or ()
    strange = sorted(set(kinds) - MASKABLE)
    if is_stateful(model):
        state = "whose state would run from one completion of a packed row into the next"
        raise refusal(model, f"it has recurrent layers, {state}")
    if strange:
        raise refusal(model, f"it has layers of the kind {strange[0]}, which do not look where a mask says")
    if "past_key_values" not in signature(model.forward).parameters:
        raise refusal(model, "it cannot go on from the keys and values of a prompt, as the sampler does")


def refusal(model: PreTrainedModel, cause: str, switch: str = "") -> InputError:
    """The sentence for a model that cannot be trained: the cause, and the switch that may help."""
    return InputError(f"{name_of(model)} cannot be trained: {cause}; {switch}{ADVICE}")


def name_of(model: PreTrainedModel) -> str:
    """The folder of a model, where it has one, and its architecture."""
    kind = model.config.model_type
    folder = model.name_or_path
    return f"{folder}: {kind}" if folder else str(kind)


def failure(model: PreTrainedModel, found: str, switch: str) -> InputError:
    """The same for a model that failed: its cause where that is known, else what was found."""
    if not reads_positions(model):
        found = "it takes a token's place in the row for its position, as ALiBi does"
        switch = ""
    return refusal(model, found, switch)


def packed_switch(model: PreTrainedModel) -> str:
    return "write engine.packed_attention=false, or " if uses_blocks(model) else ""


def fast_switch(model: PreTrainedModel, fast: bool) -> str:
    return "write engine.fast_decode=false, or " if fast and is_known(model) else ""


def reads_positions(model: PreTrainedModel) -> bool:
    """Do the positions that are given change what the model computes? True also where it computes nothing."""
    ids = torch.arange(4, 8, device=model.device)[None]
    near = torch.arange(4, device=model.device)[None]
    try:
        plain = model(input_ids=ids, use_cache=False).logits
    except Exception:  # a damaged model raises anything; positions are not its trouble
        return True
    try:
        return not torch.allclose(plain, model(input_ids=ids, position_ids=2 * near, use_cache=False).logits)
    except (TypeError, ValueError, RuntimeError):
        return False


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
    ids = torch.ones(1, 1, dtype=torch.int64)
    try:
        model(input_ids=ids, position_ids=torch.tensor([[position]]), use_cache=False)
    except (IndexError, RuntimeError):
        return False
    return True
