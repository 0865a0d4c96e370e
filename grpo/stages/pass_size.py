"""How many packed tokens a forward pass may have where `max_tokens_per_pass` is 0: as the memory allows.

What a pass keeps for the way back grows with its tokens. On a CPU larger passes gain nothing.
"""

from typing import Literal

from transformers import PreTrainedModel

from grpo.engine.chunked_head import CHUNK
from grpo.runtime.device import free_memory_bytes
from grpo.stages.context import Run
from grpo.stages.memory_bill import PROTECTION
from grpo.stages.smaller_passes import sizes_of, with_smaller_passes

CPU_TOKENS = 2048
LEAST = 512
MOST = 65_536  # a card is full of work long before
STEP = 128
USED_SHARE = 0.5  # of what is free, the rest for the rollout and for what the estimate does not know
FOR_PARAMETERS = 12  # bytes of a parameter that come later: its gradient and two moments
FOR_UNTOUCHED = 4  # the model of an anchor, or of the token loss "asft"
PARTS = {"hidden": 12, "inner": 5, "heads": 5}  # numbers a layer keeps, in vectors of this kind


def layer_numbers(model: PreTrainedModel) -> int:
    """fp32 numbers that a layer keeps of a token for the way back, from the shape of the model."""
    config = model.config.get_text_config()
    hidden = config.hidden_size
    heads = config.num_attention_heads
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden
    width = getattr(config, "head_dim", None) or hidden // heads
    pairs = getattr(config, "num_key_value_heads", None) or heads
    return PARTS["hidden"] * hidden + PARTS["inner"] * inner + PARTS["heads"] * width * (heads + 2 * pairs)


def bytes_per_token(model: PreTrainedModel, recomputed: bool) -> int:
    """Bytes that a pass keeps of each token; with recomputed layers only their inputs, and one layer whole. The
    last norm and the head keep two vectors more.
    """
    config = model.config.get_text_config()
    layers = config.num_hidden_layers
    numbers = layer_numbers(model)
    of_layers = layers * config.hidden_size + numbers if recomputed else layers * numbers
    return 4 * (of_layers + 2 * config.hidden_size)


def fitting_tokens(
    model: PreTrainedModel,
    free: int,
    recomputed: bool,
    with_anchor: bool,
    shares: int = 1,
    protection: str = "none",
) -> int:
    """Tokens of a pass for so many free bytes beside the model, or one of so many `shares` of it, before it has
    gradients, moments and what the `protection` stores.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    later = parameters * (FOR_PARAMETERS + FOR_UNTOUCHED * with_anchor + PROTECTION[protection]) / shares
    logits = 3 * 4 * CHUNK * model.config.get_text_config().vocab_size
    tokens = int(USED_SHARE * (free - later - logits) / bytes_per_token(model, recomputed))
    return max(LEAST, min(MOST, tokens // STEP * STEP))


def with_pass_size(run: Run, section: Literal["sft", "train"], policy: PreTrainedModel) -> Run:
    """The run with a number where `max_tokens_per_pass` of `section` is 0, and with smaller passes where a card ran out
    of memory before.
    """
    tokens = tokens_per_pass(run, section, policy)
    sizes = sizes_of(run.config, section) | {f"{section}.max_tokens_per_pass": tokens}
    return with_smaller_passes(run, section, sizes)


def tokens_per_pass(run: Run, section: Literal["sft", "train"], policy: PreTrainedModel) -> int:
    """`max_tokens_per_pass` of a section; 0 is replaced, the same in all processes, and said."""
    setting: int = getattr(run.config, section).max_tokens_per_pass
    if setting:
        return setting
    free = free_memory_bytes(run.compute)
    if free is None:
        run.say(f"{section}.max_tokens_per_pass = 0: at most {CPU_TOKENS:,} tokens a pass on a CPU")
        return CPU_TOKENS
    recomputed = run.config.engine.gradient_checkpointing
    shares = run.world.size if run.world.is_sharded else 1
    has_base = getattr(run.config.anchor, section) > 0 or getattr(run.config.token_loss, section) == "asft"
    protection = getattr(run.config.protection, section)
    own = fitting_tokens(policy, free, recomputed, has_base, shares, protection)
    tokens = int(-run.world.largest({"tokens": -float(own)})["tokens"])
    run.say(
        f"{section}.max_tokens_per_pass = 0: at most {tokens:,} tokens a pass, by {free / 1e9:.1f} GB of free memory "
        f"and {bytes_per_token(policy, recomputed) / 1e6:.2f} MB a token"
    )
    return tokens
