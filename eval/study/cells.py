"""Cells, labels and notes that the tables of a study's report share."""

from collections.abc import Iterable, Sequence

from data.errors import InputError
from eval.report.brackets import marked_metrics
from eval.report.wording import ABSENT, METRIC, Metric, plain_number
from eval.run_folder import SYSTEM_LABELS, Json
from eval.study.points import UNTOUCHED, WARM_START
from eval.study.roles import INTERPOLATED


def label(row: Json) -> str:
    """The name of a checkpoint, with an asterisk on the front."""
    return f"{name_of(row)} *" if row["on_front"] else name_of(row)


def name_of(row: Json) -> str:
    """'grpo, step 20 of 40', or 'mid, 50 % of the way' from the untouched model for an interpolated one."""
    if row["kind"] in (UNTOUCHED, WARM_START):
        return SYSTEM_LABELS[row["kind"]]
    if row["kind"] == INTERPOLATED:
        return f"{row['arm']}, {row['step']} % of the way"
    return f"{row['arm']}, step {row['step']} of {row['num_steps']}"


def check_target(target: str) -> None:
    """InputError for a `target` that is no score."""
    if target not in METRIC:
        raise InputError(f"target = {target!r}: not a score of the test set; use one of {', '.join(METRIC)}")


def metrics_of(figures: Json, keys: Iterable[str] = METRIC) -> list[Metric]:
    """Metrics of the evaluation by key, in brackets where the reward of any run paid for one."""
    by_key = {one.key: one for one in marked_metrics(figures.get("rewarded", ()))}
    return [by_key[key] for key in keys]


def with_interval(metric: Metric, change: Json | None) -> str:
    """'+0.021 (+0.010 to +0.032)', nothing -> '-'."""
    return (
        ABSENT
        if change is None
        else f"{metric.change(change['value'])} ({metric.interval(change['low'], change['high'])})"
    )


def rows_on(figures: Json, corpus: str) -> list[tuple[Json, Json]]:
    """(checkpoint, its metrics and gains on a corpus), for every checkpoint; "" is the study's whole test set."""
    return [(row, row["corpora"][corpus] if corpus else row) for row in figures["checkpoints"]]


def of_corpus(corpus: str) -> str:
    """What a title says of one of several corpora."""
    return f" of {corpus}" if corpus else ""


def score_rows(figures: Json, corpus: str, metrics: Sequence[Metric]) -> tuple[tuple[str, ...], ...]:
    """Checkpoint, seeds and scores."""
    return tuple(
        (
            label(row),
            plain_number(row["seeds"]),
            *(one.value(own["metrics"][one.key]["value"]) for one in metrics),
        )
        for row, own in rows_on(figures, corpus)
    )


def rows_with_gain(figures: Json, corpus: str, key: str) -> list[tuple[Json, Json]]:
    """`rows_on`, of the checkpoints that have a gain over the warm start of their seed."""
    rows = rows_on(figures, corpus)
    return [(row, own) for row, own in rows if row["kind"] != WARM_START and own["gains"][key] is not None]


def interval_note(figures: Json) -> str:
    """How the intervals of all tables are made."""
    return f"Intervals: {figures['intervals']}; {figures['resamples']:,} resamples. No correction for the number of comparisons."
