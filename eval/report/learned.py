"""Learned metrics in a report: a metric that training optimised stands in brackets, a held-out one plain."""

from collections.abc import Mapping, Sequence
from typing import Any

from eval.report.blocks import Table
from eval.report.brackets import BRACKETS, in_brackets
from eval.report.tables import difference_table
from eval.report.wording import ALL, Metric, plain_number
from eval.run_folder import Json, RunFolder, shared_keys

DIGITS = 3
BEST_REFERENCE = "Of several reference texts of an item the best one counts."


def learned_metrics(facts: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """The metrics of a result by name, with their labels for a header."""
    return [Metric(name, label_of(name, own), DIGITS, better=own["better"]) for name, own in facts.items()]


def label_of(name: str, facts: Mapping[str, Any]) -> str:
    """'comet' held out, '[comet]' where it was rewarded, and which way is better where it is not upwards.

    >>> label_of("metricx", {"rewarded": True, "better": -1})
    '[metricx], lower is better'
    """
    label = in_brackets(name, facts["rewarded"])
    return label if facts["better"] > 0 else f"{label}, lower is better"


def learned_notes(facts: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What brackets mean, and the signature of each metric."""
    return (BRACKETS, BEST_REFERENCE, *(f"{name}: {own['signature']}" for name, own in facts.items()))


def facts_of(systems: Mapping[str, Json]) -> Json:
    """Name -> facts of the learned metrics that any system was scored by."""
    return {name: own for system in systems.values() for name, own in system.get("learned", {}).items()}


def common_facts(results: Sequence[Json]) -> Json:
    """Name -> facts of each learned metric that every result has; rewarded where any training optimised it."""
    each = [one.get("learned", {}) for one in results]
    return {
        name: each[0][name] | {"rewarded": any(one[name]["rewarded"] for one in each)}
        for name in (shared_keys(each) if each else ())
    }


def learned_table(run: RunFolder) -> Table:
    """One row for each system over a whole test set; none where there is no learned metric."""
    facts = facts_of(run.systems)
    metrics = learned_metrics(facts)
    rows = tuple(
        (
            run.label(name),
            plain_number(system["metrics"]["all"]["n"]),
            *(metric.value(system["metrics"]["all"].get(metric.key)) for metric in metrics),
        )
        for name, system in (run.systems.items() if facts else ())
    )
    return Table(
        "Learned metrics", ("System", "n", *(one.label for one in metrics)), rows, learned_notes(facts)
    )


def learned_changes(run: RunFolder, after: str) -> Table:
    """The change of each learned metric from the warm start to `after`, with its interval; no rows where the two were not
    compared by one.
    """
    pair = run.pair("warm_start", after)
    shared = shared_metrics(pair["slices"][ALL], facts_of(run.systems)) if pair else []
    return difference_table("Change of the learned metrics", pair, [ALL], shared, (BRACKETS,))


def shared_metrics(differences: Json, facts: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """The learned metrics by which two systems were compared."""
    return [metric for metric in learned_metrics(facts) if metric.key in differences]
