"""The tables of what a study's checkpoints lost of the untouched model: tax, probes, transition rates, drift, sanity."""

from collections.abc import Sequence

from eval.report.blocks import Table, table_of
from eval.report.transitions import RATES, rate_cell
from eval.report.wording import ABSENT, PROBES, SHARE, TAX, Metric
from eval.run_folder import Json
from eval.study.cells import interval_note, label, with_interval
from eval.study.points import UNTOUCHED, WARM_START


def tax_table(figures: Json) -> Table:
    """The scalar tax, KL, and every probe's change from the untouched model."""
    probes = [probe for probe in PROBES if any(probe[0] in row["probes"] for row in figures["checkpoints"])]
    rows = (
        {
            "Checkpoint": label(row),
            "Tax, nats per token": with_interval(TAX, row["tax"]),
            "Tax over the warm start": with_interval(TAX, row["tax_added"]),
            "KL": TAX.value(row["kl"]["value"]),
            "KL of the policy on task prompts": TAX.value(row["policy_kl"]),
            **{name: probe_cell(metric, row["probes"].get(key)) for key, name, metric in probes},
        }
        for row in figures["checkpoints"]
    )
    note = (
        f"Tax: (loss - loss of the untouched model) per token on {figures['texts']} general English and Chinese "
        f"texts ({figures['tokens']:,} tokens). Probes: change from the untouched model, mean over seeds; in "
        "brackets the interval (texts, one seed) or the p-value of McNemar's exact test of each seed (choices)."
    )
    notes = (note, figures["shared_collections"], interval_note(figures))
    return table_of("Tax against the untouched model", rows, [*filter(None, notes)])


def probe_cell(metric: Metric, changes: Sequence[Json] | None) -> str:
    """The mean change of one probe over seeds, with its interval (one seed) or the p-value of each seed."""
    if not changes:
        return ABSENT
    text = metric.change(sum(change["difference"] for change in changes) / len(changes))
    if "p_value" in changes[0]:
        return f"{text} (p = {', '.join(format(change['p_value'], '.2g') for change in changes)})"
    return f"{text} ({metric.interval(changes[0]['low'], changes[0]['high'])})" if len(changes) == 1 else text


def transition_table(figures: Json) -> Table:
    """Which questions each arm's last checkpoint lost and gained, against the untouched model and the warm start."""
    last = {row["arm"]: row for row in figures["checkpoints"] if row["kind"] != UNTOUCHED}
    rows = tuple(
        (label(row), name, *transition_cells(row, UNTOUCHED, key), *transition_cells(row, WARM_START, key))
        for row in last.values()
        for key, name, _ in PROBES
        if any(key in changes for changes in row["transitions"].values())
    )
    note = (
        "1 \u2192 0: share of the questions right before that are wrong after; 0 \u2192 1: share of those wrong before that "
        "are right after. Before: the untouched model, or the warm start of the same seed. Means over seeds with a 95 % "
        "interval: Wilson, from three seeds on Student's t. p: McNemar's exact test of each seed."
    )
    columns = [
        f"{mark} {before}"
        for before in ("from untouched", "from warm start")
        for mark in (*RATES.values(), "p")
    ]
    return Table("Questions lost and gained", ("Checkpoint", "Probe", *columns), rows, (note,))


def transition_cells(row: Json, before: str, key: str) -> tuple[str, ...]:
    """Both rates of a probe and its p-values; '-' where there is nothing to compare with."""
    rates = row["transitions"][before].get(key)
    if rates is None or (row["kind"], before) == (WARM_START, WARM_START):
        return (ABSENT,) * 3
    return (*(rate_cell(rates[rate]) for rate in RATES), ", ".join(f"{p:.2g}" for p in rates["p_values"]))


def drift_table(figures: Json) -> Table:
    """The paper's drift figures on general and on task text."""
    kinds = [
        kind for kind in ("general", "task") if any(kind in row["drift"] for row in figures["checkpoints"])
    ]
    keys = {
        "nll_change_mean": "change of mean NLL",
        "nll_change_p90": "change of P90 NLL",
        "kl_mean": "mean KL",
        "kl_p90": "P90 KL",
    }
    rows = [
        {"Checkpoint": label(row)}
        | {
            f"{kind}: {name}": TAX.value(row["drift"].get(kind, {}).get(key))
            for kind in kinds
            for key, name in keys.items()
        }
        for row in figures["checkpoints"]
    ]
    note = (
        "Nats per token over tokens; KL(untouched || checkpoint) over the whole vocabulary; "
        "task: prompts with their reference texts."
    )
    return table_of("Drift", rows if kinds else [], (note,))


def sanity_table(figures: Json) -> Table:
    """Greedy continuations of plain English and Chinese prompts."""
    keys = list(
        dict.fromkeys(
            (name, key)
            for row in figures["checkpoints"]
            for name, shares in row["sanity"].items()
            for key in shares
            if key.endswith("share")
        )
    )
    rows = [
        {"Checkpoint": label(row)}
        | {
            f"{name}: {key.removesuffix('_share').replace('_', ' ')}": SHARE.value(
                row["sanity"].get(name, {}).get(key)
            )
            for name, key in keys
        }
        for row in figures["checkpoints"]
    ]
    note = "Shares of greedy continuations of plain English and Chinese prompts."
    return table_of("Generation sanity", rows if keys else [], (note,))
