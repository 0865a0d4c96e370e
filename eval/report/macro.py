"""The macro average of a run on several corpora (`eval.macro`) in its report."""

from eval.macro import macro_metrics
from eval.report.blocks import Table
from eval.report.brackets import rewarded_scores
from eval.report.tables import result_cells, result_header
from eval.run_folder import Json, RunFolder


def corpora_of(run: RunFolder) -> dict[str, RunFolder]:
    """The run on the test set of each of its corpora, in the order of the settings."""
    names = run.config.get("data", {}).get("corpora", {})
    return {name: run.tests[name] for name in names if name in run.tests}


def system_averages(run: RunFolder) -> dict[str, Json]:
    """The mean of each metric over the corpora, and the sum of their items, of each system that all have."""
    views = list(corpora_of(run).values())
    systems = [
        name for name in (views[0].systems if views else ()) if all(name in view.systems for view in views)
    ]
    return {name: macro_metrics([view.systems[name]["metrics"]["all"] for view in views]) for name in systems}


def macro_table(run: RunFolder) -> Table:
    """A row for each system; none for a run on one corpus."""
    rows = tuple((run.label(name), *result_cells(metrics)) for name, metrics in system_averages(run).items())
    names = ", ".join(corpora_of(run))
    note = f"Mean of the results on {names}, each of which counts as much. Signatures: in their sections."
    return Table(
        "Macro average over the corpora", result_header("System", rewarded_scores(run.config)), rows, (note,)
    )
