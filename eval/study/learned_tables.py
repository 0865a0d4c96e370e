"""Learned metrics in the report of a study: scores and gains of every checkpoint."""

from eval.report.blocks import Table
from eval.report.learned import learned_metrics, learned_notes
from eval.run_folder import Json
from eval.study.cells import interval_note, label, of_corpus, rows_with_gain, score_rows, with_interval


def learned_score_table(figures: Json, corpus: str = "") -> Table:
    """Every learned metric of every checkpoint, on one of several corpora."""
    facts = figures.get("learned", {})
    metrics = learned_metrics(facts)
    rows = score_rows(figures, corpus, metrics) if facts else ()
    header = ("Checkpoint", "Seeds", *(metric.label for metric in metrics))
    return Table(f"Learned metrics{of_corpus(corpus)}", header, rows, learned_notes(facts))


def learned_gain_table(figures: Json, corpus: str = "") -> Table:
    """Every checkpoint against the warm start of its seed, by each learned metric."""
    metrics = learned_metrics(figures.get("learned", {}))
    rows = tuple(
        (label(row), *(with_interval(metric, own["gains"][metric.key]) for metric in metrics))
        for row, own in (rows_with_gain(figures, corpus, metrics[0].key) if metrics else ())
    )
    header = ("Checkpoint", *(metric.label for metric in metrics))
    title = f"Learned metrics, gain over the warm start{of_corpus(corpus)}"
    return Table(title, header, rows, (interval_note(figures),))
