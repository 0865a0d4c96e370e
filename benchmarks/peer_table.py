"""The table of a comparison with a peer: ratios of medians, phases, peaks of memory, and what shows that the
work was the same.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PHASES = ("rollout", "reward", "score", "update")


@dataclass(frozen=True)
class Result:
    """What a comparison gave: each side's counted turns, as it told them, and its peak of resident memory."""

    name: str
    peer: str
    read: str
    ours: list[dict[str, Any]]
    theirs: list[dict[str, Any]]
    our_peak: int
    their_peak: int


@dataclass(frozen=True)
class Ratio:
    """Peer / ours of the medians, and the lowest and highest of the turns."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}x ({self.low:.2f}-{self.high:.2f})"


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """
    >>> str(ratio_of([1.0, 2.0, 4.0], [3.0, 8.0, 8.0]))
    '4.00x (2.00-4.00)'
    """
    turns = [b / a for a, b in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(theirs) / statistics.median(ours), min(turns), max(turns))


def phase_seconds(turns: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Each phase's seconds in each turn; `update` is whatever the other phases leave of the turn."""
    seconds = {phase: [turn["phases"][phase] for turn in turns] for phase in PHASES[:-1]}
    rest = [turn["seconds"] - sum(parts) for turn, *parts in zip(turns, *seconds.values(), strict=True)]
    return {**seconds, "update": rest}


def lines_of(result: Result) -> list[str]:
    """The table of a comparison."""
    seconds = [[turn["seconds"] for turn in side] for side in (result.ours, result.theirs)]
    rows = {"whole turn": (seconds[0], seconds[1])}
    if "phases" in result.ours[0]:
        ours = phase_seconds(result.ours)
        theirs = phase_seconds(result.theirs)
        rows |= {phase: (ours[phase], theirs[phase]) for phase in PHASES}
    lines = [f"{result.name}: ours beside {result.peer}; {result.read}; {len(result.ours)} turns each"]
    lines += [f"{'':14}{'ours s':>10}{result.peer + ' s':>12}   ratio of medians (lowest-highest)"]
    for name, (a, b) in rows.items():
        lines.append(
            f"{name:14}{statistics.median(a):>10.3f}{statistics.median(b):>12.3f}   {ratio_of(a, b)}"
        )
    ours_gb = result.our_peak / 1e9
    theirs_gb = result.their_peak / 1e9
    lines.append(
        f"{'peak GB':14}{ours_gb:>10.2f}{theirs_gb:>12.2f}   ours / {result.peer} {ours_gb / theirs_gb:.2f}"
    )
    return lines + facts_of(result)


def facts_of(result: Result) -> list[str]:
    """What shows that both sides did the same work."""
    lines = []
    for key, text in (("length", "completion tokens"), ("reward", "mean reward"), ("loss", "loss")):
        if key in result.ours[0]:
            means = [statistics.mean(turn[key] for turn in side) for side in (result.ours, result.theirs)]
            lines.append(f"{text:18}{means[0]:.4g} and {means[1]:.4g}")
    if "tokens" in result.ours[0]:
        tokens = [turn["tokens"] for turn in result.ours]  # both sides read the same pairs
        sides = [zip(tokens, side, strict=True) for side in (result.ours, result.theirs)]
        rates = [statistics.median(number / turn["seconds"] for number, turn in side) for side in sides]
        lines.append(f"{'tokens/s':18}{rates[0]:.0f} and {rates[1]:.0f}, padding not counted")
    if "outputs" in result.ours[0]:
        equal = equal_share(result.ours[-1]["outputs"], result.theirs[-1]["outputs"])
        lines.append(f"{'equal outputs':18}{equal:.1%} of {len(result.ours[-1]['outputs'])}")
    return lines


def equal_share(ours: Sequence[str], theirs: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)
