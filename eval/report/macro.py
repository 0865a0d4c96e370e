"""The macro average of a run on several corpora: the mean over their test sets, each of which counts as much."""

from eval.report.blocks import Table
from eval.report.tables import RESULT_HEADER, result_cells
from eval.report.wording import METRICS
from eval.run_folder import Json, RunFolder


def corpora_of(run: RunFolder) -> dict[str, RunFolder]:
    """The run on the test set of each of its corpora, in the order of the settings."""
    names = run.config.get("data", {}).get("corpora", {})
    return {name: run.tests[name] for name in names if name in run.tests}


def macro_metrics(run: RunFolder) -> dict[str, Json]:
    """The mean of each metric over the corpora, and the sum of their items, of each system that all have."""
    views = list(corpora_of(run).values())
    systems = [
        name for name in (views[0].systems if views else ()) if all(name in view.systems for view in views)
    ]
    return {name: mean_of([view.systems[name]["metrics"]["all"] for view in views]) for name in systems}


def mean_of(results: list[Json]) -> Json:
    """The mean of each metric; n is the sum."""
    means = {metric.key: sum(one[metric.key] for one in results) / len(results) for metric in METRICS}
    return {"n": sum(one["n"] for one in results), **means}


def macro_table(run: RunFolder) -> Table | None:
    """A row for each system; None for a run on one corpus."""
    means = macro_metrics(run)
    if not means:
        return None
    rows = tuple((run.label(name), *result_cells(metrics)) for name, metrics in means.items())
    names = ", ".join(corpora_of(run))
    note = f"Mean of the results on {names}, each of which counts as much. Signatures and intervals: in their sections."
    return Table("Macro average over the corpora", RESULT_HEADER, rows, (note,))


def macro_sentence(run: RunFolder) -> str:
    """What training changed on average over the corpora, or ""."""
    means = macro_metrics(run)
    if "warm_start" not in means or "trained" not in means:
        return ""
    before, after = means["warm_start"], means["trained"]
    parts = [
        f"{metric.label} {metric.value(before[metric.key])} -> {metric.value(after[metric.key])}"
        for metric in METRICS
        if metric.key in ("cosine", "chrf", "bleu")
    ]
    return f"Macro average over {len(corpora_of(run))} corpora, {run.method} after the warm start: {', '.join(parts)}."
