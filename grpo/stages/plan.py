"""What a run will cost, before it starts: optimiser steps, tokens, floating-point operations, memory,
time.
"""

import gzip
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from data.cache import cache_dir
from data.documents import user_path
from eval.report.wording import estimate_range
from eval.run_folder import METHOD_LABELS
from grpo.config import DEFAULT_POLICY, Config
from grpo.engine.products import Format
from grpo.runtime.device import Compute
from grpo.runtime.run_folder import corpus_facts
from grpo.stages.duration import (
    evaluation_seconds,
    model_sizes,
    spread,
    stage_flops,
    stage_seconds,
    step_work,
    typical_lengths,
)
from grpo.stages.machine import Machine
from grpo.stages.memory_bill import (
    FP32_BYTES,
    MemoryBill,
    ModelSizes,
    StepWork,
    cheapest_fit,
    frozen_bytes,
    gradient_bytes,
    memory_bill,
    metric_bytes,
    moment_bytes,
    protection_bytes,
)
from grpo.stages.pass_size import CPU_TOKENS

# a transformer layer keeps about 34 numbers of its width of each token for the backward pass (arXiv 2205.05198, 4.1)
ACTIVATION_BYTES = 34 * 4
LAYER_PARAMETERS = 12  # of a layer, in squares of its width: attention 4, feed-forward 8
# an upper guess for models of this size, as no header of the weights says; the default model has 18
LAYERS = 36
CHECKPOINTED = 0.2  # of the activations stay with gradient checkpointing
ROOM = 0.95  # of an accelerator's memory that a bill may take; the rest is for fragments
TOO_MUCH = "too much for it, as 5 % of its memory are for what torch adds"
PROCESSES = (2, 4, 8, 16, 32, 64)  # that share a model
OWN_BYTES = 1e9  # of a process with its libraries
PAIR_BYTES = 120  # of a pair of the corpus, whose texts stay on disk: places, lengths, an order; measured
RESAMPLED_BYTES = 16  # of a test item in a resample of the bootstrap, while it is drawn


@dataclass(frozen=True)
class Plan:
    """Counts of a run. `flops` counts 2 per parameter and token forward, 4 more backward, the head on
    completion tokens only. `seconds` and `flops` are those of training.
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
    evaluation_seconds: float = 0.0
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
        rates = {
            "the warm start": config.sft.num_steps and config.sft.optim.lower_lr_share == 0,
            METHOD_LABELS[train.method]: train.num_steps and train.optim.lower_lr_share == 0,
        }
        fixed = [name for name, is_fixed in rates.items() if is_fixed]
        trained = f"embeddings and the lower third fixed in {' and '.join(fixed)}" if fixed else "all trained"
        each = "reference texts" if train.method == "sft" else f"prompts x {rollout.group_size} completions"
        return [
            f"warm start   {config.sft.num_steps} steps x {config.sft.batch_size} pairs, about {self.sft_tokens:,} tokens",
            f"{METHOD_LABELS[train.method]:12} {train.num_steps} steps x {rollout.num_prompts} {each}, {updates} updates",
            f"             about {self.rollout_tokens:,} sampled tokens, {self.update_tokens:,} tokens trained on",
            f"model        {size_in_words(self.parameters)} parameters, {trained}, fp32 masters",
            *(self.card.lines() if self.card else ()),
            f"{'machine' if self.card else 'memory':12} about {self.memory_bytes / 1e9:.1f} GB at the peak: {' and '.join(peaks)}",
            f"time         {self.time(config)} on this machine ({self.flops / 1e12:.0f} TFLOP of training)",
        ]

    def time(self, config: Config) -> str:
        """The range that the stages are likely to take together."""
        low, high = (share * (self.seconds + self.evaluation_seconds) for share in spread(config))
        return (
            f"{estimate_range(low, high)} for warm start, {METHOD_LABELS[config.train.method]} and evaluation"
        )


def size_in_words(parameters: int) -> str:
    """The size of a model.

    >>> [size_in_words(count) for count in (40_000, 134_515_008, 1_543_714_304)]
    ['under 1M', '135M', '1.5B']
    """
    millions = parameters / 1e6
    if millions >= 1000:
        return f"{millions / 1000:.1f}B"
    return f"{millions:.0f}M" if millions >= 1 else "under 1M"


def known_model(config: Config) -> Path | None:
    """The untouched model's folder, where there is one already."""
    folder = Path(config.model.policy)
    if config.model.policy == DEFAULT_POLICY:
        folder = cache_dir() / "models" / f"{DEFAULT_POLICY}-{config.model.vocabulary}"
    return folder if folder.is_dir() else None


def corpus_pairs(config: Config) -> int:
    """Pairs to train on: as corpus.json of the run folder says, else lines of the user's file, else 0."""
    try:
        splits = corpus_facts(Path(config.run_dir))["manifest"]["splits"]
        counts = [splits[name]["pairs"] for name in ("warm_start", "train") if name in splits]
    except (KeyError, TypeError):
        counts = []
    is_known = counts and all(isinstance(count, int) for count in counts)
    return sum(counts) if is_known else sum(lines_of(one.pairs) for one in config.data.members.values())


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


def evaluation_bytes(config: Config, total: int) -> float:
    """Peak of the evaluation beside the corpus: the model in fp32, resamples of the test set, learned metrics."""
    resamples = (
        RESAMPLED_BYTES * config.eval.bootstrap_samples * config.data.test_size * len(config.data.members)
    )
    return FP32_BYTES * total + resamples + metric_bytes(config, in_training=False)


def activation_bytes(config: Config, body: int) -> float:
    """What the forward pass over the largest packed row keeps for the backward pass; `body`: parameters without
    the embedding. Layers x width follows from body = layers x 12 width^2.
    """
    tokens = max(part.max_tokens_per_pass or CPU_TOKENS for part in (config.train, config.sft))
    share = CHECKPOINTED if config.engine.gradient_checkpointing else 1.0
    return share * ACTIVATION_BYTES * tokens * (LAYERS * body / LAYER_PARAMETERS) ** 0.5


def packed_tokens(config: Config) -> float:
    """Tokens that a step trains on, by the typical lengths: a prompt once for its group, where groups share it."""
    prompt, completion = typical_lengths(config)
    prompts = config.rollout.num_prompts
    if config.train.method in ("sft", "best_of_group"):
        return prompts * (prompt + completion)
    rows = prompts * config.rollout.group_size
    return (prompts if config.engine.share_prefix else rows) * prompt + rows * completion


def make_plan(config: Config, folder: Path | None, compute: Compute, pairs: int | None = None) -> Plan:
    """The bill of a configuration; `folder` is the model's, None when it has not been made yet; `pairs`: to train on,
    where the corpus is prepared.
    """
    sizes = model_sizes(config, folder)
    train = config.train
    sft = config.sft
    prompt, completion = typical_lengths(config)
    rows = config.rollout.num_prompts * config.rollout.group_size
    sampled_tokens = rows * completion * (train.method != "sft")
    packed = packed_tokens(config)
    flops = sum(stage_flops(config, sizes))
    pairs = corpus_pairs(config) if pairs is None else pairs
    corpus = OWN_BYTES + pairs * PAIR_BYTES
    machine = Machine.of(compute)
    card = card_bill(config, sizes, machine, packed) if machine.memory else None
    training = training_models(config, sizes, compute.format)
    training += activation_bytes(config, sizes.parameters - sizes.embedding)
    if card is not None:  # the process only reads the model
        training = FP32_BYTES * sizes.parameters
    return Plan(
        parameters=sizes.parameters,
        sft_tokens=int(sft.num_steps * sft.batch_size * (prompt + completion)),
        rollout_tokens=int(train.num_steps * sampled_tokens),
        update_tokens=int(train.num_steps * train.passes * packed),
        flops=flops,
        pairs=pairs,
        training_bytes=int(training + corpus),
        evaluation_bytes=int(evaluation_bytes(config, sizes.parameters) + corpus),
        seconds=sum(stage_seconds(config, sizes, machine)),
        evaluation_seconds=evaluation_seconds(config, sizes, machine),
        card=card,
    )


def training_models(config: Config, sizes: ModelSizes, format: Format) -> float:
    """Bytes of the model, its gradients and moments, and the models that are not trained, in the host's memory."""
    work = step_work(config, 0)
    at_rest = replace(config.engine, frozen="device")  # on a CPU both are the same memory
    frozen_size = (work.has_reference + work.has_anchor) * frozen_bytes(sizes, at_rest, format)
    own = FP32_BYTES * sizes.parameters + gradient_bytes(sizes, work) + moment_bytes(sizes, work)
    return own + frozen_size + protection_bytes(sizes, work.protection) + work.metrics


@dataclass(frozen=True)
class CardBill:
    """What a run takes of an accelerator's memory of `size` bytes. `advice` says what would fit where this does not."""

    size: int
    memory: MemoryBill
    advice: str = ""

    def lines(self) -> list[str]:
        return [*self.memory.lines(self.size), *([self.advice] if self.advice else ())]


def card_bill(config: Config, sizes: ModelSizes, machine: Machine, packed: float) -> CardBill:
    """`packed`: tokens of a step."""
    work = step_work(config, packed)
    memory = memory_bill(sizes, work, machine.format)
    is_over = memory.peak > ROOM * machine.memory
    advice = advice_on(sizes, work, machine.format, machine.memory) if is_over else ""
    return CardBill(machine.memory, memory, advice)


def advice_on(sizes: ModelSizes, work: StepWork, format: Format, memory: int) -> str:
    """The sentence that says which settings fit into `memory`; then how many processes would."""
    cheaper = cheapest_fit(sizes, work, format, ROOM * memory)
    if cheaper:
        settings, bill = cheaper
        return f"             {TOO_MUCH}; {bill.peak / 1e9:.1f} GB with {settings}"
    for processes in PROCESSES:
        bill = memory_bill(sizes, replace(work, processes=processes), format)
        if bill.peak <= ROOM * memory:
            return (
                f"             {TOO_MUCH}; lower train.max_tokens_per_pass, "
                f"or {bill.peak / 1e9:.1f} GB each with parallel.mode=fsdp on {processes} accelerators"
            )
    return f"             {TOO_MUCH}, in any memory mode (docs/memory.md); take a smaller model"
