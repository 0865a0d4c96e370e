"""The sentences behind a verdict: each result with its figures and interval, for those who want all of them."""

from collections.abc import Iterable
from dataclasses import replace

from eval.alarms import current_alarms, number
from eval.report.brackets import rewarded_scores
from eval.report.changes import Change, probe_changes, score_change, score_changes
from eval.report.learned import facts_of, shared_metrics
from eval.report.macro import corpora_of
from eval.report.wording import MAIN_METRICS, MAIN_PROBES, METRICS, MIN_ITEMS, are_too_few, direction
from eval.run_folder import Json, RunFolder
from grpo.config import WITHOUT_REWARD


def findings(run: RunFolder) -> tuple[str, ...]:
    """The trained model against the warm start and the translation memory on each test set, then its tax."""
    views = ([("", run)] if run.systems or not run.tests else []) + list(run.tests.items())
    sentences = [
        f"{name}: {sentence}" if name and number == 0 else sentence
        for name, view in views
        for number, sentence in enumerate(result_sentences(view))
    ]
    system = "warm_start" if run.main.pair("warm_start", "trained") is None else "trained"
    gaming = gaming_sentences(run) if system == "trained" else []
    parts = [
        *macro_sentences(run),
        *sentences,
        *disagreement_sentences(run.main),
        *gaming,
        *tax_sentences(run.main, system),
        *budget_sentences(run),
    ]
    return tuple(filter(None, parts))


def macro_sentences(run: RunFolder) -> list[str]:
    """What training changed on average over the corpora; none for a run on one."""
    corpora = corpora_of(run)
    pair = run.pair("warm_start", "trained") if corpora else None
    if pair is None:
        return []
    first, *others = change_sentences(pair["slices"])
    return [f"Macro average over {len(corpora)} corpora: {first}", *others]


def result_sentences(run: RunFolder) -> list[str]:
    """The trained model against the warm start and the translation memory."""
    main = run.pair("warm_start", "trained")
    if main is None:
        return [no_comparison(run)]
    sentences = [headline(run.method, main["slices"]["all"]["cosine"]), *change_sentences(main["slices"])]
    memory = run.pair("translation_memory", "trained")
    if memory is not None:
        sentences.append(memory_sentence(score_change(memory, "chrf")))
    return sentences


def no_comparison(run: RunFolder) -> str:
    """The sentence of a run in which the trained model was not compared with the warm start."""
    names = ", ".join(run.label(name) for name in run.systems) or "nothing"
    return f"No verdict on {run.method}: this run holds no comparison of {run.method} with the warm start (evaluated: {names})."


def headline(method: str, cosine: Json) -> str:
    """Whether the outputs came closer to the reference texts, by the interval of the cosine's difference.

    Fewer than MIN_ITEMS test items get no answer.
    """
    if are_too_few(cosine["n"]):
        return (
            f"No verdict on {method}: n = {cosine['n']} is too small. Below {MIN_ITEMS} test items the intervals "
            "are too narrow to be trusted; raise data.test_size, or use a larger corpus."
        )
    words = {
        1: "brought the outputs closer to the reference texts than the warm start",
        0: "made no clear difference to the warm start: the 95 % interval of the change includes 0",
        -1: "took the outputs further from the reference texts than the warm start",
    }
    return f"By embedding cosine, {method} {words[direction(cosine)]} (n = {cosine['n']})."


def change_sentences(slices: Json) -> list[str]:
    """One sentence for each of the main metrics."""
    main = [metric for metric in METRICS if metric.key in MAIN_METRICS]
    return [change_sentence(change) for change in score_changes(slices, metrics=main)]


def change_sentence(change: Change) -> str:
    """'chrF rose from 24.10 to 25.31 (+1.21, 95 % interval +0.40 to +2.02).'"""
    verb = {1: "rose", 0: "did not clearly change:", -1: "fell"}[change.way]
    if change.has_too_few:
        verb = "went"
    before, after = (change.metric.value(change.facts[key]) for key in ("before", "after"))
    return f"{change.label} {verb} from {before} to {after} ({spread(change)})."


def spread(change: Change) -> str:
    """'+1.21, 95 % interval +0.40 to +2.02', and a remark when the interval includes 0."""
    remark = "" if change.way else ", which includes 0"
    return f"{change.change}, 95 % interval {change.interval}{remark}"


def disagreement_sentences(run: RunFolder) -> list[str]:
    """One sentence where a metric that the reward pays for and one that it does not clearly moved in opposite ways."""
    pair = run.pair("warm_start", "trained")
    facts = facts_of(run.systems)
    paid_metrics = {*rewarded_scores(run.config)}
    paid_metrics |= {name for name, own in facts.items() if own["rewarded"]}
    if pair is None or run.config.get("train", {}).get("method") in WITHOUT_REWARD:
        return []
    metrics = [
        *METRICS,
        *(replace(one, label=one.key) for one in shared_metrics(pair["slices"]["all"], facts)),
    ]
    changes = [
        one for one in score_changes(pair["slices"], metrics=metrics) if one.sense and not one.has_too_few
    ]
    paid = [one for one in changes if one.metric.key in paid_metrics]
    unpaid = [one for one in changes if one.metric.key not in paid_metrics]
    opposites = {one.label: one for one in unpaid if any(one.sense != other.sense for other in paid)}
    against = {
        one.label: one for one in paid if any(one.sense != other.sense for other in opposites.values())
    }
    if not opposites:
        return []
    return [
        f"Rewarded and held-out metrics disagree: {change_words(against.values())}, which the reward pays for, and "
        f"{change_words(opposites.values())}, which it does not."
    ]


def change_words(changes: Iterable[Change]) -> str:
    """'Cosine got better (+0.03) and chrF got worse (-1.20)'."""
    return " and ".join(
        f"{one.label} got {'better' if one.sense > 0 else 'worse'} ({one.change})" for one in changes
    )


def memory_sentence(chrf: Change) -> str:
    """Whether the trained model is better than a look-up in the training data."""
    words = {1: "beats", 0: "is not clearly different from", -1: "is worse than"}
    outcome = "cannot yet be compared with" if chrf.has_too_few else words[chrf.way]
    return f"In chrF it {outcome} the translation memory, a look-up of the nearest training source ({spread(chrf)})."


def gaming_sentences(run: RunFolder) -> list[str]:
    """The alarm that the reward is gamed, where it rings at the end."""
    warning = current_alarms(run.train).get("gamed")
    return [f"ALARM step {number(run.train[-1])}: {warning}."] if warning else []


def tax_sentences(run: RunFolder, system: str) -> list[str]:
    """The change of each main probe of general competence against the untouched model."""
    start = f"General competence, {run.label(system)} against the untouched model"
    changes = probe_changes(run.pair("untouched", system), MAIN_PROBES)
    return [f"{start}: {probe_clause(change)}." for change in changes]


def budget_sentences(run: RunFolder) -> list[str]:
    """Whether training stayed within its tax budget, by the measurements in the log.

    The last measurement is that of the final model.
    """
    if not run.tax:
        return []
    last = run.tax[-1]
    rollbacks = sum(row["rolled_back"] for row in run.tax)
    outcome = "was kept" if last["tax_kept"] <= last["budget"] else "was not kept"
    sentences = [
        f"The tax budget of {last['budget']:g} nats per token on general text {outcome}: {last['tax_kept']:.4f} at the end."
    ]
    if rollbacks:
        sentences.append(
            f"Training went back to an earlier state after {rollbacks} of {len(run.tax)} measurements of the tax."
        )
    if last["ended"]:
        sentences.append(f"It ended early, after step {last['step'] + 1}.")
    return sentences


def probe_clause(change: Change) -> str:
    """The change of one probe with its interval or its test.

    'English text, bits per character +0.012, 95 % interval ...' for texts, '... -0.8 pp (3 gained, 5 lost,
    McNemar p = 0.73)' for questions.
    """
    if not change.is_test:
        return f"{change.label} {spread(change)}"
    clear = "" if change.way else ", no clear change"
    facts = change.facts
    counts = f"{facts['gained']} gained, {facts['lost']} lost, McNemar {change.interval}{clear}"
    return f"{change.label} {change.change} ({counts})"
