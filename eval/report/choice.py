"""Which of several compared runs to ship, and why: the first screen of their page.

The rule, which docs/use.md states for readers: held-out cosine decides, because no reward is made of it; among runs that
it cannot tell apart, chrF; then the loss elsewhere. A run whose own report says not to ship it is not shipped either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from eval.report.blocks import Number
from eval.report.brackets import rewarded_scores
from eval.report.changes import Change, probe_changes, score_change
from eval.report.learned import common_facts
from eval.report.verdict import Answer, answer, card, loss_sentence
from eval.report.wording import MAIN_PROBES, METRIC, METRICS, MIN_ITEMS, TAX, Metric, are_too_few
from eval.run_folder import Json, RunFolder

DECIDING = (METRIC["cosine_held_out"], METRIC["chrf"])


@dataclass(frozen=True)
class ComparedSystem:
    """One system of one run on the shared items of a test set; `name` is that of the run, `key` its own in the run.
    `change` is its comparison with the first run's; None for the first. `ranks` has its rank among all of them by each
    metric.
    """

    name: str
    run: RunFolder
    key: str
    system: Json
    change: Json | None = None
    ranks: Mapping[str, int] = field(default_factory=dict)  # by metric

    @property
    def rewarded(self) -> frozenset[str]:
        """The scores, learned metrics aside, that the run's training optimised."""
        return rewarded_scores(self.run.config)


class Choice(NamedTuple):
    """The first sentence of the page, the name of the best run ("" for none), and `tone` as in a document."""

    text: str
    best: str
    tone: str


def comparable(first: ComparedSystem, other: ComparedSystem) -> list[str]:
    """The metrics that mean the same in both: those with one signature."""
    signatures = [one.system["signatures"] for one in (first, other)]
    return [
        *(
            metric.key
            for metric in METRICS
            if len({one.get(metric.key, signatures[0].get(metric.key)) for one in signatures}) == 1
        ),
        *shared_facts((first, other)),
    ]


def shared_facts(candidates: Sequence[ComparedSystem]) -> Json:
    """Name -> facts of the learned metrics that scored all runs with one signature; rewarded where any run was paid by it."""
    systems = [one.system for one in candidates]
    return {
        name: facts
        for name, facts in common_facts(systems).items()
        if all(one["learned"][name]["signature"] == facts["signature"] for one in systems)
    }


def choice(candidates: Sequence[ComparedSystem]) -> Choice:
    """Which run to ship by the results on one test set."""
    count = len(candidates[0].system["items"])
    metrics = deciding_metrics(candidates)
    if are_too_few(count):
        few = f"{count} shared items are too few (fewer than {MIN_ITEMS})"
        return Choice(f"No verdict: {few}; raise data.test_size.", "", "")
    if not metrics:
        labels = " and ".join(metric.label for metric in DECIDING)
        return Choice(f"No verdict: {labels} do not mean the same in all runs.", "", "")
    leaders, why = best_ones(candidates, metrics)
    if rival := better_by_chrf(candidates, leaders, metrics):
        are = "are" if len(leaders) > 1 else "is"
        text = f"{names_of(leaders)} {are} better by {metrics[0].label}, {rival} by {metrics[1].label}"
        return Choice(f"No clear choice: {text}.", "", "caution")
    if len(leaders) > 1:
        leaders, why = cheapest(leaders, why)
    if len(leaders) > 1:
        return Choice(f"Ship either of {names_of(leaders)}: {why}, so take what costs less.", "", "caution")
    return with_own_verdict(leaders[0], why)


def deciding_metrics(candidates: Sequence[ComparedSystem]) -> list[Metric]:
    """Those of DECIDING that mean the same in all runs."""
    first, *others = candidates
    same = [set(comparable(first, other)) for other in others]
    return [metric for metric in DECIDING if all(metric.key in keys for keys in same)]


def is_better(a: ComparedSystem, b: ComparedSystem, metric: Metric) -> bool:
    """Whether `a` is clearly better than `b`: against the first run by the interval that the page shows, else by rank."""
    for change, sense in ((a.change, 1), (b.change, -1)):
        other = b if sense > 0 else a
        if change is not None and other.change is None:
            return score_change(change, metric.key).sense == sense
    return a.ranks[metric.key] < b.ranks[metric.key]


def best_ones(
    candidates: Sequence[ComparedSystem], metrics: Sequence[Metric]
) -> tuple[list[ComparedSystem], str]:
    """The runs that no metric tells apart from the best, one metric after the other, and why."""
    why = f"{' and '.join(metric.label for metric in metrics)} cannot tell them apart"
    best = [*candidates]
    for metric in metrics:
        leaders = [one for one in best if not any(is_better(other, one, metric) for other in best)]
        if 0 < len(leaders) < len(best):
            why = f"by {metric.label} {'they are' if len(leaders) > 1 else 'it is'} clearly better"
            best = leaders
    return best, why


def cheapest(leaders: list[ComparedSystem], why: str) -> tuple[list[ComparedSystem], str]:
    """The leader that lost least elsewhere: by the logs of tax where they can be compared, else by general text."""
    taxes = [one.run.tax[-1]["tax_kept"] for one in leaders if one.run.tax] if count_alike(leaders) else []
    if len(set(taxes)) < len(leaders):
        return least_harm(leaders, why)
    least = min(taxes)
    return [leaders[taxes.index(least)]], lost_least(leaders, f"{TAX.value(least)} nats a token")


def count_alike(leaders: Sequence[ComparedSystem]) -> bool:
    """Whether all log the tax on the same texts and from the untouched model; the warm start is another one in each run."""
    settings = [one.run.config.get("tax", {}) for one in leaders]
    same_texts = len({(own.get("text", ""), own.get("texts")) for own in settings}) == 1
    return same_texts and all(own.get("against") == "untouched" for own in settings)


def least_harm(leaders: list[ComparedSystem], why: str) -> tuple[list[ComparedSystem], str]:
    """The leader whose loss on some general text rose clearly less than that of every other one, and on none clearly
    more: where the intervals do not meet.
    """
    rises = [rises_of(one) for one in leaders]
    for own, leader in zip(rises, leaders, strict=True):
        others = [other for other in rises if other is not own]
        if all(is_below(own, other) and not is_below(other, own) for other in others):
            shown = "; ".join(f"{change.label} {change.change}" for change in own.values())
            return [leader], lost_least(leaders, shown)
    return leaders, why


def rises_of(one: ComparedSystem) -> dict[str, Change]:
    """By its label: the rise of the loss on each general text from the untouched model to a run's system."""
    changes = probe_changes(one.run.main.pair("untouched", one.key), MAIN_PROBES)
    return {change.label: change for change in changes if not change.is_test}


def is_below(a: Mapping[str, Change], b: Mapping[str, Change]) -> bool:
    """Whether some text of both lost clearly less in `a`."""
    return any(a[label].facts["high"] < b[label].facts["low"] for label in a.keys() & b.keys())


def lost_least(leaders: Sequence[ComparedSystem], how_much: str) -> str:
    return f"scores cannot tell {names_of(leaders)} apart, and it lost least elsewhere ({how_much})"


def better_by_chrf(
    candidates: Sequence[ComparedSystem], leaders: Sequence[ComparedSystem], metrics: Sequence[Metric]
) -> str:
    """The first run that is clearly better than every leader by the second metric; "" for none."""
    others = (one for one in candidates if all(is_better(one, own, metrics[-1]) for own in leaders))
    return next((one.name for one in others), "") if len(metrics) > 1 else ""


def with_own_verdict(best: ComparedSystem, why: str) -> Choice:
    """The choice of `best`, unless its own report refuses it. Only the trained model has a verdict of its own."""
    text = f"Ship {best.name}: {why}."
    own = answer(best.run) if best.key == "trained" else Answer("", "good")
    if own.tone == "bad":
        text = f"Ship none of them: {best.name} is the best, and its own report says: {own.text}"
    return Choice(text, best.name, own.tone or "good")


def names_of(runs: Sequence[ComparedSystem]) -> str:
    return " and ".join(one.name for one in runs)


def shown_pair(candidates: Sequence[ComparedSystem], best: str) -> ComparedSystem:
    """The run whose change against the first one is shown: the best, or the next by held-out cosine."""
    others = [one for one in candidates if one.change is not None]
    chosen = [one for one in others if one.name == best]
    return chosen[0] if chosen else min(others, key=lambda one: one.ranks.get(DECIDING[0].key, 1))


def main_changes(candidates: Sequence[ComparedSystem], other: ComparedSystem) -> list[Change]:
    """Of the deciding metrics and the texts of general competence, from the first run to `other`."""
    assert other.change is not None
    scores = [score_change(other.change, metric.key) for metric in deciding_metrics([candidates[0], other])]
    return scores + [one for one in probe_changes(other.change, MAIN_PROBES) if not one.is_test]


def numbers(candidates: Sequence[ComparedSystem], best: str) -> tuple[Number, ...]:
    """The figures of the first screen, of one run against the first."""
    other = shown_pair(candidates, best)
    against = f"{other.name} against {candidates[0].name}"
    return tuple(card(change, against) for change in main_changes(candidates, other))


def reasons(candidates: Sequence[ComparedSystem], best: str, test: str) -> tuple[str, ...]:
    """The difference of the scores on a test set, "" for the own one, and what the best run lost elsewhere; at most one sentence each."""
    other = shown_pair(candidates, best)
    scores = [change for change in main_changes(candidates, other) if change.metric in DECIDING]
    count = len(other.system["items"])
    parts = " and ".join(f"{change.label} {change.change} ({change.interval})" for change in scores)
    sentences = (
        [f"{other.name} against {candidates[0].name}: {parts}, n = {count}{f' of {test}' if test else ''}."]
        if scores
        else []
    )
    shown = next((one for one in candidates if one.name == best), other)
    changes = probe_changes(shown.run.main.pair("untouched", shown.key), MAIN_PROBES)
    loss = loss_sentence(changes) if changes else "What it cost elsewhere was not measured (eval.probes)."
    return (*sentences, f"{shown.name}: {loss[0].lower()}{loss[1:]}")
