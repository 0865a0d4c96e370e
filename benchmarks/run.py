"""`make bench`: pieces of a step and the whole step, timed on this machine beside what it can do at most.

Seconds of a shared machine mean little; shares of ceilings measured in the same run can be compared. How
operations and bytes are counted: docs/performance.md. Leaves bench.json and roofline.png. A benchmark, not a
test: it asserts nothing.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.ceilings import Ceilings, bandwidths, product_rate
from benchmarks.micro import model_rows
from benchmarks.pieces import piece_works
from benchmarks.roofline import draw
from benchmarks.slopes import Slope, measure_slopes, print_slopes
from benchmarks.step import Stepper, StepSize, step_rows
from benchmarks.subject import default_subject, tiny_subject
from benchmarks.timing import Row, measure
from grpo.runtime import device

FORMAT = 1
SIDE = 2048
MEMORY = 256 << 20
CACHED = 100_000
ASKED = 4096
COUNTS = {
    "prompts": (8, "prompts a step"),
    "group": (8, "completions a prompt"),
    "prompt": (30, "tokens of a prompt"),
    "new": (32, "tokens of a completion"),
    "max-tokens": (640, "packed tokens of one forward pass"),
    "steps": (2, "whole steps that are timed, after one that is not counted"),
}
SLOPE_BASE = {"prompts": 4, "group": 4, "new": 16}
QUICK = {"side": 64, "memory": 1 << 20, "cached": 100, "asked": 10, "seconds": 0.001}
QUICK_SIZE = StepSize(prompts=2, group=2, new=2, prompt=3, max_tokens=16)


def count(text: str) -> int:
    """A whole number from 1, small enough to be meant."""
    number = int(text)
    if not 1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and 1,000,000")
    return number


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, (default, text) in COUNTS.items():
        parser.add_argument(f"--{name}", type=count, default=default, help=f"{text} (default {default})")
    parser.add_argument(
        "--slopes",
        action="store_true",
        help="how the step's time grows with its size, instead of everything else",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a tiny model and tiny sizes, to see that it runs; no number means anything",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/bench"),
        help="folder for bench.json and roofline.png (default runs/bench)",
    )
    options = parser.parse_args(arguments)
    options.size = StepSize(options.prompts, options.group, options.new, options.prompt, options.max_tokens)
    scale = {"side": SIDE, "memory": MEMORY, "cached": CACHED, "asked": ASKED, "seconds": 1.0}
    options.scale = argparse.Namespace(**(QUICK if options.quick else scale))
    if options.quick:
        options.size = QUICK_SIZE
        options.steps = 1
    return options


def measure_all(stepper: Stepper, options: argparse.Namespace) -> tuple[list[Row], list[Row], Ceilings]:
    """Pieces, the whole step's phases, ceilings; the product's rate is measured before, between and after."""
    compute = stepper.subject.compute
    scale = options.scale
    rates = bandwidths(compute, scale.memory)
    samples = [product_rate(compute, scale.side)]
    timed = partial(measure, compute=compute, seconds=scale.seconds)
    pieces = [
        *map(timed, piece_works(options.size, scale.cached, scale.asked)),
        *model_rows(stepper, options.size, timed),
    ]
    samples.append(product_rate(compute, scale.side))
    phases = step_rows(stepper, options.size, options.steps)
    samples.append(product_rate(compute, scale.side))
    return pieces, phases, Ceilings(scale.side, tuple(samples), rates)


def print_ceilings(ceilings: Ceilings) -> None:
    rates = ", ".join(f"{rate / 1e9:.1f}" for rate in ceilings.product_samples)
    print(
        f"ceilings: {ceilings.side}-square product before, between, after: {rates} GFLOP/s; the largest counts"
    )
    print(
        "          "
        + ", ".join(f"{name} {rate / 1e9:.1f} GB/s" for name, rate in ceilings.bandwidths.items())
    )


def print_rows(rows: Sequence[Row], ceilings: Ceilings) -> None:
    print(
        f"{'':44}{'ms':>11}{'+-':>6}{'GFLOP':>10}{'MB':>9}{'FLOP/B':>8}{'faults':>9}{'of product':>12}{'of bound':>10}"
    )
    for row in rows:
        flops = f"{row.flops / 1e9:.2f}" if row.flops else "-"
        megabytes = f"{row.bytes / 1e6:.2f}" if row.bytes else "-"
        intensity = f"{row.flops / row.bytes:.1f}" if row.flops and row.bytes else "-"
        share = f"{row.of_product_rate(ceilings):.0%}" if row.flops else "-"
        bound = f"{row.of_bound(ceilings):.0%}" if row.bytes else "-"
        numbers = f"{1000 * row.seconds:>11.3f}{row.spread:>6.0%}{flops:>10}{megabytes:>9}{intensity:>8}{row.page_faults:>9,.0f}"
        print(f"{row.name:44}{numbers}{share:>12}{bound:>10}")


def record(options: argparse.Namespace, stepper: Stepper, **parts: Any) -> dict[str, Any]:
    """What bench.json holds; it says of what and on which machine."""
    facts = {"model": stepper.subject.what, "machine": device.describe(stepper.subject.compute)}
    return {
        "format": FORMAT,
        **facts,
        "size": asdict(options.size),
        "peak_memory_bytes": device.peak_memory_bytes(stepper.subject.compute),
        **parts,
    }


def as_json(row: Row, ceilings: Ceilings) -> dict[str, Any]:
    """With its shares; that of the product rate is null where there are no products, that of the bound where
    no bytes are counted.
    """
    of_product = row.of_product_rate(ceilings) if row.flops else None
    return {
        **asdict(row),
        "of_product_rate": of_product,
        "of_bound": row.of_bound(ceilings) if row.bytes else None,
    }


def run_slopes(stepper: Stepper, options: argparse.Namespace) -> list[Slope]:
    small = StepSize(**SLOPE_BASE, prompt=options.prompt, max_tokens=options.max_tokens)
    slopes = measure_slopes(
        stepper, QUICK_SIZE if options.quick else small, print, rounds=1 if options.quick else 2
    )
    print_slopes(slopes)
    return slopes


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    compute = device.choose()
    device.configure(compute)
    stepper = Stepper((tiny_subject if options.quick else default_subject)(compute))
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{stepper.subject.what}; {json.dumps(device.describe(compute))}")
    if options.slopes:
        written = record(options, stepper, slopes=[asdict(slope) for slope in run_slopes(stepper, options)])
        (options.out / "slopes.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
        return
    pieces, phases, ceilings = measure_all(stepper, options)
    print_ceilings(ceilings)
    print_rows(pieces, ceilings)
    print(f"whole step: {options.size}, median of {options.steps}")
    print_rows(phases, ceilings)
    tables = {
        "pieces": [as_json(row, ceilings) for row in pieces],
        "step": [as_json(row, ceilings) for row in phases],
    }
    measured = {"product_rate": ceilings.product_rate, **asdict(ceilings)}
    written = record(options, stepper, steps=options.steps, ceilings=measured, **tables)
    (options.out / "bench.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
    draw(pieces, ceilings, options.out / "roofline.png")


if __name__ == "__main__":
    main()
