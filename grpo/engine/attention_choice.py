"""Chooses how a model that was loaded computes packed rows: by which attention, or as padded ones. Trials on small rows
decide.
"""

from collections.abc import Callable
from inspect import signature

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.console import silent
from data.model_folder import first_line
from grpo.engine.attention import GROUPS, PLAIN, use_blocks
from grpo.engine.forward import EAGER, caps_scores, packed_hidden
from grpo.engine.packing import pack
from grpo.engine.padding import use_padding
from grpo.engine.private_apis import attention_name, is_stateful, layers_of
from grpo.engine.products import format_of
from grpo.engine.sharding import gradient, run_in

PLACES = 40  # tokens by which a trial moves a completion
LARGEST_GAP = 0.05  # between two attentions in 16 bits, of what they give; a wrong one is off by much more
MASKABLE = {"full_attention", "sliding_attention", "global"}  # kinds of layers that look where a mask says
LARGEST_SHIFT = {"fp32": 1e-3}  # of hidden states by what a token should not see; 0.2 in other number formats


def with_attention(
    model: PreTrainedModel, packed_attention: bool, say: Callable[[str], None] = silent
) -> PreTrainedModel:
    """The model itself, in eval mode. With torch's own attention, its packed rows run through
    grpo/engine/attention.py unless `packed_attention` is off; on an accelerator `say` gets a sentence on that. A model
    that cannot compute packed rows gets padded ones (grpo/engine/padding.py).
    """
    model.config.use_cache = False
    model.eval()
    if caps_scores(model):
        model.set_attn_implementation(EAGER)
    if cause := kind_that_cannot_pack(model):
        use_padding(model, cause)
        return model
    replaceable = model.is_backend_compatible() and attention_name(model) == PLAIN
    if packed_attention and replaceable:
        choice = choose_attention(model)
        if model.device.type != "cpu":
            say(f"attention of packed rows: {choice}")
    if cause := trouble_of_packing(model):
        use_padding(model, cause)
    return model


def kind_that_cannot_pack(model: PreTrainedModel) -> str:
    """Why layers of its kinds give other numbers in a packed row, as the model says itself; "" where it does not."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or ()
    if is_stateful(model):
        return "it has recurrent layers, whose state would run from one completion into the next"
    if strange := sorted(set(kinds) - MASKABLE):
        return f"it has layers of the kind {strange[0]}, which do not look where a mask says"
    if "past_key_values" not in signature(model.forward).parameters:
        return "it cannot go on from the keys and values of a prompt"
    return ""


@torch.no_grad()
def trouble_of_packing(model: PreTrainedModel) -> str:
    """Why a packed row gives other numbers, found by a trial: a completion behind a short and behind a long one; ""
    where it does not.
    """
    short, long = (pack([[0, 1]], [[2] * length, [3, 1, 2, 0]], 2).to(model.device) for length in (2, PLACES))
    try:
        one, other = (run_in(model, packed_hidden, packed)[-3:].float() for packed in (short, long))
    except Exception as error:  # each model has its own way to fail
        return f"it cannot run them ({first_line(error)})"
    if float((one - other).norm() / one.norm()) > LARGEST_SHIFT.get(format_of(model).name, 0.2):
        return (
            "it takes a token's place in the row for its position, as ALiBi does, or looks where no mask says"
        )
    return ""


def choose_attention(model: PreTrainedModel) -> str:
    """Give packed rows the fastest attention that this model and its device can run; what it is, and why no
    faster one.
    """
    use_blocks(model)
    if not reads_blocks(model):
        model.set_attn_implementation(PLAIN)
        return f"a dense mask, because {model.config.model_type} does not hand on what another one needs"
    if model.device.type == "cpu":
        return "by blocks"
    if trouble := trouble_of_groups(model):
        use_blocks(model)
        return f"by blocks, because {trouble}"
    return "over the groups only, by flex_attention"


@torch.no_grad()
def reads_blocks(model: PreTrainedModel) -> bool:
    """Do the blocks of a packed row reach the attention? A model that drops them takes a dense mask."""
    try:
        run_in(model, packed_hidden, pack([[0, 0]], [[0, 0], [0, 0]], 2).to(model.device))
    except Exception:  # each model has its own way to fail
        return False
    return True


def trouble_of_groups(model: PreTrainedModel) -> str:
    """Why the kernel of grpo/engine/groups.py cannot be used, after a trial against the blocks; "" where it
    can, and then it is in use.
    """
    format = format_of(model)
    if format.pieces > 1 or format.forward.itemsize > 2:
        return f"flex_attention would round more than engine.number_format = {format.name}"
    by_blocks = trial(model)
    use_blocks(model, GROUPS)
    try:
        by_groups = trial(model)
    except Exception as error:  # each torch, driver and card has its own way to fail
        return f"flex_attention fails here ({first_line(error)})"
    fault = difference(by_groups, by_blocks)
    return f"flex_attention is off here ({fault})" if fault else ""


def difference(ours: list[Tensor], theirs: list[Tensor]) -> str:
    """How far two trials are from each other; "" where it is rounding."""
    gaps = [float((a - b).norm() / b.norm()) for a, b in zip(ours, theirs, strict=True)]
    if all(gap < LARGEST_GAP for gap in gaps):
        return ""
    found = zip(("hidden states", "a gradient"), gaps, strict=False)
    return ", ".join(f"{what} by {gap:.2g} of their size" for what, gap in found)


def trial(model: PreTrainedModel) -> list[Tensor]:
    """Hidden states of a small packed row, and the gradient of something of them in the first layer, where it
    takes one.
    """
    completions = [list(range(5, 5 + length)) for length in (3, 9, 1, 30, 0, 4)]
    packed = pack([[5, 6, 7, 8] * 8, [9, 10, 11]], completions, group_size=3).to(model.device)
    hidden = run_in(model, packed_hidden, packed)
    smallest = min(layers_of(model)[0].parameters(), key=Tensor.numel)
    if not smallest.requires_grad:
        return [hidden]
    weights = torch.arange(hidden.numel(), device=hidden.device).view_as(hidden).sin()
    return [hidden.detach(), gradient(model, (hidden * weights).sum(), smallest)]
