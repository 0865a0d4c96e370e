"""The answer of a run's report: whether to ship the trained model, and why, in at most three short sentences.

The rule, which docs/metrics.md states for readers: held-out cosine decides, because no reward is made of it; chrF may
not clearly fall; neither the untouched model nor a look-up in the training data may do better; and what is clearly lost
elsewhere is said.
"""

from typing import NamedTuple

from data.console import number_of
from eval.alarms import current_alarms
from eval.report.blocks import Number
from eval.report.changes import Change, probe_changes, score_change
from eval.report.macro import corpora_of
from eval.report.wording import MAIN_PROBES, MIN_ITEMS
from eval.run_folder import Json, RunFolder

NAMES = 2  # of losses in a sentence
RIVALS = (
    ("untouched", "cosine_held_out", "by Held-out cosine the untouched model"),
    ("translation_memory", "chrf", "by chrF the translation memory"),
)
WAY = {1: "up", 0: "", -1: "down"}


class Answer(NamedTuple):
    """Whether to ship, and `tone` as in a document."""

    text: str
    tone: str


def verdict(run: RunFolder) -> str:
    """All sentences of the verdict."""
    return " ".join([answer(run).text, *reasons(run)])


def answer(run: RunFolder) -> Answer:
    """The first sentence."""
    view = part_of_verdict(run)
    pair = view.pair("warm_start", "trained")
    method = run.method
    if pair is None:
        return Answer(f"No verdict on {method}: it was not compared with the warm start.", "")
    gain = score_change(pair, "cosine_held_out")
    chrf = score_change(pair, "chrf")
    if gain.has_too_few:
        few = number_of(gain.facts["n"], "test item")
        return Answer(f"No verdict on {method}: {few}, fewer than {MIN_ITEMS}.", "")
    if "gamed" in current_alarms(run.train):
        return Answer("Do not ship it: the reward rose while what is not rewarded fell.", "bad")
    down = [change.label for change in (gain, chrf) if change.sense < 0]
    if down or not gain.sense:
        return answer_without_gain(view, method, down, gain.label)
    if rivals := better_rivals(view, "trained"):
        return Answer(f"Do not ship it: {rivals} better.", "bad")
    return cost_answer(method, tax_changes(run.main))


def answer_without_gain(view: RunFolder, method: str, down: list[str], target: str) -> Answer:
    """The first sentence about a model that did not become better: whether the warm start is worth keeping."""
    outcome = f"lowered {' and '.join(down)}" if down else f"made no clear difference to {target}"
    if rivals := better_rivals(view, "warm_start"):
        return Answer(f"Ship neither: {method} {outcome}, and {rivals} better than the warm start.", "bad")
    if down:
        return Answer(f"Do not ship it: {method} {outcome}.", "bad")
    return Answer(f"Keep the warm start: {method} {outcome}.", "caution")


def better_rivals(view: RunFolder, system: str) -> str:
    """'by chrF the translation memory does': the simpler systems that clearly do better than `system`, and by what; ""
    where none does.

    An earlier version did not compare the memory with the warm start; then its comparison with the trained model counts.
    """
    names = []
    for rival, key, name in RIVALS:
        pair = view.pair(rival, system) or view.pair(rival, "trained")
        if pair is not None and score_change(pair, key).sense < 0:
            names.append(name)
    return f"{' and '.join(names)} {'do' if len(names) > 1 else 'does'}" if names else ""


def cost_answer(method: str, changes: list[Change]) -> Answer:
    """The first sentence about a model that became better: by what it lost elsewhere."""
    better = f"{method} brought the outputs closer to the reference texts"
    if not changes:
        return Answer(f"Ship it for this task: {better}; what it cost elsewhere was not measured.", "caution")
    if losses(changes):
        return Answer(f"Ship it for this task only: {better}, and general competence fell.", "caution")
    return Answer(f"Ship it: {better}, and general competence did not clearly fall.", "good")


def reasons(run: RunFolder) -> tuple[str, ...]:
    """The gain and the losses, at most one sentence each, in the figures of the tables."""
    view = run.main
    pair, against = gain_pair(run)
    sentences = []
    if pair is not None:
        scores = [score_change(pair, key) for key in ("cosine_held_out", "chrf")]
        parts = " and ".join(f"{change.label} {change.change} ({change.interval})" for change in scores)
        sentences.append(f"{capital(against)}, {parts}, n = {scores[0].facts['n']}.")
    if changes := tax_changes(view):
        sentences.append(loss_sentence(changes))
    return tuple(sentences)


def loss_sentence(changes: list[Change]) -> str:
    """How many probes clearly fell against the untouched model, with the first of them."""
    loss_changes = losses(changes)
    if not loss_changes:
        return f"Against the untouched model, none of {len(changes)} probes clearly got worse."
    names = "; ".join(f"{change.label} {change.change}" for change in loss_changes[:NAMES])
    more = f"; and {len(loss_changes) - NAMES} more" if len(loss_changes) > NAMES else ""
    return (
        f"Against the untouched model, {len(loss_changes)} of {len(changes)} probes got worse: {names}{more}."
    )


def numbers(run: RunFolder) -> tuple[Number, ...]:
    """Four figures of the first screen: two of the task and two of the cost; of the task only without probes."""
    view = run.main
    pair, against = gain_pair(run)
    texts = [change for change in tax_changes(view) if not change.is_test]
    keys = ("cosine_held_out", "chrf") if texts else ("cosine_held_out", "chrf", "bleu", "consistent_share")
    scores = [score_change(pair, key) for key in keys] if pair else []
    return (
        *(card(change, against) for change in scores),
        *(card(change, "against the untouched model") for change in texts),
    )


def card(change: Change, against: str) -> Number:
    """A change as a figure of the first screen."""
    way = "" if change.has_too_few else WAY[change.way]
    return Number(change.label, change.change, change.interval, change.values, against, way, change.reading)


def part_of_verdict(run: RunFolder) -> RunFolder:
    """The part of a run whose comparison the verdict is about: of several corpora their average."""
    return run if corpora_of(run) and run.comparison else run.main


def gain_pair(run: RunFolder) -> tuple[Json | None, str]:
    """The comparison that the verdict is about, and what its gain is over and on which further test set."""
    view = part_of_verdict(run)
    place = "".join(f" on {name}" for name, test in run.tests.items() if test is view)
    if corpora := corpora_of(run):
        place = f" on average over {len(corpora)} corpora"
    if (pair := view.pair("warm_start", "trained")) is not None:
        return pair, f"against the warm start{place}"
    return view.pair("untouched", "warm_start"), f"against the untouched model{place}"


def tax_changes(run: RunFolder) -> list[Change]:
    """The main probes of the last system against the untouched model."""
    last = "trained" if run.pair("warm_start", "trained") is not None else "warm_start"
    return probe_changes(run.pair("untouched", last), MAIN_PROBES)


def losses(changes: list[Change]) -> list[Change]:
    """Those that are clearly worse."""
    return [change for change in changes if change.sense < 0]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
