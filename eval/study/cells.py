"""Cells, labels and notes that the tables of a study's report share."""

from collections.abc import Sequence

from eval.report.brackets import marked_metrics
from eval.report.wording import ABSENT, METRICS, Metric, plain_number
from eval.run_folder import SYSTEM_LABELS, Json
from eval.study.points import UNTOUCHED, WARM_START
from eval.study.roles import INTERPOLATED


def label(row: Json) -> str:
    """'grpo, step 20 of 40', with an asterisk on the front."""
    name = (
        SYSTEM_LABELS[row["kind"]]
        if row["kind"] in (UNTOUCHED, WARM_START)
        else f"{row['arm']}, {step_words(row)}"
    )
    return f"{name} *" if row["on_front"] else name


def step_words(row: Json) -> str:
    """'step 20 of 40', or '50 % of the way' from the untouched model for an interpolated one."""
    return (
        f"{row['step']} % of the way"
        if row["kind"] == INTERPOLATED
        else f"step {row['step']} of {row['num_steps']}"
    )


ALL_KEYS = tuple(metric.key for metric in METRICS)


def metrics_of(figures: Json, keys: Sequence[str] = ALL_KEYS) -> list[Metric]:
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
