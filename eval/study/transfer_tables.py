"""The tables of few-shot transfer in a study's report."""

from eval.report.blocks import Table
from eval.report.wording import plain_number
from eval.run_folder import Json
from eval.study.cells import interval_note, with_interval
from eval.study.sentences import METRIC

TRANSFER_KEYS = ("cosine", "cosine_held_out", "chrf", "rouge_l")


def transfer_table(figures: Json) -> Table:
    """The scores after fine-tuning on few examples of another task, by start."""
    rows = tuple(
        (
            f"{row['examples']} examples from {row['start']}",
            plain_number(row["seeds"]),
            plain_number(row["n"]),
            *(METRIC[key].value(row["metrics"][key]["value"]) for key in TRANSFER_KEYS),
        )
        for row in figures["transfer"]["rows"]
    )
    return Table(
        "Fine-tuned on few examples of another task",
        ("Start", "Seeds", "n", *(METRIC[key].label for key in TRANSFER_KEYS)),
        rows,
    )


def transfer_pairs_table(figures: Json) -> Table:
    """Every start against every other with the same examples."""
    rows = tuple(
        (
            f"{row['examples']} examples: {row['second']} minus {row['first']}",
            plain_number(row["seeds"]),
            *(with_interval(METRIC[key], row["changes"][key]) for key in TRANSFER_KEYS),
        )
        for row in figures["transfer"]["pairs"]
    )
    header = ("Starts", "Seeds", *(METRIC[key].label for key in TRANSFER_KEYS))
    return Table("Differences between starts", header, rows, (interval_note(figures),))
