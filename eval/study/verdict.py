"""The answer of a study's report: which checkpoint to ship, why, and whether the claim holds, in at most four short
sentences.

Its numbers are those of the tables' rows, which are means over seeds; the checkpoint is `ship` of the figures.
"""

from eval.report.blocks import Number
from eval.report.changes import READINGS
from eval.report.verdict import WAY, Answer
from eval.report.wording import METRIC, MIN_ITEMS, TAX, Metric, direction
from eval.run_folder import Json
from eval.study.cells import with_interval
from eval.study.points import UNTOUCHED, WARM_START
from eval.study.sentences import KIND_LABELS, last_step, metric_name, too_few

START = {UNTOUCHED: "untouched model", WARM_START: "warm start"}
SCORES = ("cosine_held_out", "chrf")


def answer(figures: Json) -> Answer:
    """The first sentence."""
    choice = figures["ship"]
    limit = f"with a tax whose interval ends within {figures['budget']:g} nats per token"
    if few := too_few(figures):
        return Answer(f"No verdict: {few} are too few (fewer than {MIN_ITEMS}) for so few seeds.", "")
    if choice is None:
        return Answer(f"Ship none: no checkpoint stays {limit}.", "bad")
    name = f"{choice['arm']}, step {choice['step']} (seed {choice['seed']})"
    if choice["kind"] in (UNTOUCHED, WARM_START):
        return Answer(f"Keep the {START[choice['kind']]}: no checkpoint scores higher {limit}.", "caution")
    if choice["gain"] is None or direction(choice["gain"]) <= 0:
        text = (
            f"Ship {name}: it has the best score {limit}, though no clear gain; the warm start costs more."
            if is_beyond_budget(figures)
            else f"Keep the warm start: {name} has the best score {limit}, but no clear gain."
        )
        return Answer(text, "caution")
    if len(figures["seeds"]) > 1:  # the tables' rows are means over seeds
        metric = METRIC[figures["target"]]
        best = f"{metric.value(choice['value'])} is the highest {metric_name(metric)} of a single run"
        return Answer(f"Ship {name}: {best} {limit}.", "good")
    return Answer(f"Ship {name}: it has the best score {limit}.", "good")


def is_beyond_budget(figures: Json) -> bool:
    """Whether the tax of the warm start is not within the budget, so that it cannot be kept."""
    warm_starts = [row for row in figures["checkpoints"] if row["kind"] == WARM_START]
    return any(row["tax"]["high"] > figures["budget"] for row in warm_starts)


def reasons(figures: Json) -> tuple[str, ...]:
    """Gain and tax of the row, then the main arm against its rivals."""
    row = chosen_row(figures)
    metric = METRIC[figures["target"]]
    sentences = []
    if row is not None and row["gains"][metric.key] is not None:
        gain = with_interval(metric, row["gains"][metric.key])
        words = f"gains {gain} in {metric_name(metric)} over the warm start, for a tax of {with_interval(TAX, row['tax'])}"
        seeds = f", over {len(row['seeds'])} seeds," if len(row["seeds"]) > 1 else ""
        sentences.append(f"Arm {row['arm']} at step {row['step']}{seeds} {words}.")
    return (*sentences, *rival_sentence(figures), *short_claim(figures))


def short_claim(figures: Json) -> list[str]:
    """The claim and its verdict: 'The claim is refuted: at the score of the best SFT (sft) ...'"""
    claim = figures["claim"]
    if claim is None or too_few(figures):
        return []
    return [
        f"The claim is {claim['verdict']}: {claim['recommended']} pays at most half the tax of the best SFT ({claim['sft']}) at "
        "its score, or gains more at its tax."
    ]


def rival_sentence(figures: Json) -> list[str]:
    """'At an equal held-out cosine GRPO's tax is lower than that of SFT (-0.0233).'"""
    words = {-1: "lower than that of", 0: "not clearly different from that of", 1: "higher than that of"}
    results = [row for row in figures["equal_target"] if row["metric"] == figures["target"] and row["seeds"]]
    parts = [
        f"{words[direction(row['main_minus_other'])]} {KIND_LABELS.get(row['kind'], row['kind'])} "
        f"({TAX.change(row['main_minus_other']['value'])})"
        for row in results
    ]
    name = metric_name(METRIC[figures["target"]])
    return [f"At an equal {name} GRPO's tax is {', '.join(parts)}."] if parts else []


def numbers(figures: Json) -> tuple[Number, ...]:
    """Two gains of the row, its tax, and the tax that training added to the warm start's."""
    row = chosen_row(figures)
    if row is None:
        return ()
    cards = [
        card(METRIC[key], row["gains"][key], values(METRIC[key], row), "against the warm start")
        for key in SCORES
        if row["gains"][key] is not None
    ]
    unit = "nats per token"
    cards.append(card(TAX, row["tax"], unit, "against the untouched model"))
    if row["tax_added"] is not None:
        cards.append(card(TAX, row["tax_added"], unit, "against the warm start"))
    return tuple(cards)


def values(metric: Metric, row: Json) -> str:
    """'0.300 -> 0.500': the warm start of the row's own seeds, then the row."""
    end = row["metrics"][metric.key]["value"]
    return f"{metric.value(end - row['gains'][metric.key]['value'])} \u2192 {metric.value(end)}"


def card(metric: Metric, figure: Json, words: str, against: str) -> Number:
    """An interval of a row as a figure of the first screen."""
    way = direction(figure)
    interval = metric.interval(figure["low"], figure["high"])
    reading = READINGS[way * metric.better]
    return Number(metric.label, metric.change(figure["value"]), interval, words, against, WAY[way], reading)


def chosen_row(figures: Json) -> Json | None:
    """The row of the trained checkpoint to ship, else the main arm's last."""
    choice = figures["ship"]
    if choice is None or choice["kind"] in (UNTOUCHED, WARM_START):
        return last_step(figures, figures["main"])
    place = choice["arm"], choice["step"]
    return next(row for row in figures["checkpoints"] if (row["arm"], row["step"]) == place)
