"""The report's first paragraph, worded from the figures and their intervals; it knows no result in
advance.
"""

from typing import Any

from eval.alarms import number, ringing
from eval.report.wording import MAIN_METRICS, MAIN_PROBES, METRICS, PROBES, Metric, direction
from eval.run_folder import Json, RunFolder


def verdict(run: RunFolder) -> str:
    """One paragraph: GRPO against the warm start, against the translation memory, and what it cost
    elsewhere.
    """
    main = run.pair("warm_start", "grpo")
    if main is None:
        return " ".join([no_comparison(run), *tax_sentences(run, "warm_start"), *budget_sentences(run)])
    sentences = [
        headline(run.trained, main["slices"]["all"]["cosine"]),
        *change_sentences(main["slices"]["all"]),
    ]
    memory = run.pair("translation_memory", "grpo")
    if memory is not None:
        sentences.append(memory_sentence(memory["slices"]["all"]["chrf"]))
    return " ".join([*sentences, *gaming_sentences(run), *tax_sentences(run, "grpo"), *budget_sentences(run)])


def no_comparison(run: RunFolder) -> str:
    """What can be said when GRPO cannot be set against the warm start."""
    evaluated = ", ".join(run.label(name) for name in run.systems) or "nothing"
    return f"No verdict on {run.trained}: this run holds no comparison of {run.trained} with the warm start (evaluated: {evaluated})."


def headline(trained: str, cosine: Json) -> str:
    """The answer to the question of the run, by the interval of the cosine's difference."""
    words = {
        1: f"By embedding cosine, {trained} brought the outputs closer to the reference texts than the warm start",
        0: f"By embedding cosine, {trained} made no clear difference to the warm start: the 95 % interval of the change includes 0",
        -1: f"By embedding cosine, {trained} took the outputs further from the reference texts than the warm start",
    }
    return f"{words[direction(cosine)]} (n = {cosine['n']})."


def change_sentences(differences: Json) -> list[str]:
    """One sentence for each of the main metrics."""
    return [
        change_sentence(metric, differences[metric.key]) for metric in METRICS if metric.key in MAIN_METRICS
    ]


def change_sentence(metric: Metric, difference: Json) -> str:
    """'chrF rose from 24.10 to 25.31 (+1.21, 95 % interval +0.40 to +2.02).'"""
    verb = {1: "rose", 0: "did not clearly change:", -1: "fell"}[direction(difference)]
    values = f"from {metric.value(difference['before'])} to {metric.value(difference['after'])}"
    return f"{metric.label} {verb} {values} ({spread(metric, difference)})."


def spread(metric: Metric, difference: Json) -> str:
    """'+1.21, 95 % interval +0.40 to +2.02', and a remark when the interval includes 0."""
    remark = "" if direction(difference) else ", which includes 0"
    return f"{metric.change(difference['difference'])}, 95 % interval {metric.interval(difference['low'], difference['high'])}{remark}"


def memory_sentence(chrf: Json) -> str:
    """Whether the trained model is better than a look-up in the training data."""
    metric = next(metric for metric in METRICS if metric.key == "chrf")
    words = {1: "beats", 0: "is not clearly different from", -1: "stays behind"}
    return f"In chrF it {words[direction(chrf)]} the translation memory, a look-up of the nearest training source ({spread(metric, chrf)})."


def gaming_sentences(run: RunFolder) -> list[str]:
    """The alarm that the reward is gamed, where it rings at the end."""
    warning = ringing(run.grpo).get("gamed")
    return [f"ALARM step {number(run.grpo[-1])}: {warning}."] if warning else []


def tax_sentences(run: RunFolder, system: str) -> list[str]:
    """What training cost in general competence, against the untouched model."""
    pair = run.pair("untouched", system)
    if pair is None or not pair["probes"]:
        return []
    shown = [row for row in PROBES if row[0] in MAIN_PROBES and row[0] in pair["probes"]]
    parts = [probe_clause(label.split(" (")[0], metric, pair["probes"][key]) for key, label, metric in shown]
    return [f"General competence, {run.label(system)} against the untouched model: {'; '.join(parts)}."]


def budget_sentences(run: RunFolder) -> list[str]:
    """Whether training stayed within its tax budget, from the log's measurements; the last is of the model
    that was handed over.
    """
    if not run.tax:
        return []
    last = run.tax[-1]
    gone_back = sum(row["rolled_back"] for row in run.tax)
    kept = "was kept" if last["tax_kept"] <= last["budget"] else "was not kept"
    times = f", after going back {gone_back} of {len(run.tax)} times it was measured" if gone_back else ""
    ended = f" and ending early, after step {last['step'] + 1}" if last["ended"] else ""
    return [
        f"The tax budget of {last['budget']:g} nats a token on general text {kept}: {last['tax_kept']:.4f} at the end{times}{ended}."
    ]


def probe_clause(label: str, metric: Metric, change: dict[str, Any]) -> str:
    """'English news text, bits per character +0.012, 95 % interval ...' or '... -0.8 pp (3 gained, 5 lost,
    McNemar p = 0.73)'.
    """
    if "p_value" in change:
        clear = "" if change["p_value"] < 0.05 else ", no clear change"
        counts = f"{change['gained']} gained, {change['lost']} lost, McNemar p = {change['p_value']:.2g}"
        return f"{label} {metric.change(change['difference'])} ({counts}{clear})"
    return f"{label} {spread(metric, change)}"
