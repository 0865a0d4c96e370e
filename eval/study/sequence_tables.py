"""The tables of a sequence of tasks in a study's report."""

from eval.report.blocks import Table
from eval.report.wording import plain_number
from eval.run_folder import Json
from eval.study.cells import interval_note, with_interval
from eval.study.sentences import METRIC


def sequence_table(figures: Json) -> Table:
    """Average score, backward and forward transfer of each recipe."""
    sequence = figures["sequence"] or {"recipes": (), "tasks": (), "metric": figures["target"]}
    metric = METRIC[sequence["metric"]]
    rows = tuple(
        (
            row["recipe"],
            plain_number(len(row["seeds"])),
            metric.value(row["accuracy"]["value"]),
            with_interval(metric, row["backward"]),
            with_interval(metric, row["forward"]),
        )
        for row in sequence["recipes"]
    )
    note = (
        f"{metric.label}; tasks in this order: {', '.join(sequence['tasks'])}. Backward transfer: change of a task's score "
        "from the end of its own stage to the end, mean over all tasks but the last; below 0 is forgetting. Forward "
        "transfer: a task's score before its own stage, minus that of the untouched model, mean over all but the first "
        "(Lopez-Paz and Ranzato, 2017)."
    )
    header = ("Recipe", "Seeds", "Mean at the end", "Backward transfer", "Forward transfer")
    return Table("Tasks one after the other", header, rows, (note, interval_note(figures)))


def stage_table(figures: Json) -> Table:
    """The score on every task after every stage."""
    sequence = figures["sequence"] or {"recipes": (), "tasks": (), "metric": figures["target"]}
    metric = METRIC[sequence["metric"]]
    names = ("untouched model", *(f"after {task}" for task in sequence["tasks"]))
    rows = tuple(
        (f"{row['recipe']}: {name}", *(metric.value(score["value"]) for score in scores))
        for row in sequence["recipes"]
        for name, scores in zip(names, row["scores"], strict=True)
    )
    return Table("Scores after each stage", ("Model", *sequence["tasks"]), rows)
