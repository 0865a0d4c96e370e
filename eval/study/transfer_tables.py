"""The tables of few-shot transfer in a study's report."""

from eval.report.blocks import Table
from eval.report.learned import learned_metrics, learned_notes
from eval.report.wording import Metric, plain_number
from eval.run_folder import Json
from eval.study.cells import interval_note, metrics_of, with_interval

TRANSFER_KEYS = ("cosine", "cosine_held_out", "chrf", "rouge_l")


def transfer_metrics(figures: Json) -> list[Metric]:
    """The metrics of the tables: some of all, and the learned ones of every run."""
    return [*metrics_of(figures, TRANSFER_KEYS), *learned_metrics(figures["transfer"].get("learned", {}))]


def transfer_table(figures: Json) -> Table:
    """The scores after fine-tuning on few examples of another task, by start."""
    metrics = transfer_metrics(figures)
    learned = figures["transfer"].get("learned", {})
    rows = tuple(
        (
            f"{row['examples']} examples from {row['start']}",
            plain_number(row["seeds"]),
            plain_number(row["n"]),
            *(metric.value(row["metrics"][metric.key]["value"]) for metric in metrics),
        )
        for row in figures["transfer"]["rows"]
    )
    return Table(
        "Fine-tuned on few examples of another task",
        ("Start", "Seeds", "n", *(metric.label for metric in metrics)),
        rows,
        learned_notes(learned) if learned else (),
    )


def transfer_pairs_table(figures: Json) -> Table:
    """Every start against every other with the same examples."""
    metrics = transfer_metrics(figures)
    rows = tuple(
        (
            f"{row['examples']} examples: {row['second']} minus {row['first']}",
            plain_number(row["seeds"]),
            *(with_interval(metric, row["changes"][metric.key]) for metric in metrics),
        )
        for row in figures["transfer"]["pairs"]
    )
    header = ("Starts", "Seeds", *(metric.label for metric in metrics))
    return Table("Differences between starts", header, rows, (interval_note(figures),))
