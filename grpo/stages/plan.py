"""What a run will cost, before it starts: optimiser steps, tokens, floating-point operations, memory,
time.
"""

import gzip
import math
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from data.cache import cache_dir
from data.documents import read_object, user_path
from data.errors import InputError
from data.model_folder import tensor_shapes
from eval.memory import BUCKETS
from eval.run_folder import METHOD_LABELS
from grpo.config import DEFAULT_POLICY, Config
from grpo.engine.products import Format
from grpo.runtime.device import Compute, synchronise
from grpo.stages.card_bill import (
    Card,
    MemoryBill,
    ModelSizes,
    StepWork,
    decode_seconds,
    measure_card,
    memory_bill,
    training_seconds,
)
from grpo.stages.pass_size import CPU_TOKENS, MOST

# of the default model by vocabulary: all, embedding
DEFAULT_PARAMETERS = {"trimmed": (131_000_000, 31_000_000), "full": (268_000_000, 168_000_000)}
DEFAULT_SIZES = {
    "num_hidden_layers": 18,
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
}
PRODUCT_SIDE = 1024  # of the square product that is timed
ACCELERATOR_PRODUCT_SIDE = 8192  # a smaller one leaves an accelerator partly idle
# of a length limit that a typical prompt or completion uses, before the corpus has been counted
LENGTH_SHARE = 0.4
# bytes of a parameter in training, all fp32: weight, gradient, two moments of AdamW, and the frozen reference
TRAINED_BYTES = 4 + 4 + 8 + 4
FROZEN_BYTES = 4  # of a parameter of a frozen model: the anchor's, or the one that is evaluated
# a transformer layer keeps about 34 numbers of its width of each token for the backward pass (arXiv 2205.05198, 4.1)
ACTIVATION_BYTES = 34 * 4
LAYER_PARAMETERS = 12  # of a layer, in squares of its width: attention 4, feed-forward 8
# an upper guess for models of this size, as no header of the weights says; the default model has 18
LAYERS = 36
CHECKPOINTED = 0.2  # of the activations stay with gradient checkpointing
ANCHOR_TOKENS = 64  # of a text that an anchor holds to (grpo/stages/anchor_setup.py)
EFFICIENCY = 0.5  # of the measured matrix-product rate, what whole steps have reached
OWN_BYTES = 1e9  # of a process with its libraries
PAIR_BYTES = 800  # of a pair of the corpus and of each token of it: texts and token ids, measured
TOKEN_BYTES = 45
NGRAM_BYTES = 6  # of the translation memory (eval/memory.py); 3 to 8 n-grams by language
NGRAMS_A_TOKEN = 5
RESAMPLED_BYTES = 16  # of a test item in a resample of the bootstrap, while it is drawn


@dataclass(frozen=True)
class Plan:
    """Counts of a run. `flops` counts 2 per parameter and token forward, 4 more backward, the head on
    completion tokens only.
    """

    parameters: int
    sft_tokens: int
    rollout_tokens: int
    update_tokens: int
    flops: float
    pairs: int
    training_bytes: int
    evaluation_bytes: int
    seconds: float
    card: "CardBill | None" = None

    @property
    def memory_bytes(self) -> int:
        """The larger of the two peaks."""
        return max(self.training_bytes, self.evaluation_bytes)

    def lines(self, config: Config) -> list[str]:
        train = config.train
        rollout = config.rollout
        updates = train.num_steps * config.updates_per_step
        peaks = [
            f"training {self.training_bytes / 1e9:.1f} GB",
            f"evaluation {self.evaluation_bytes / 1e9:.1f} GB",
        ]
        peaks[-1] += f" of {self.pairs:,} pairs" if self.pairs else ""
        each = "reference texts" if train.method == "sft" else f"prompts x {rollout.group_size} completions"
        return [
            f"warm start   {config.sft.num_steps} steps x {config.sft.batch_size} pairs, about {self.sft_tokens:,} tokens",
            f"{METHOD_LABELS[train.method]:12} {train.num_steps} steps x {rollout.num_prompts} {each}, {updates} updates",
            f"             about {self.rollout_tokens:,} sampled tokens, {self.update_tokens:,} tokens trained on",
            f"model        {self.parameters / 1e6:.0f}M parameters, all trained, fp32 masters",
            *(self.card.memory.lines(self.card.card) if self.card else ()),
            f"{'machine' if self.card else 'memory':12} about {self.memory_bytes / 1e9:.1f} GB at the peak: {' and '.join(peaks)}",
            f"time         about {self.seconds / 60:.0f} min for both on this machine ({self.flops / 1e12:.0f} TFLOP)",
        ]


def known_model(config: Config) -> Path | None:
    """The untouched model's folder, where there is one already."""
    folder = Path(config.model.policy)
    if config.model.policy == DEFAULT_POLICY:
        folder = cache_dir() / "models" / f"{DEFAULT_POLICY}-{config.model.vocabulary}"
    return folder if folder.is_dir() else None


def count_parameters(config: Config, folder: Path | None) -> tuple[int, int]:
    """(all, output embedding) parameters from the headers of a model folder, or the known sizes of the
    default model.
    """
    files = sorted(folder.glob("*.safetensors")) if folder else []
    if not files:
        return DEFAULT_PARAMETERS[config.model.vocabulary]
    sizes = {name: math.prod(shape) for file in files for name, shape in tensor_shapes(file).items()}
    return sum(sizes.values()), max(
        (size for name, size in sizes.items() if "embed" in name or "lm_head" in name), default=0
    )


def matmul_rate(compute: Compute, seconds: float = 0.5) -> float:
    """Measured floating-point operations a second of a square matrix product."""
    side = PRODUCT_SIDE if compute.device.type == "cpu" else ACCELERATOR_PRODUCT_SIDE
    a, b = (torch.randn(side, side, device=compute.device, dtype=compute.format.forward) for _ in range(2))
    a @ b
    synchronise(compute)
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        a @ b
        synchronise(compute)
        count += 1
    return count * 2 * side**3 / (time.perf_counter() - started)


def typical_lengths(config: Config) -> tuple[float, float]:
    """Tokens of a typical prompt and completion: medians of the token report if the run folder has one, else
    from the limits.
    """
    path = Path(config.run_dir) / "corpus.json"
    tokens = read_object(path).get("tokens") if path.exists() else None
    if tokens:
        return median_of(tokens, "prompt_tokens", path), median_of(tokens, "completion_tokens", path)
    return LENGTH_SHARE * config.model.max_prompt_tokens, LENGTH_SHARE * config.rollout.max_new_tokens


def median_of(tokens: Any, name: str, path: Path) -> float:
    percentiles = tokens.get(name) if isinstance(tokens, dict) else None
    median = percentiles.get("p50") if isinstance(percentiles, dict) else None
    if not isinstance(median, int | float) or not 0 <= median < 1e9:
        raise InputError(
            f"{path}: tokens.{name}.p50 = {median}: a number of tokens is needed; remove the file and run the stage model"
        )
    return median


def corpus_pairs(config: Config) -> int:
    """Pairs to train on: as corpus.json of the run folder says, else lines of the user's file, else 0."""
    path = Path(config.run_dir) / "corpus.json"
    try:
        splits = read_object(path)["manifest"]["splits"] if path.exists() else {}
        counts = [splits[name]["pairs"] for name in ("warm_start", "train") if name in splits]
    except (KeyError, TypeError):
        counts = []
    known = counts and all(isinstance(count, int) for count in counts)
    return sum(counts) if known else lines_of(config.data.pairs)


def lines_of(corpus: str) -> int:
    """Lines of the file, or of the first of two, that data.corpus names; 0 where there is none to read."""
    try:
        names = [name for name in (corpus, corpus.split(",")[0]) if user_path(name).is_file()]
        if not names:
            return 0
        path = user_path(names[0])
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
    except (OSError, EOFError, ValueError, zlib.error):
        return 0


def evaluation_bytes(config: Config, total: int, pairs: int) -> float:
    """Peak of the evaluation: the model in fp32, the translation memory of all pairs, resamples of the test
    set.
    """
    prompt, _ = typical_lengths(config)
    index = pairs * NGRAM_BYTES * min(BUCKETS, NGRAMS_A_TOKEN * prompt)
    resamples = RESAMPLED_BYTES * config.eval.bootstrap_samples * config.data.test_size
    return FROZEN_BYTES * total + index + resamples


def activation_bytes(config: Config, body: int) -> float:
    """What the forward pass over the largest packed row keeps for the backward pass; `body`: parameters without
    the embedding. Layers x width follows from body = layers x 12 width^2.
    """
    tokens = max(part.max_tokens_per_pass or CPU_TOKENS for part in (config.train, config.sft))
    share = CHECKPOINTED if config.engine.gradient_checkpointing else 1.0
    return share * ACTIVATION_BYTES * tokens * (LAYERS * body / LAYER_PARAMETERS) ** 0.5


def stage_flops(config: Config, folder: Path | None) -> tuple[float, float]:
    """Floating-point operations of the warm start, and of the stage after it, whose train.method may be one
    that samples nothing.
    """
    total, embedding = count_parameters(config, folder)
    body = total - embedding
    rollout = config.rollout
    train = config.train
    sft = config.sft
    prompt, completion = typical_lengths(config)
    pair = 6 * (body * (prompt + completion) + embedding * completion)
    anchor = 8 * total * ANCHOR_TOKENS * config.anchor.batch_size  # an update: both models forward, one back
    anchored_flops = anchor if config.anchor.train else 0
    warm_start = sft.num_steps * (sft.batch_size * pair + (anchor if config.anchor.sft else 0))
    if train.method == "sft":
        return warm_start, train.num_steps * (rollout.num_prompts * pair + anchored_flops)
    sampled = rollout.num_prompts * rollout.group_size * completion
    decode = decode_flops(config, folder)
    if train.method == "best_of_group":
        return warm_start, train.num_steps * (decode + rollout.num_prompts * pair + anchored_flops)
    prompts = rollout.num_prompts if config.engine.share_prefix else rollout.num_prompts * rollout.group_size
    passes = train.passes * 3 + 1 + config.reuses_rollout
    update = 2 * passes * (body * (prompts * prompt + sampled) + embedding * sampled)
    return warm_start, train.num_steps * (decode + update + config.updates_per_step * anchored_flops)


def decode_flops(config: Config, folder: Path | None) -> float:
    """Floating-point operations of one rollout."""
    total, embedding = count_parameters(config, folder)
    prompt, completion = typical_lengths(config)
    prompts = config.rollout.num_prompts
    return (
        2 * total * prompts * config.rollout.group_size * completion
        + 2 * (total - embedding) * prompts * prompt
    )


def make_plan(config: Config, folder: Path | None, compute: Compute) -> Plan:
    """The bill of a configuration; `folder` is the model's, None when it has not been made yet."""
    total, embedding = count_parameters(config, folder)
    rollout = config.rollout
    train = config.train
    sft = config.sft
    prompt, completion = typical_lengths(config)
    rows = rollout.num_prompts * rollout.group_size
    prompts = rows if not config.engine.share_prefix else rollout.num_prompts
    sampled = rows * completion
    packed = prompts * prompt + rows * completion
    if train.method != "grpo":
        sampled = sampled * (train.method != "sft")
        packed = rollout.num_prompts * (prompt + completion)
    flops = sum(stage_flops(config, folder))
    pairs = corpus_pairs(config)
    corpus = OWN_BYTES + pairs * (PAIR_BYTES + TOKEN_BYTES * (prompt + completion))
    has_anchor = bool(config.anchor.sft or config.anchor.train)
    models = TRAINED_BYTES + FROZEN_BYTES * has_anchor
    rate = matmul_rate(compute)
    card = card_bill(config, folder, compute, rate, packed) if compute.device.type != "cpu" else None
    training = models * total + activation_bytes(config, total - embedding)
    if card is not None:  # the process only reads the model
        training = FROZEN_BYTES * total
    return Plan(
        parameters=total,
        sft_tokens=int(sft.num_steps * sft.batch_size * (prompt + completion)),
        rollout_tokens=int(train.num_steps * sampled),
        update_tokens=int(train.num_steps * train.passes * packed),
        flops=flops,
        pairs=pairs,
        training_bytes=int(training + corpus),
        evaluation_bytes=int(evaluation_bytes(config, total, pairs) + corpus),
        seconds=flops / (EFFICIENCY * rate) if card is None else card.seconds,
        card=card,
    )


@dataclass(frozen=True)
class CardBill:
    """What takes the place of the process's memory and the CPU's time on an accelerator."""

    card: Card
    memory: MemoryBill
    seconds: float


def model_sizes(config: Config, folder: Path | None) -> ModelSizes:
    """Of the model's folder, or of the default model."""
    settings = read_object(folder / "config.json") if folder else DEFAULT_SIZES
    return ModelSizes.of(settings, *count_parameters(config, folder))


def card_bill(config: Config, folder: Path | None, compute: Compute, rate: float, packed: float) -> CardBill:
    """`rate`: operations a second of a matrix product; `packed`: tokens of a step."""
    card = measure_card(compute, rate)
    sizes = model_sizes(config, folder)
    work = step_work(config, packed)
    memory = memory_bill(sizes, work, compute.format)
    return CardBill(card, memory, card_seconds(config, folder, sizes, compute.format, card))


def step_work(config: Config, packed: float) -> StepWork:
    """A step with the longest prompts and completions that the limits allow."""
    train = config.train
    rollout = config.rollout
    pair = config.model.max_prompt_tokens + config.sft.max_completion_tokens
    return StepWork(
        rollout.num_prompts,
        rollout.group_size if train.method != "sft" else 0,
        config.model.max_prompt_tokens,
        rollout.max_new_tokens,
        max(
            min(train.max_tokens_per_pass or MOST, packed),
            min(config.sft.max_tokens_per_pass or MOST, config.sft.batch_size * pair),
        ),
        {"reference": train.method == "grpo", "anchor": bool(config.anchor.sft or config.anchor.train)},
        config.engine.gradient_checkpointing,
    )


def card_seconds(config: Config, folder: Path | None, sizes: ModelSizes, format: Format, card: Card) -> float:
    """Warm start and the stage after it: a rollout goes on to the length limit, since one of its rows does."""
    prompt, _ = typical_lengths(config)
    sampled = replace(step_work(config, 0), prompt=prompt)
    flops = sum(stage_flops(config, folder))
    if config.train.method == "sft":
        return training_seconds(flops, sizes, card)
    steps = config.train.num_steps
    decoding = steps * sampled.new * decode_seconds(sizes, sampled, format, card)
    return training_seconds(flops - steps * decode_flops(config, folder), sizes, card) + decoding
