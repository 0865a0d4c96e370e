"""What a run will cost, before it starts: optimiser steps, tokens, floating-point operations, memory,
time.
"""

import gzip
import math
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data.cache import cache_dir
from data.documents import read_object, user_path
from data.errors import InputError
from data.model_folder import tensor_shapes
from eval.memory import BUCKETS
from grpo.config import DEFAULT_POLICY, Config
from grpo.runtime.device import Compute, synchronise
from grpo.stages.pass_size import CPU_TOKENS

DEFAULT_PARAMETERS = {
    "trimmed": (131_000_000, 31_000_000),
    "full": (268_000_000, 168_000_000),
}  # all, embedding
LENGTH_SHARE = (
    0.4  # of a length limit that a typical prompt or completion uses, before the corpus has been counted
)
STAGE_NAMES = {"grpo": "GRPO", "sft": "strong SFT", "best_of_group": "best of group"}
RECOMPUTED = 0.2  # of the activations are held with gradient checkpointing
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
            f"{STAGE_NAMES[train.method]:12} {train.num_steps} steps x {rollout.num_prompts} {each}, {updates} updates",
            f"             about {self.rollout_tokens:,} sampled tokens, {self.update_tokens:,} tokens trained on",
            f"model        {self.parameters / 1e6:.0f}M parameters, all trained, fp32 masters",
            f"memory       about {self.memory_bytes / 1e9:.1f} GB at the peak: {' and '.join(peaks)}",
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
    a, b = (torch.randn(1024, 1024, device=compute.device, dtype=compute.format.forward) for _ in range(2))
    a @ b
    synchronise(compute)
    count = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        a @ b
        synchronise(compute)
        count += 1
    return count * 2 * 1024**3 / (time.perf_counter() - started)


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
    return sum(counts) if known else lines_of(config.data.corpus)


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
    return 4 * total + index + RESAMPLED_BYTES * config.eval.bootstrap_samples * config.data.test_size


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
    decode = 2 * total * sampled + 2 * body * rollout.num_prompts * prompt
    if train.method == "best_of_group":
        return warm_start, train.num_steps * (decode + rollout.num_prompts * pair + anchored_flops)
    prompts = rollout.num_prompts if config.engine.share_prefix else rollout.num_prompts * rollout.group_size
    passes = train.passes * 3 + 1 + config.reuses_rollout
    update = 2 * passes * (body * (prompts * prompt + sampled) + embedding * sampled)
    return warm_start, train.num_steps * (decode + update + config.updates_per_step * anchored_flops)


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
    kept = RECOMPUTED if config.engine.gradient_checkpointing else 1.0
    pairs = corpus_pairs(config)
    corpus = OWN_BYTES + pairs * (PAIR_BYTES + TOKEN_BYTES * (prompt + completion))
    activations = (
        kept
        * 34
        * 4
        * max(part.max_tokens_per_pass or CPU_TOKENS for part in (train, sft))
        * ((total - embedding) / 12) ** 0.5
        * 6
    )
    return Plan(
        parameters=total,
        sft_tokens=int(sft.num_steps * sft.batch_size * (prompt + completion)),
        rollout_tokens=int(train.num_steps * sampled),
        update_tokens=int(train.num_steps * train.passes * packed),
        flops=flops,
        pairs=pairs,
        training_bytes=int(
            (20 + 4 * bool(config.anchor.sft or config.anchor.train)) * total + activations + corpus
        ),
        evaluation_bytes=int(evaluation_bytes(config, total, pairs) + corpus),
        seconds=flops / (EFFICIENCY * matmul_rate(compute)),
    )
