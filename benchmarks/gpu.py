"""`make bench-gpu`: what a GRPO step, a decode step and the warm start take on this accelerator, beside its limits.

Random weights of true sizes, no network, no package but torch and transformers; four minutes. Rows that do not
fit the memory or the time are left out with a sentence, a row that fails is reported and the rest go on. Leaves
gpu.json and, with matplotlib, gpu_roofline.png. docs/performance.md says how the numbers are counted.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks import gpu_peer
from benchmarks.ceilings import Ceilings, bandwidths, product_rate
from benchmarks.counts import shape_of, step_flops
from benchmarks.gpu_rows import (
    REPEATS,
    Result,
    decode_result,
    step_result,
    warm_start_flops,
    warm_start_result,
)
from benchmarks.gpu_sizes import SIZES, TINY_SIZE, ModelSize, bill_sizes
from benchmarks.gpu_table import line_of
from benchmarks.step import Stepper, StepSize
from benchmarks.subject import Subject, numerals, random_model, trivial_reward
from data.errors import InputError, one_line, run_command
from grpo.config import EngineConfig
from grpo.engine.fused_layers import fuse_layers, is_fused
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.products import FORMATS
from grpo.runtime import device
from grpo.stages.machine import Machine
from grpo.stages.memory_bill import ModelSizes, StepWork, memory_bill

FORMAT = 1
SIDE = 8192
MEMORY = 4 << 30
TINY_SIDE = 64
TINY_MEMORY = 1 << 20
ROOM = 0.95  # of the memory that a row may take by its bill
PEER_SECONDS = 60.0  # that a process of the peer is expected to take


@dataclass(frozen=True)
class Job:
    """A row to measure: the bill's guess of its peak of memory, and of its seconds for one step or token, which
    the work does `times` times.
    """

    name: str
    bytes: float
    seconds: float
    times: int
    work: Callable[[], Result]

    @property
    def bill(self) -> dict[str, float]:
        return {"bytes": self.bytes, "seconds": self.seconds}


class Bench:
    """Measures rows one after another until the time is over; keeps what was measured and what was not."""

    def __init__(
        self, compute: device.Compute, ceilings: Ceilings, deadline: float, save: Callable[[], None]
    ):
        self.compute = compute
        self.ceilings = ceilings
        self.deadline = deadline
        self.save = save
        memory = device.accelerator_memory(compute) or sys.maxsize
        copy_rate = ceilings.bandwidths["copy"]
        self.machine = Machine(ceilings.product_rate, compute.format, memory, copy_rate)
        self.results: list[Result] = []
        self.bills: list[dict[str, float]] = []
        self.remarks: list[str] = []

    def remark(self, text: str) -> None:
        self.remarks.append(text)
        print(text, flush=True)

    def does_not_fit(self, job: Job) -> str | None:
        memory = self.machine.memory
        if job.bytes > ROOM * memory:
            return f"left out: {job.name} needs about {job.bytes / 1e9:.0f} GB of {memory / 1e9:.0f} GB"
        seconds = self.deadline - time.perf_counter()
        expected_seconds = job.seconds * job.times
        if expected_seconds > seconds:
            return f"left out: {job.name} takes about {expected_seconds:.0f} s, and {max(0.0, seconds):.0f} s are left (--seconds)"
        return None

    def measure(self, job: Job) -> None:
        """One row; whatever it fails of is reported."""
        if sentence := self.does_not_fit(job):
            self.remark(sentence)
            return
        device.release_memory(self.compute)
        failure = ""
        try:
            result = job.work()
        except Exception as error:  # a row must not end the others
            failure = f"failed: {job.name}: {type(error).__name__}: {one_line(error)}"
        if failure:
            self.remark(failure)
        else:
            self.results.append(result)
            self.bills.append(job.bill)
            print(line_of(result, job.bill), flush=True)
        self.save()


class Model:
    """A random model of one size; reference and optimiser are made when a row first needs them."""

    def __init__(self, size: ModelSize, compute: device.Compute):
        policy = random_model(size.settings, compute, size.family)
        if is_fused("auto", compute.device):
            print(f"{size.name}: {fuse_layers(policy)}", flush=True)
        if size.recomputes:
            recompute_layers(policy)
        self.size = size
        self.subject = Subject(policy, numerals(None), trivial_reward, compute, size.name)
        self._stepper: Stepper | None = None

    @property
    def stepper(self) -> Stepper:
        self._stepper = self._stepper or Stepper(self.subject)
        return self._stepper


def decode_jobs(model: Model, bench: Bench) -> Iterator[Job]:
    """The rows of decoding, for which there is neither an optimiser nor a reference."""
    size = model.size
    shape = shape_of(model.subject.policy)
    sizes = bill_sizes(size, shape.parameters, shape.head)
    form = bench.compute.format
    for rows in size.decode_rows:
        decode = size.decode
        work = StepWork(rows // decode.group, decode.group, decode.prompt, decode.long, 0)
        bill = memory_bill(sizes, work, form)
        moments = bill.rollout["moments"]
        yield Job(
            f"{size.name} decode, {rows} rows",
            sum(bill.rollout.values()) - moments,
            bench.machine.token_seconds(sizes, work),
            (1 + REPEATS) * (decode.long + decode.short),
            partial(decode_result, model.subject, decode, rows, size.name, bench.ceilings),
        )


def training_jobs(model: Model, bench: Bench) -> Iterator[Job]:
    """Whole steps, and the warm start."""
    size = model.size
    shape = shape_of(model.subject.policy)
    sizes = bill_sizes(size, shape.parameters, shape.head)
    form = bench.compute.format
    for step in size.steps:
        flops = sum(step_flops(shape, step.lengths).values())
        yield Job(
            f"{size.name} step, {step}",
            memory_bill(sizes, work_of(step, size), form).peak,
            step_seconds(sizes, step, size, bench, flops),
            1 + REPEATS,
            partial(run_step, model, step, bench.ceilings),
        )
    if size.warm_start:
        step = size.steps[0]
        yield Job(
            f"{size.name} warm start",
            memory_bill(sizes, work_of(step, size), form).peak,
            bench.machine.training_seconds(warm_start_flops(shape), sizes),
            2 * (1 + 2 * REPEATS),
            lambda: warm_start_result(model.stepper, step.max_tokens, size.name),
        )


def run_step(model: Model, step: StepSize, ceilings: Ceilings) -> Result:
    return step_result(model.stepper, step, model.size.name, ceilings)


def work_of(step: StepSize, size: ModelSize) -> StepWork:
    tokens = min(step.max_tokens, step.lengths.unique)
    return StepWork(
        step.prompts,
        step.group,
        step.prompt,
        step.new,
        tokens,
        has_reference=True,
        engine=EngineConfig(gradient_checkpointing=size.recomputes),
    )


def step_seconds(sizes: ModelSizes, step: StepSize, size: ModelSize, bench: Bench, flops: float) -> float:
    """The bill's guess; `flops` of a whole step, of which the rollout is a fifth."""
    decoding = step.new * bench.machine.token_seconds(sizes, work_of(step, size))
    return decoding + bench.machine.training_seconds(0.8 * flops, sizes)


def measure_model(size: ModelSize, bench: Bench) -> None:
    """All rows of a size. Decoding and training have a model each, so that what a sampler keeps for one row is
    not counted in another.
    """
    measure_rows(size, bench, decode_jobs)
    if size.steps:
        measure_rows(size, bench, training_jobs)


def measure_rows(size: ModelSize, bench: Bench, jobs: Callable[[Model, Bench], Iterator[Job]]) -> None:
    device.release_memory(bench.compute)
    try:
        model = Model(size, bench.compute)
    except torch.OutOfMemoryError as error:
        bench.remark(f"left out: {size.name}: its weights do not fit: {one_line(error)}")
        return
    for job in jobs(model, bench):
        bench.measure(job)
        model.subject.policy.zero_grad(set_to_none=True)  # of a row that failed on its way


def measure_peer(size: ModelSize, bench: Bench) -> None:
    """TRL at the first step of a size, and how many times longer than ours it takes."""
    if not gpu_peer.is_installed():
        bench.remark("TRL is not installed: no row of it")
        return
    step = size.steps[0]

    def work() -> Result:
        answer = gpu_peer.peer_step_seconds(size, step, bench.deadline - time.perf_counter())
        shown = f"{step.prompts}x{step.group}x{step.new}, prompts of {step.prompt}"
        ours = [row.seconds["step"] for row in bench.results if (row.model, row.shape) == (size.name, shown)]
        facts = {"ratio": answer["step"] / ours[0]} if ours else {}
        return Result("TRL", size.name, shown, {"step": answer["step"]}, {}, facts, int(answer["peak_bytes"]))

    bench.measure(Job(f"TRL {size.name}", 0, PEER_SECONDS, 1, work))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    names = [size.name for size in SIZES]
    parser.add_argument(
        "--size",
        nargs="+",
        choices=[*names, TINY_SIZE.name],
        help="models to measure (default: all that fit); tiny: a try of everything, also on a CPU",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=240.0,
        help="time for everything; the largest rows are left out first",
    )
    parser.add_argument("--format", choices=["auto", *FORMATS], default="auto", help="engine.number_format")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder (default runs/bench)")
    return parser.parse_args(arguments)


def record(bench: Bench, start: float) -> dict[str, Any]:
    """What gpu.json holds."""
    rows = [
        {**asdict(replace(result, points=())), "bill": bill}
        for result, bill in zip(bench.results, bench.bills, strict=True)
    ]
    points = [point for result in bench.results for point in result.points]
    return {
        "format": FORMAT,
        "machine": device.describe(bench.compute),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "memory_bytes": device.accelerator_memory(bench.compute),
        "ceilings": {"product_rate": bench.ceilings.product_rate, **bench.ceilings.bandwidths},
        "rows": rows,
        "remarks": bench.remarks,
        "roofline": [
            {
                "name": point.name,
                "operations_per_byte": point.flops / point.bytes,
                "operations_per_second": point.flops / point.seconds,
            }
            for point in points
        ],
        "seconds": time.perf_counter() - start,
    }


def draw_roofline(bench: Bench, path: Path) -> None:
    """A picture where matplotlib is there."""
    points = [point for result in bench.results for point in result.points]
    if not points:
        return
    try:
        from benchmarks.roofline import draw
    except ImportError:
        bench.remark("matplotlib is not installed: no picture; gpu.json has its data")
        return
    draw(points, bench.ceilings, path)


def run(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    compute = device.choose(number_format=options.format)
    is_tiny = options.size == [TINY_SIZE.name]
    if compute.device.type == "cpu" and not is_tiny:
        raise InputError(
            "benchmarks.gpu measures an accelerator and torch sees none here; --size tiny tries everything on this CPU"
        )
    device.configure(compute)
    side, memory = (TINY_SIDE, TINY_MEMORY) if is_tiny else (SIDE, MEMORY)
    ceilings = Ceilings(side, (product_rate(compute, side),), bandwidths(compute, memory))
    options.out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        text = json.dumps(record(bench, start), indent=1)
        (options.out / "gpu.json").write_text(text, encoding="utf-8")

    bench = Bench(compute, ceilings, start + options.seconds, save)
    print(json.dumps(device.describe(compute)))
    rates = ", ".join(f"{name} {rate / 1e12:.2f} TB/s" for name, rate in ceilings.bandwidths.items())
    print(f"ceilings: {side}-square product {ceilings.product_rate / 1e12:.1f} TFLOP/s, {rates}")
    for size in (TINY_SIZE, *SIZES):
        if size.name in (options.size or [one.name for one in SIZES]):
            measure_model(size, bench)
            if size.peer:
                measure_peer(size, bench)
    draw_roofline(bench, options.out / "gpu_roofline.png")
    save()


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
