"""Scores of learned metrics for the items of a test set, and what a report has to know of each metric."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.metrics.overlap import References

if TYPE_CHECKING:
    from reward.learned.scores import Metrics


@dataclass(frozen=True)
class LearnedScores:
    """The metrics of a run; `rewarded` are those that training optimised."""

    metrics: "Metrics"
    rewarded: frozenset[str]

    def rows(
        self, sources: Sequence[str], outputs: Sequence[str], references: References
    ) -> list[dict[str, float]]:
        """Name -> score on the metric's own scale, for each item; several reference texts: the best score."""
        columns = {
            name: self.metrics[name].scores(sources, outputs, references).tolist()
            for name in self.metrics.folders
        }
        return [{name: column[row] for name, column in columns.items()} for row in range(len(outputs))]

    def facts(self) -> dict[str, dict[str, Any]]:
        """Name -> family, 1 or -1 as a higher or lower score is better, whether training optimised it, signature."""
        return {
            name: {
                "family": self.metrics[name].facts.family,
                "better": self.metrics[name].facts.better,
                "rewarded": name in self.rewarded,
                "signature": self.metrics[name].signature,
            }
            for name in self.metrics.folders
        }


def rewarded_metrics(weights: dict[str, float], gates: Iterable[str], names: Iterable[str]) -> frozenset[str]:
    """Those of `names` that pay: by a weight above 0, or as a gate."""
    paid = {name for name, weight in weights.items() if weight} | set(gates)
    return frozenset(paid & set(names))
