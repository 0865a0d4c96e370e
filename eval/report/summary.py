"""The figures of a run's report for a program: summary.json."""

from collections.abc import Sequence
from typing import Any

from data.documents import with_nulls
from eval.report.document import alarms
from eval.report.findings import findings
from eval.report.gaps import gaps
from eval.report.macro import system_averages
from eval.report.tables import phase_seconds
from eval.report.verdict import verdict
from eval.run_folder import RunFolder


def summary(run: RunFolder) -> dict[str, Any]:
    """The figures of the report for a program: full precision, no items."""
    probes = {
        name: without_items(system["probes"])
        for name, system in run.main.systems.items()
        if "probes" in system
    }
    return {
        "verdict": verdict(run),
        "findings": findings(run),
        "alarms": alarms(run),
        "gaps": gaps(run),
        **results(run),
        "macro": system_averages(run),
        "tests": {name: results(view) for name, view in run.tests.items()},
        "probes": probes,
        "training": {
            "sft_steps": len(run.sft),
            "train_steps": len(run.train),
            "last_sft": last_row(run.sft),
            "last_train": last_row(run.train),
        },
        "phase_seconds": {"sft": phase_seconds(run.sft), "train": phase_seconds(run.train)},
        "timings": run.timings,
    }


def results(view: RunFolder) -> dict[str, Any]:
    """The results on one test set."""
    return {
        "metrics": {name: system["metrics"] for name, system in view.systems.items()},
        "signatures": {name: system["signatures"] for name, system in view.systems.items()},
        "comparison": view.comparison,
    }


def without_items(probes: dict[str, Any]) -> dict[str, Any]:
    """Probe results without their item lists."""
    return {
        name: {key: value for key, value in result.items() if key != "items"}
        if isinstance(result, dict)
        else result
        for name, result in probes.items()
    }


def last_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last logged row of a stage; null where a value is no finite number."""
    row: dict[str, Any] = with_nulls(rows[-1] if rows else {})
    return row
