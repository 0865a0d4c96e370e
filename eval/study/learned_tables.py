"""Learned metrics in the report of a study: scores and gains of every checkpoint."""

from eval.report.blocks import Table
from eval.report.learned import learned_metrics, learned_notes
from eval.report.wording import plain_number
from eval.run_folder import Json
from eval.study.cells import interval_note, label, with_interval


def rows_with(figures: Json, corpus: str) -> list[tuple[Json, Json]]:
    """(checkpoint, its metrics and gains on a corpus); "" is the study's whole test set."""
    if not figures.get("learned"):
        return []
    return [(row, row["corpora"][corpus] if corpus else row) for row in figures["checkpoints"]]


def title_on(title: str, corpus: str) -> str:
    return f"{title} of {corpus}" if corpus else title


def learned_score_table(figures: Json, corpus: str = "") -> Table:
    """Every learned metric of every checkpoint, on one of several corpora."""
    facts = figures.get("learned", {})
    metrics = learned_metrics(facts)
    rows = tuple(
        (
            label(row),
            plain_number(row["seeds"]),
            *(metric.value(own["metrics"][metric.key]["value"]) for metric in metrics),
        )
        for row, own in rows_with(figures, corpus)
    )
    header = ("Checkpoint", "Seeds", *(metric.label for metric in metrics))
    return Table(title_on("Learned metrics", corpus), header, rows, learned_notes(facts))


def learned_gain_table(figures: Json, corpus: str = "") -> Table:
    """Every checkpoint against the warm start of its seed, by each learned metric."""
    metrics = learned_metrics(figures.get("learned", {}))
    rows = tuple(
        (label(row), *(with_interval(metric, own["gains"][metric.key]) for metric in metrics))
        for row, own in rows_with(figures, corpus)
        if row["kind"] != "warm_start" and own["gains"][metrics[0].key] is not None
    )
    header = ("Checkpoint", *(metric.label for metric in metrics))
    title = title_on("Learned metrics, gain over the warm start", corpus)
    return Table(title, header, rows, (interval_note(figures),))
