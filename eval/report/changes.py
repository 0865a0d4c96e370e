"""One row of a comparison of two systems, which tables, verdict, numbers and picture all quote.

A label, a figure and its reading are made here only, so that two places cannot say different things of one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.report.wording import CLEAR_P, METRIC, METRICS, PROBES, Metric, are_too_few, direction
from eval.run_folder import Json

READINGS = {1: "better", 0: "no clear change", -1: "worse"}
HIGHER = {1: "higher", -1: "lower"}  # of a figure that is neither good nor bad


def clear_way(facts: Json) -> int:
    """1 where a figure clearly rose, -1 where it clearly fell, else 0: by its test, or else by its interval."""
    if "p_value" not in facts:
        return direction(facts)
    difference = facts["difference"]
    return ((difference > 0) - (difference < 0)) * (facts["p_value"] < CLEAR_P)


@dataclass(frozen=True)
class Change:
    """`facts` has difference and n, and either low, high, before and after, or gained, lost and p_value.

    With `needs_items` nothing is read from an interval over fewer than MIN_ITEMS items.
    """

    label: str
    metric: Metric
    facts: Json
    needs_items: bool = False

    @property
    def is_test(self) -> bool:
        """Whether it was tested by questions lost and gained, not by an interval."""
        return "p_value" in self.facts

    @property
    def way(self) -> int:
        """1 where the figure clearly rose, -1 where it clearly fell, else 0."""
        return clear_way(self.facts)

    @property
    def sense(self) -> int:
        """1 where the change is clearly for the better, -1 for the worse, else 0."""
        return self.way * self.metric.better

    @property
    def reading(self) -> str:
        """`sense` in words."""
        if self.has_too_few:
            return "too few items"
        return READINGS[self.sense] if self.metric.better or not self.way else HIGHER[self.way]

    @property
    def has_too_few(self) -> bool:
        """Whether nothing is read from it."""
        return self.needs_items and are_too_few(self.facts["n"])

    @property
    def change(self) -> str:
        """'+0.031'."""
        return self.metric.change(self.facts["difference"])

    @property
    def interval(self) -> str:
        """'+0.010 to +0.050', or 'p = 0.73' of questions."""
        if self.is_test:
            return f"p = {self.facts['p_value']:.2g}"
        return self.metric.interval(self.facts["low"], self.facts["high"])

    @property
    def cell(self) -> str:
        """'+0.031 (+0.010 to +0.050)'."""
        return f"{self.change} ({self.interval})"

    @property
    def values(self) -> str:
        """'0.601 -> 0.632'."""
        return " \u2192 ".join(self.metric.value(self.facts[key]) for key in ("before", "after"))


def score_changes(slices: Json, place: str = "all", metrics: Sequence[Metric] = METRICS) -> list[Change]:
    """A change for each metric at a place; none for a `newer` metric that an older comparison lacks."""
    return [
        Change(metric.label, metric, slices[place][metric.key], needs_items=True)
        for metric in metrics
        if metric.key in slices[place] or not metric.newer
    ]


def score_change(pair: Json, key: str) -> Change:
    """The change of one metric over the whole test set."""
    return score_changes(pair["slices"], metrics=[METRIC[key]])[0]


def probe_changes(pair: Json | None, keys: Sequence[str] = ()) -> list[Change]:
    """A change for each probe that both systems have, or for those named in `keys`, in the order of the table."""
    probes = (pair or {}).get("probes") or {}
    return [
        Change(label, metric, probes[key])
        for key, label, metric in PROBES
        if key in probes and (not keys or key in keys)
    ]
