"""The bill of an accelerator: its memory, named by part, and the time of a step from two measured rates.

Shares and seconds below are those of one H200 on 26 November 2026 (docs/performance.md, "On an accelerator");
`make bench-gpu` measures them anew and prints this bill beside each measurement.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from grpo.engine.products import FP32, Format
from grpo.runtime.device import Compute, accelerator_memory, synchronise

# bytes of a parameter, all fp32
WEIGHT_BYTES = 4
GRADIENT_BYTES = 4
MOMENT_BYTES = 8  # two moments of AdamW
# bytes that a layer keeps for the backward pass of each number of a token's hidden state, feed-forward layer,
# queries and keys: 16.3 to 19.7 by model and format, counted in what autograd saves (tests/grpo/stages)
ACTIVATION_BYTES = 18
# of a head's parameter while a chunk runs: its gradient and the chunk's share of it in fp32, a copy of the
# head in the format of the forward and of the backward pass
HEAD_BYTES = 4 + 4 + 2 + 2
CHUNK_TENSORS = 2  # logits and probabilities, fp32
SAMPLING_TENSORS = 4  # logits, the same over the temperature, exponentials, exponentials in whole blocks
# of the rate of square products, in scoring and update together: 0.19 to 0.26 at 1.7B and 4B, 0.028 and 0.038
# at 0.13B; parameters up to which a model is a small one
TRAINING_SHARE = 0.2
SMALL_TRAINING_SHARE = 0.035
SMALL_PARAMETERS = 500_000_000
# of a decode step and layer beside the reading of bytes, whatever the rows: 0.8e-4 to 1.2e-4 at 0.13B and 1.7B in
# a prototype that replays one captured step; 7.8e-4 to 9.2e-4 at 0.13B, 1.7B and 4B kernel by kernel
DECODE_LAYER_SECONDS = 1e-4
GUESSED_LAYERS = 36
COPY_BYTES = 1 << 30
ADVICE = "lower train.max_tokens_per_pass or write engine.gradient_checkpointing=true"


@dataclass(frozen=True)
class Card:
    """`memory` in bytes; operations a second of a matrix product in a run's number format; bytes a second of a
    copy, which reads and writes each.
    """

    memory: int
    product_rate: float
    copy_rate: float


@dataclass(frozen=True)
class ModelSizes:
    """Numbers of a model; `embedding`: parameters of its head. `feed_forward`, `queries` and `keys` are numbers
    of a token in a layer.
    """

    parameters: int
    embedding: int
    vocabulary: int
    layers: int
    width: int
    feed_forward: int
    queries: int
    keys: int

    @classmethod
    def of(cls, config: Mapping[str, Any], parameters: int, embedding: int) -> "ModelSizes":
        """From the settings in a model's config.json; what it does not name is guessed as of a plain
        transformer.
        """
        text = config.get("text_config") or config

        def number(*names: str) -> int:
            return next((text[name] for name in names if text.get(name)), 0)

        layers = number("num_hidden_layers", "n_layer") or GUESSED_LAYERS
        width = number("hidden_size", "n_embd") or int(((parameters - embedding) / 12 / layers) ** 0.5)
        heads = number("num_attention_heads", "n_head") or 1
        size = number("head_dim") or width // heads
        return cls(
            parameters,
            embedding,
            number("vocab_size") or embedding // width,
            layers,
            width,
            number("intermediate_size", "n_inner") or 4 * width,
            heads * size,
            (number("num_key_value_heads") or heads) * size,
        )


@dataclass(frozen=True)
class StepWork:
    """P prompts of at most `prompt` tokens x G completions of at most `new` tokens; a pass over `pass_tokens`
    packed tokens. `frozen`: copies of the model that are not trained (reference, anchor).
    """

    prompts: int
    group: int
    prompt: float
    new: float
    pass_tokens: float
    frozen: Mapping[str, bool]
    recomputes: bool = False

    @property
    def rows(self) -> int:
        return self.prompts * self.group


@dataclass(frozen=True)
class MemoryBill:
    """Bytes of each part at the peak of a rollout and at that of an update, by name."""

    rollout: Mapping[str, float]
    update: Mapping[str, float]

    @property
    def peak(self) -> float:
        return max(sum(self.rollout.values()), sum(self.update.values()))

    def lines(self, card: Card) -> list[str]:
        found = [
            f"memory       about {self.peak / 1e9:.1f} GB of the accelerator's {card.memory / 1e9:.1f} GB"
        ]
        for name, parts in (("rollout", self.rollout), ("update", self.update)):
            shown = ", ".join(f"{part} {size / 1e9:.2f}" for part, size in parts.items() if size)
            found.append(f"  {name:10} {sum(parts.values()) / 1e9:.1f} GB: {shown}")
        if self.peak > card.memory:
            found.append(f"             that is more than it has: {ADVICE}")
        return found


def memory_bill(sizes: ModelSizes, work: StepWork, format: Format) -> MemoryBill:
    """What stays, and what a rollout and an update add to it. The sampler's copies of the weights, keys and values
    stay: a captured step needs them at the same places.
    """
    from grpo.engine.chunked_head import (
        CHUNK,
    )  # imports transformers, which --check may do and no import of this

    total = sizes.parameters
    models = {
        "weights": WEIGHT_BYTES * total,
        "moments": MOMENT_BYTES * total,
        **{name: WEIGHT_BYTES * total * is_there for name, is_there in work.frozen.items()},
        "format copies": 0 if format == FP32 else format.forward.itemsize * total,
        "keys and values": cache_bytes(sizes, work, format),
    }
    rollout = {
        "logits": SAMPLING_TENSORS * 4 * work.rows * sizes.vocabulary,
    }
    head = WEIGHT_BYTES if format == FP32 else HEAD_BYTES
    update = {
        "gradients": GRADIENT_BYTES * total,
        "activations": activation_bytes(sizes, work),
        "logits": CHUNK_TENSORS * 4 * CHUNK * sizes.vocabulary + head * sizes.embedding,
    }
    return MemoryBill(models | rollout, models | update)


def cache_bytes(sizes: ModelSizes, work: StepWork, format: Format) -> float:
    """Keys and values of each prompt, and of the completions behind it."""
    tokens = work.prompts * work.prompt + work.rows * work.new
    number = format.forward.itemsize if format.pieces == 1 else FP32.forward.itemsize
    return 2 * number * sizes.layers * sizes.keys * tokens


def activation_bytes(sizes: ModelSizes, work: StepWork) -> float:
    """What the forward pass keeps for the backward pass; with gradient checkpointing the input of each layer
    and all of one layer.
    """
    layer = ACTIVATION_BYTES * (sizes.width + sizes.feed_forward + sizes.queries + sizes.keys)
    if work.recomputes:
        return work.pass_tokens * (sizes.layers * 4 * sizes.width + layer)
    return work.pass_tokens * sizes.layers * layer


def decode_seconds(sizes: ModelSizes, work: StepWork, format: Format, card: Card) -> float:
    """One token of every row: the reading of weights, and of keys and values half way through the completion,
    and what a layer takes beside that.
    """
    half = StepWork(work.prompts, work.group, work.prompt, work.new / 2, work.pass_tokens, work.frozen)
    moved = format.forward.itemsize * sizes.parameters + cache_bytes(sizes, half, format)
    return moved / card.copy_rate + sizes.layers * DECODE_LAYER_SECONDS


def training_seconds(flops: float, sizes: ModelSizes, card: Card) -> float:
    """Of passes that read whole texts: scoring, updates, prefill."""
    share = SMALL_TRAINING_SHARE if sizes.parameters <= SMALL_PARAMETERS else TRAINING_SHARE
    return flops / (share * card.product_rate)


def measure_card(compute: Compute, product_rate: float) -> Card:
    """This machine's accelerator."""
    return Card(accelerator_memory(compute), product_rate, copy_rate(compute))


def copy_rate(compute: Compute, size: int = COPY_BYTES, seconds: float = 0.3) -> float:
    """Measured bytes a second of a copy, each counted when read and when written."""
    source = torch.zeros(size, dtype=torch.uint8, device=compute.device)
    target = torch.empty_like(source)
    target.copy_(source)
    synchronise(compute)
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        target.copy_(source)
        synchronise(compute)
        count += 1
    return count * 2 * size / (time.perf_counter() - started)
