"""Tables of transition rates: which questions a model lost, and which it gained.

An unchanged accuracy may hide as many losses as gains. 1 -> 0: share of the questions right before that are wrong
after; 0 -> 1: share of those wrong before that are right after.
"""

from collections.abc import Mapping

from eval.report.blocks import Table
from eval.report.tables import probe_pairs
from eval.report.wording import ABSENT, PROBES, SHARE
from eval.run_folder import Json, RunFolder

RATES = {"lost_share": "1 \u2192 0", "gained_share": "0 \u2192 1"}

NOTE = (
    "1 \u2192 0: share of the questions that were right before and are wrong after. 0 \u2192 1: share of those that were "
    "wrong before and are right after. In brackets: 95 % Wilson interval. p: McNemar's exact test."
)


def has_rates(changes: Mapping[str, Json], key: str) -> bool:
    """Whether the change of a probe has transition rates; those of earlier versions have none."""
    return all(rate in changes.get(key, {}) for rate in RATES)


def rate_cell(share: Json) -> str:
    """'12.5 % (3.5 % to 36.0 %)', '-' where no question was right (or wrong) before."""
    if share["value"] is None:
        return ABSENT
    return f"{SHARE.value(share['value'])} ({SHARE.value(share['low'])} to {SHARE.value(share['high'])})"


def transition_cells(change: Json) -> tuple[str, ...]:
    """Both rates and the p-value of one change."""
    return (*(rate_cell(change[rate]) for rate in RATES), f"{change['p_value']:.2g}")


def transition_table(run: RunFolder) -> Table:
    """The transition rates of every set of questions in every comparison."""
    rows = tuple(
        (
            f"{run.label(pair['before'])} \u2192 {run.label(pair['after'])}: {label}",
            *transition_cells(pair["probes"][key]),
        )
        for pair in probe_pairs(run)
        for key, label, _ in PROBES
        if has_rates(pair["probes"], key)
    )
    return Table("Questions lost and gained", ("Probe", *RATES.values(), "p"), rows, (NOTE,))
