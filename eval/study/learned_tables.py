"""Learned metrics in the report of a study: scores and gains of every checkpoint."""

from eval.report.blocks import Table
from eval.report.learned import learned_metrics, learned_notes
from eval.report.wording import plain_number
from eval.run_folder import Json
from eval.study.cells import interval_note, label, with_interval


def learned_score_table(figures: Json) -> Table:
    """Every learned metric of every checkpoint."""
    facts = figures.get("learned", {})
    metrics = learned_metrics(facts)
    rows = tuple(
        (
            label(row),
            plain_number(row["seeds"]),
            *(metric.value(row["metrics"][metric.key]["value"]) for metric in metrics),
        )
        for row in figures["checkpoints"]
        if metrics
    )
    header = ("Checkpoint", "Seeds", *(metric.label for metric in metrics))
    return Table("Learned metrics", header, rows, learned_notes(facts))


def learned_gain_table(figures: Json) -> Table:
    """Every checkpoint against the warm start of its seed, by each learned metric."""
    metrics = learned_metrics(figures.get("learned", {}))
    rows = tuple(
        (label(row), *(with_interval(metric, row["gains"][metric.key]) for metric in metrics))
        for row in figures["checkpoints"]
        if metrics and row["kind"] != "warm_start" and row["gains"][metrics[0].key] is not None
    )
    header = ("Checkpoint", *(metric.label for metric in metrics))
    return Table("Learned metrics, gain over the warm start", header, rows, (interval_note(figures),))
