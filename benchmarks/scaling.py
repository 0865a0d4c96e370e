"""How long a step is expected to take on many processes, from what it takes on one.

`python -m benchmarks.scaling --rollout 4.96 --update 2.01 --parameters 4.02e9 --spread 0.5 --rows 64
--bandwidth 50e9` prints a table: every process has the prompts of the one that was measured. The slowest process
decides, gradients travel after the update, and nothing overlaps. docs/many-machines.md says what was checked.
"""

import argparse
from dataclasses import dataclass
from statistics import NormalDist, fmean

SIZES = (1, 2, 4, 8, 16, 32, 64)
POINTS = 20_000  # of the integral


@dataclass(frozen=True)
class Step:
    """A step of one process, alone.

    rollout     seconds of decoding, until its longest completion ends
    update      seconds of scores, loss and gradients, which grow with the tokens
    parameters  of the model
    rows        completions of a process
    spread      standard deviation of a completion's tokens, as a share of their mean
    """

    rollout: float
    update: float
    parameters: float
    rows: int
    spread: float


def largest_normal(count: int) -> float:
    """The expected largest of `count` independent standard normal numbers.

    >>> [round(largest_normal(count), 2) for count in (2, 4, 64)]
    [0.56, 1.03, 2.34]
    """
    normal = NormalDist()
    return fmean(normal.inv_cdf(((i + 0.5) / POINTS) ** (1 / count)) for i in range(POINTS))


def imbalance(size: int, rows: int, spread: float) -> float:
    """Tokens of the process with the most, over those of the mean one, where prompts are shared unseen."""
    return 1 + largest_normal(size) * spread / rows**0.5


def sent_bytes(parameters: float, size: int) -> float:
    """Bytes that a process sends of an update: fp32 gradients, added up for all around a ring."""
    return 2 * (size - 1) / size * 4 * parameters


def seconds(step: Step, size: int, bandwidth: float) -> float:
    """Seconds of a step of `size` processes, of which each sends `bandwidth` bytes a second."""
    updating = step.update * imbalance(size, step.rows, step.spread)
    return step.rollout + updating + sent_bytes(step.parameters, size) / bandwidth


def lines(step: Step, bandwidth: float) -> list[str]:
    """The table."""
    table = [f"{'processes':>9}  {'seconds':>7}  {'sending':>7}  {'imbalance':>9}  {'times one':>9}"]
    for size in SIZES:
        whole = seconds(step, size, bandwidth)
        sending = sent_bytes(step.parameters, size) / bandwidth
        gain = size * seconds(step, 1, bandwidth) / whole
        ratio = imbalance(size, step.rows, step.spread)
        table.append(f"{size:9}  {whole:7.2f}  {sending:7.2f}  {ratio:9.3f}  {gain:9.1f}")
    return table


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    for name in ("rollout", "update", "parameters", "spread", "rows", "bandwidth"):
        parser.add_argument(f"--{name}", type=float, required=True)
    options = parser.parse_args(argv)
    step = Step(options.rollout, options.update, options.parameters, int(options.rows), options.spread)
    print("\n".join(lines(step, options.bandwidth)))


if __name__ == "__main__":
    main()
