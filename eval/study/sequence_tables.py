"""The tables of a sequence of tasks in a study's report."""

from eval.report.blocks import Table, table_of
from eval.report.learned import learned_metrics
from eval.report.wording import Metric, plain_number
from eval.run_folder import Json
from eval.study.cells import interval_note, metrics_of, with_interval


def sequence_tables(figures: Json) -> list[Table]:
    """Both tables by the target, and by each learned metric."""
    (target,) = metrics_of(figures, [figures["target"]])
    by_metric = [(target, figures["sequence"])]
    for name, own in figures.get("learned_sequences", {}).items():
        (metric,) = learned_metrics({name: own["facts"]})
        by_metric.append((metric, own["figures"]))
    return [
        table
        for metric, sequence in by_metric
        if sequence is not None
        for table in (sequence_table(sequence, metric, interval_note(figures)), stage_table(sequence, metric))
    ]


def sequence_table(sequence: Json, metric: Metric, intervals: str) -> Table:
    """Average score, backward and forward transfer of each recipe."""
    rows = (
        {
            "Recipe": row["recipe"],
            "Seeds": plain_number(len(row["seeds"])),
            "Mean at the end": metric.value(row["accuracy"]["value"]),
            "Backward transfer": with_interval(metric, row["backward"]),
            "Forward transfer": with_interval(metric, row["forward"]),
        }
        for row in sequence["recipes"]
    )
    side = "below" if metric.better > 0 else "above"
    note = (
        f"{metric.label}; tasks in this order: {', '.join(sequence['tasks'])}. Backward transfer: change of a task's score "
        f"from the end of its own stage to the end, mean over all tasks but the last; {side} 0 is forgetting. Forward "
        "transfer: a task's score before its own stage, minus that of the untouched model, mean over all but the first "
        "(Lopez-Paz and Ranzato, 2017)."
    )
    return table_of("Tasks one after the other", rows, (note, intervals))


def stage_table(sequence: Json, metric: Metric) -> Table:
    """The score on every task after every stage."""
    names = ("untouched model", *(f"after {task}" for task in sequence["tasks"]))
    rows = tuple(
        (f"{row['recipe']}: {name}", *(metric.value(score["value"]) for score in scores))
        for row in sequence["recipes"]
        for name, scores in zip(names, row["scores"], strict=True)
    )
    return Table(f"{metric.label} after each stage", ("Model", *sequence["tasks"]), rows)
