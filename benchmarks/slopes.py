"""Does the step's time grow faster than its size? Log-log slopes against group size, prompts and completion
length: 1 = in proportion.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.step import Stepper, StepSize

FACTORS = (1, 2, 4)
DIMENSIONS = ("group", "prompts", "new")
PHASES = ("rollout", "score", "update", "step")
ROUNDS = 2


@dataclass(frozen=True)
class Slope:
    """`seconds` by phase at each of `sizes`; `slopes` by phase."""

    dimension: str
    sizes: Sequence[int]
    seconds: Mapping[str, Sequence[float]]
    slopes: Mapping[str, float]


def log_log_slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Least squares of log seconds on log size.

    >>> round(log_log_slope([4, 8, 16], [3.0, 6.0, 12.0]), 6)
    1.0
    """
    x = [math.log(size) for size in sizes]
    y = [math.log(second) for second in seconds]
    centre = sum(x) / len(x)
    return sum((a - centre) * b for a, b in zip(x, y, strict=True)) / sum((a - centre) ** 2 for a in x)


def grid(base: StepSize) -> dict[str, list[StepSize]]:
    """Each dimension at FACTORS times its size in `base`, the others as they are."""
    return {
        name: [replace(base, **{name: factor * getattr(base, name)}) for factor in FACTORS]
        for name in DIMENSIONS
    }


def measure_slopes(
    stepper: Stepper, base: StepSize, say: Callable[[str], None], rounds: int = ROUNDS
) -> list[Slope]:
    """All sizes once a round, largest first so that memory grows once; the quickest of the rounds counts."""
    sizes = grid(base)
    distinct = sorted(
        {size for row in sizes.values() for size in row}, key=lambda s: -s.prompts * s.group * s.new
    )
    stepper.run(base, 1)
    times: dict[StepSize, list[dict[str, float]]] = {size: [] for size in distinct}
    for number in range(rounds):
        for size in distinct:
            times[size] += stepper.run(size, 1)[0]
            say(f"  round {number + 1}: {size}: {times[size][-1]['step']:.2f} s")
    return [_slope(name, row, times) for name, row in sizes.items()]


def _slope(
    dimension: str, steps: Sequence[StepSize], times: Mapping[StepSize, Sequence[Mapping[str, float]]]
) -> Slope:
    sizes = [getattr(size, dimension) for size in steps]
    seconds = {phase: [min(step[phase] for step in times[size]) for size in steps] for phase in PHASES}
    return Slope(dimension, sizes, seconds, {phase: log_log_slope(sizes, seconds[phase]) for phase in PHASES})


def print_slopes(slopes: Sequence[Slope]) -> None:
    print(f"{'log-log slope against':24}{'sizes':>12}" + "".join(f"{phase:>10}" for phase in PHASES))
    for slope in slopes:
        sizes = ", ".join(map(str, slope.sizes))
        print(
            f"{slope.dimension:24}{sizes:>12}" + "".join(f"{slope.slopes[phase]:>10.2f}" for phase in PHASES)
        )
