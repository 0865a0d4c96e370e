"""The table of ranks that the page of several runs, the report of a run and that of a study share."""

from collections.abc import Collection, Mapping, Sequence

from eval.report.blocks import Table
from eval.report.brackets import marked_metrics, rewarded_scores
from eval.report.learned import facts_of, learned_metrics
from eval.report.wording import ABSENT, METRICS, Metric
from eval.run_folder import Json, RunFolder

RANK_NOTE = (
    "Approximate randomisation over the shared test items. Those with one rank cannot be told apart: a new rank begins "
    "where every one above is better than every one below (p < 0.05, without correction), as in WMT's tables."
)
Ranks = Mapping[str, Mapping[str, int]]  # metric -> name -> rank


def metrics_with_a_better_side(learned: Json, rewarded: Collection[str] = ()) -> list[Metric]:
    """Those of all systems that are better when higher, and the learned ones; those in `rewarded` in brackets."""
    upwards = (one for one in METRICS if one.better == 1)
    return [*marked_metrics(rewarded, upwards), *learned_metrics(learned)]


def rank_table(
    title: str,
    header: str,
    labels: Mapping[str, str],
    ranks: Ranks,
    metrics: Sequence[Metric],
    notes: Sequence[str] = (),
) -> Table:
    """A row for each of `labels` by name, a column for each metric that has ranks."""
    columns = [metric for metric in metrics if metric.key in ranks]
    rows = tuple(
        (label, *(str(ranks[metric.key].get(name, ABSENT)) for metric in columns))
        for name, label in labels.items()
    )
    return Table(title, (header, *(metric.label for metric in columns)), rows, (RANK_NOTE, *notes))


def run_ranks(run: RunFolder) -> Table:
    """The ranks of a run's systems on a test set; no rows where none were made, as by earlier versions."""
    ranks = run.comparison.get("ranks") or {}
    names = [name for name in run.systems if any(name in own for own in ranks.values())]
    metrics = metrics_with_a_better_side(facts_of(run.systems), rewarded_scores(run.config))
    labels = {name: run.label(name) for name in names}
    return rank_table("Ranks, 1 = the best", "System", labels, ranks, metrics)
