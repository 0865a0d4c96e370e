"""The rows of `make bench-gpu`: a whole step by phase, one decode step, the warm start. Each is a median after
a run that does not count, and waits for the accelerator.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks import counts
from benchmarks.ceilings import Ceilings
from benchmarks.counts import ModelShape, uniform
from benchmarks.gpu_sizes import DecodeSize
from benchmarks.step import Stepper, StepSize
from benchmarks.subject import Subject, pairs, prompts
from benchmarks.timing import Row
from data.stream import PromptStream
from grpo.anchor import Anchor, AnchorFunction, no_anchor
from grpo.config import SFTConfig
from grpo.engine.sampler import Sampling, generate
from grpo.records import LoopState
from grpo.runtime.device import peak_memory_bytes, synchronise
from grpo.runtime.parallel import SINGLE_PROCESS
from grpo.runtime.run_log import RunLog
from grpo.sft import train_sft
from grpo.training import Training

REPEATS = 3
PAIRS = 32  # of an update of the warm start, as [sft] has them
PAIR_PROMPT = 30
PAIR_COMPLETION = 26
ANCHOR_TEXTS = 2
ANCHOR_TOKENS = 64  # of a text
GAPS: dict[str, tuple[str, Callable[[Iterable[float]], float]]] = {  # the log's name, of several steps
    "gap_mean": ("ratio_gap_mean", statistics.median),
    "gap_max": ("ratio_gap_max", max),
    "effective_share": ("sampler_effective_share", min),
}


@dataclass(frozen=True)
class Result:
    """One row. `seconds` by name; `shares` of a ceiling; `facts` are what else was seen; `points` are dots of
    the roofline.
    """

    kind: str
    model: str
    shape: str
    seconds: Mapping[str, float]
    shares: Mapping[str, float]
    facts: Mapping[str, float]
    peak_bytes: int
    points: tuple[Row, ...] = field(default=(), repr=False)


def number_bytes(subject: Subject) -> int:
    """Bytes of an operand of a product."""
    return subject.compute.format.forward.itemsize


def point(name: str, seconds: float, flops: float, num_bytes: float) -> Row:
    return Row(name, seconds, 0.0, flops, num_bytes, "copy", 0.0)


def step_result(stepper: Stepper, size: StepSize, model: str, ceilings: Ceilings) -> Result:
    """Rollout, scoring and update of the real loop, and the gap between sampler and trainer."""
    subject = stepper.subject
    rows = stepper.log_of(size, 1 + REPEATS).rows[1:]
    seconds = {
        name: statistics.median(row["seconds"][name] for row in rows)
        for name in ("rollout", "score", "update", "step")
    }
    shape = counts.shape_of(subject.policy)
    flops = counts.step_flops(shape, size.lengths)
    shares = {name: flops[name] / seconds[name] / ceilings.product_rate for name in ("score", "update")}
    gaps = {name: choose(row[key] for row in rows) for name, (key, choose) in GAPS.items()}
    passes = math.ceil(size.lengths.unique / size.max_tokens)
    reading = passes * counts.weight_bytes(shape, number_bytes(subject))
    shown = f"{size.prompts}x{size.group}x{size.new}, prompts of {size.prompt}"
    num_bytes = {"score": reading, "update": 3 * reading + counts.optimiser_bytes(shape)}
    points = tuple(
        point(f"{model} {name} {shown}", seconds[name], flops[name], num_bytes[name]) for name in num_bytes
    )
    return Result("step", model, shown, seconds, shares, gaps, peak_memory_bytes(subject.compute), points)


def seconds_of(call: Callable[[], object], subject: Subject) -> float:
    """The median of REPEATS runs after one that does not count."""
    times = []
    for _ in range(1 + REPEATS):
        synchronise(subject.compute)
        start = time.perf_counter()
        call()
        synchronise(subject.compute)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def decode_result(subject: Subject, size: DecodeSize, rows: int, model: str, ceilings: Ceilings) -> Result:
    """One token of `rows` rows, sampling included, beside the time that the reading of all bytes takes."""
    batch = prompts(subject, rows // size.group, size.prompt)

    def rollout(new: int) -> None:
        generate(subject.policy, batch, Sampling(size.group, new, 1.0, (-1,)), seed=(0,))

    long, short = (seconds_of(partial(rollout, new), subject) for new in (size.long, size.short))
    step = max((long - short) / (size.long - size.short), 1e-9)
    shape = counts.shape_of(subject.policy)
    num_bytes = decode_bytes(subject, shape, [len(ids) for ids in batch], size)
    bound = num_bytes / ceilings.bandwidths["copy"]
    flops = counts.decode_flops(shape, [len(ids) for ids in batch], size.group, size.place)
    return Result(
        "decode",
        model,
        f"{rows} rows",
        {"token": step, "bound": bound},
        {"bytes": bound / step},
        {"tokens_per_second": rows / step},
        peak_memory_bytes(subject.compute),
        (point(f"{model} decode {rows} rows", step, flops, num_bytes),),
    )


def decode_bytes(subject: Subject, shape: ModelShape, lengths: list[int], size: DecodeSize) -> int:
    return counts.decode_bytes(shape, lengths, size.group, size.place, number_bytes(subject))


def warm_start_result(stepper: Stepper, max_tokens: int, model: str) -> Result:
    """Updates of the warm start with an anchor and without."""
    subject = stepper.subject
    texts = prompts(subject, 8 * ANCHOR_TEXTS, ANCHOR_TOKENS, seed=3)
    stream = PromptStream(texts, ANCHOR_TEXTS, 0)
    anchor = Anchor(stepper.reference, stream, [2], 1.0, max_tokens, subject.compute, SINGLE_PROCESS)
    seconds = {
        name: sft_seconds(stepper, max_tokens, function)
        for name, function in (("update", anchor), ("without anchor", no_anchor))
    }
    tokens = PAIRS * (PAIR_PROMPT + PAIR_COMPLETION - 1)
    facts = {
        "tokens_per_second": tokens / seconds["update"],
        "anchor_ratio": seconds["update"] / seconds["without anchor"],
    }
    shown = f"{PAIRS} pairs, anchor"
    return Result("warm start", model, shown, seconds, {}, facts, peak_memory_bytes(subject.compute))


def warm_start_flops(shape: ModelShape) -> float:
    """Operations of an update with its anchor: the policy forward and backward, the untouched model forward."""
    own = counts.TRAINING * counts.forward_flops(shape, uniform(PAIRS, PAIR_PROMPT, 1, PAIR_COMPLETION))
    anchor = uniform(ANCHOR_TEXTS, 1, 1, ANCHOR_TOKENS)
    return own + (counts.TRAINING + 1) * counts.forward_flops(shape, anchor)


def sft_seconds(stepper: Stepper, max_tokens: int, anchor: AnchorFunction) -> float:
    """The median update of the real loop of the warm start."""
    subject = stepper.subject
    batch = pairs(subject, PAIRS, PAIR_PROMPT, PAIR_COMPLETION)
    steps = 1 + 2 * REPEATS
    times = []
    with (
        tempfile.TemporaryDirectory() as folder,
        RunLog(Path(folder), "sft", 0, steps, {}, quiet=True) as log,
    ):

        def note(_state: LoopState) -> bool:
            synchronise(subject.compute)
            times.append(time.perf_counter())
            return False

        training = Training(
            subject.policy, stepper.optimizer, log, subject.compute, anchor, after_update=note
        )
        config = SFTConfig(num_steps=steps, max_tokens_per_pass=max_tokens)
        train_sft(config, training, batch, LoopState())
    return statistics.median(after - before for before, after in pairwise(times))
