"""Marks what training optimised: such a metric stands in brackets in every table, and a held-out one plain."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from eval.report.wording import METRICS, Metric
from eval.run_folder import Json
from grpo.config import WITHOUT_REWARD
from grpo.config_check import REWARDED

BRACKETS = "In brackets: training optimised this metric, so it says nothing of quality by itself. The others are held out."


def rewarded_scores(config: Json) -> frozenset[str]:
    """The scores of the evaluation, learned metrics aside, that the reward of a run pays for, by its settings."""
    reward = config.get("reward") or {}
    if (config.get("train") or {}).get("method") in WITHOUT_REWARD:
        return frozenset()
    paid = {name for name, weight in (reward.get("weights") or {}).items() if weight}
    paid |= {*(reward.get("gates") or ())}
    return frozenset(score for score, terms in REWARDED.items() if paid.intersection(terms))


def in_brackets(label: str, is_rewarded: bool) -> str:
    """A metric's name as a table shows it.

    >>> in_brackets("chrF", True), in_brackets("chrF", False)
    ('[chrF]', 'chrF')
    """
    return f"[{label}]" if is_rewarded else label


def marked_metrics(rewarded: Collection[str], metrics: Iterable[Metric] = METRICS) -> list[Metric]:
    """The metrics, those in `rewarded` with their label in brackets."""
    return [replace(one, label=in_brackets(one.label, one.key in rewarded)) for one in metrics]


def bracket_notes(rewarded: Collection[str]) -> tuple[str, ...]:
    """What the brackets of a table mean; nothing for one without any."""
    return (BRACKETS,) if rewarded else ()
