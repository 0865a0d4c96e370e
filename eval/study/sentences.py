"""Writes a study's conclusions, each sentence from a figure and its interval.

"Clear" means that the whole 95 % interval is on one side of 0; otherwise a sentence says that there is no
clear difference.
"""

from collections.abc import Sequence

from eval.report.changes import clear_way
from eval.report.wording import METRIC, MIN_ITEMS, PROBES, TAX, Metric, are_too_few, direction
from eval.run_folder import Json
from eval.study.estimates import SEEDS_FOR_T
from eval.study.roles import RIVALS

AREA = Metric("area", "Area", 5)
KIND_LABELS = {
    "grpo": "GRPO",
    "sft": "SFT",
    "best_of_group": "best-of-group SFT",
    "recovery": "recovery",
    "self_distillation": "self-distillation",
    "interpolated": "interpolated",
}
COST_NAMES = {"seconds": "seconds", "all_tokens": "tokens"}


def conclusions(figures: Json) -> list[str]:
    """The sentences, from what was compared to what to ship."""
    return [
        *warning_sentences(figures),
        sizes_sentence(figures),
        *main_sentences(figures),
        *(equal_sentence(result, figures) for result in figures["equal_target"]),
        # by seconds: beside the pictures, as no two machines agree
        *equal_cost_sentences(figures, "all_tokens"),
        *razor_sentences(figures),
        *area_sentences(figures),
        *role_sentences(figures, "start", "GRPO from another start"),
        *role_sentences(figures, "ablation", "Reward and loss variants"),
        *role_sentences(figures, "control", "Controls, which have a meaningless reward"),
        *budget_sentences(figures),
        *transfer_sentences(figures),
        ship_sentence(figures),
    ]


def too_few(figures: Json) -> str:
    """'12 test items and 12 general texts' where their intervals cannot be trusted and no seeds make up for it, or ""."""
    if len(figures["seeds"]) >= SEEDS_FOR_T:
        return ""
    corpora = {f"test items of {name}": facts["n"] for name, facts in figures.get("corpora", {}).items()}
    counts = (corpora or {"test items": figures["n"]}) | {"general texts": figures["texts"]}
    return " and ".join(f"{count} {name}" for name, count in counts.items() if are_too_few(count))


def warning_sentences(figures: Json) -> list[str]:
    """That the intervals over items cannot be trusted, where a study has too few items and too few seeds."""
    if not (few := too_few(figures)):
        return []
    return [
        f"Too few for a verdict: {few}. Below {MIN_ITEMS} the intervals over them are too narrow, so what is called "
        "clear below may be chance."
    ]


def sizes_sentence(figures: Json) -> str:
    """Numbers of test items, texts and seeds, and what the tax is."""
    seeds = figures["seeds"]
    names = ", ".join(map(str, seeds))
    many = (
        f"{len(seeds)} seeds ({names})"
        if len(seeds) > 1
        else f"one seed ({names}), so no interval covers repeated training"
    )
    corpora = ", ".join(figures["corpora"])
    average = f" of {corpora}, whose scores are averaged" if corpora else ""
    return (
        f"{figures['n']} test items{average}, {figures['texts']} general texts ({figures['tokens']:,} tokens), {many}. "
        "Tax is the rise of the loss on general English and Chinese text over the untouched model, in nats per token."
    )


def metric_name(metric: Metric) -> str:
    """A metric's name inside a sentence: 'held-out cosine', but 'chrF'."""
    return metric.label if any(letter.isupper() for letter in metric.label[1:]) else metric.label.lower()


def last_step(figures: Json, arm: str | None) -> Json | None:
    """The last evaluated checkpoint of an arm."""
    rows = [row for row in figures["checkpoints"] if row["arm"] == arm]
    return rows[-1] if rows else None


def spread(metric: Metric, change: Json) -> str:
    """'+0.021, 95 % interval +0.010 to +0.032'."""
    return f"{metric.change(change['value'])}, 95 % interval {metric.interval(change['low'], change['high'])}"


def main_sentences(figures: Json) -> list[str]:
    """What the main arm gained over the warm start and what that cost."""
    row = last_step(figures, figures["main"])
    if row is None:
        return ["No verdict on GRPO: no GRPO arm was evaluated."]
    metric = METRIC[figures["target"]]
    words = {1: "raised", 0: "made no clear difference to", -1: "lowered"}
    sentences = []
    if row["gains"][figures["target"]] is not None:
        gain = row["gains"][figures["target"]]
        verdict = f"{words[direction(gain)]} the warm start's {metric_name(metric)} ({spread(metric, gain)})"
        sentences.append(f"GRPO (arm {row['arm']}, step {row['step']}) {verdict}.")
    costs = {
        1: "cost general competence",
        0: "cost no clear amount of general competence",
        -1: "lowered the loss on general text",
    }
    sentences.append(
        f"Warm start and GRPO together {costs[direction(row['tax'])]} (tax {spread(TAX, row['tax'])})."
    )
    if row["tax_added"] is not None:
        shares = {1: "added to", 0: "made no clear difference to", -1: "lowered"}
        share = shares[direction(row["tax_added"])]
        sentences.append(f"GRPO {share} the tax of the warm start ({spread(TAX, row['tax_added'])}).")
    return [*sentences, *probe_sentence(row)]


def probe_sentence(row: Json) -> list[str]:
    """Which probes changed beyond chance."""
    probes = [(label, metric, row["probes"][key]) for key, label, metric in PROBES if key in row["probes"]]
    if not probes:
        return []
    clear = [
        f"{label} {metric.change(sum(change['difference'] for change in changes) / len(changes))}"
        for label, metric, changes in probes
        if is_clear(changes)
    ]
    names = "; ".join(clear) if clear else "none"
    return [f"Of {len(probes)} probes of general competence these changed clearly in every seed: {names}."]


def is_clear(changes: Sequence[Json]) -> bool:
    """Whether a probe moved the same way beyond chance in every seed: its interval excludes 0, or McNemar's p
    is below 0.05.
    """
    ways = set(map(clear_way, changes))
    return len(ways) == 1 and 0 not in ways


def equal_sentence(result: Json, figures: Json) -> str:
    """'At an equal held-out cosine (+0.021 over the warm start) the tax of GRPO is X ...: GRPO pays less'."""
    metric = METRIC[result["metric"]]
    rival = KIND_LABELS.get(result["kind"], result["kind"])
    missing = ", ".join(map(str, result["no_common_score"]))
    if not result["seeds"]:
        reason = f"one of them never rose above the warm start (seed {missing})"
        return f"At an equal {metric_name(metric)} GRPO and {rival} cannot be compared: {reason}."
    words = {-1: f"GRPO pays less than {rival}", 0: "no clear difference", 1: f"GRPO pays more than {rival}"}
    names = ", ".join(sorted(set(result["others"])))
    without = f" Not in seed {missing}, where one of them never rose above the warm start." if missing else ""
    difference = f" (difference {spread(TAX, result['main_minus_other'])}, {seeds_of(len(result['seeds']))})"
    outcome = words[direction(result["main_minus_other"])]
    return (
        f"At an equal {metric_name(metric)} ({metric.change(result['gain']['value'])} over the warm start) the tax "
        f"of GRPO is {plus_minus(result['main_tax'])} nats per token, that of the best {rival} ({names}) "
        f"{plus_minus(result['other_tax'])}: {outcome}{difference if metric.key == figures['target'] else ''}.{without}"
    )


def equal_cost_sentences(figures: Json, axis: str) -> list[str]:
    """The main arm against each kind of rival at an equal cost, by the target score."""
    comparison = axis, figures["target"]
    return [
        equal_cost_sentence(one)
        for one in figures["equal_cost"]
        if (one["axis"], one["metric"]) == comparison
    ]


def equal_cost_sentence(result: Json) -> str:
    """'With as many seconds (412, from the untouched model on) GRPO gains ...: no clear difference (...)'"""
    metric = METRIC[result["metric"]]
    rival = KIND_LABELS.get(result["kind"], result["kind"])
    words = {
        1: f"GRPO gains more than {rival}",
        0: "no clear difference",
        -1: f"GRPO gains less than {rival}",
    }
    names = ", ".join(sorted(set(result["others"])))
    difference = result["gain_difference"]
    return (
        f"With as many {COST_NAMES[result['axis']]} ({result['cost']:,.0f}, from the untouched model on) GRPO gains "
        f"{metric.change(result['main_gain']['value'])} {metric_name(metric)}, the best {rival} ({names}) "
        f"{metric.change(result['other_gain']['value'])}: {words[direction(difference)]} "
        f"(difference {spread(metric, difference)}; tax {spread(TAX, result['tax_difference'])})."
    )


def razor_sentences(figures: Json) -> list[str]:
    """How much of the tax the divergence on task prompts explains."""
    razor = figures["razor"]
    if razor is None:
        return []
    parts = [
        f"{name} R\u00b2 {fit['value']:.2f} (95 % interval over arms {fit['low']:.2f} to {fit['high']:.2f})"
        for name, fit in razor["fits"].items()
    ]
    return [
        f"Over {razor['points']} points of {razor['arms']} arms and warm starts, KL(policy || untouched) on task prompts "
        f"explains the tax: {', '.join(parts)}."
    ]


def plus_minus(figure: Json) -> str:
    """{value 0.02, low 0.01, high 0.03} -> '0.0200 \u00b1 0.0100', half the width of the interval."""
    return f"{TAX.value(figure['value'])} \u00b1 {TAX.value((figure['high'] - figure['low']) / 2)}"


def seeds_of(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def fewer_seeds(row: Json, summary: Json) -> str:
    """ ", one seed" behind an arm that has fewer seeds than its study, or ""."""
    count = len(row["seeds"])
    return f", {seeds_of(count)}" if count < len(summary["seeds"]) else ""


def area_sentences(figures: Json) -> list[str]:
    """The areas under the fronts of all arms of each rival kind against the main arm's."""
    rows = {row["name"]: row for row in figures["areas"]}
    sentences = []
    for kind in RIVALS:
        names = list(dict.fromkeys(row["arm"] for row in figures["checkpoints"] if row["kind"] == kind))
        row = rows.get(f"all {kind} arms") or (rows.get(names[0]) if names else None)
        if row is not None and row["area_minus_first"] is not None:
            arms = (
                f"{len(names)} {KIND_LABELS[kind]} arms together"
                if len(names) > 1
                else f"the one {KIND_LABELS[kind]} arm"
            )
            inside = area_comparison(row["area_in_budget_minus_first"])
            whole = area_comparison(row["area_minus_first"])
            sentences.append(
                f"The area under the front of {arms} is, against that of GRPO's one arm, {inside} up to the budget of "
                f"{figures['budget']:g} and {whole} up to the largest tax of the study ({row['cap']:.4f})."
            )
    return sentences


def area_comparison(change: Json) -> str:
    """'larger (+0.00120, 95 % interval ...)'"""
    words = {1: "larger", 0: "not clearly different", -1: "smaller"}
    return f"{words[direction(change)]} ({spread(AREA, change)})"


def role_sentences(figures: Json, role: str, heading: str) -> list[str]:
    """The target score of each arm of a role at its last step.

    It is compared with the main arm at the same step, or with the warm start if the main arm lacks that step.
    """
    metric = METRIC[figures["target"]]
    words = {1: "higher", 0: "no clear difference", -1: "lower"}
    parts = []
    for arm in dict.fromkeys(row["arm"] for row in figures["checkpoints"] if row["role"] == role):
        row = last_step(figures, arm)
        change = row and (row["minus_main"] or row["gains"])[figures["target"]]
        if row is not None and change is not None:
            against = "" if row["minus_main"] else " than the warm start"
            parts.append(f"{arm} {words[direction(change)]}{against} ({metric.change(change['value'])})")
    return [f"{heading}, {metric_name(metric)} against GRPO: {'; '.join(parts)}."] if parts else []


def budget_sentences(figures: Json) -> list[str]:
    """Whether each tax budget was kept, seed by seed, on texts that did not steer training."""
    verdicts = {
        "yes": "kept",
        "no": "exceeded",
        "probably": "kept, though the interval reaches above it,",
        "probably not": "exceeded, though the interval reaches below it,",
    }
    sentences = []
    for arm in dict.fromkeys(row["arm"] for row in figures["budgets"]):
        rows = [row for row in figures["budgets"] if row["arm"] == arm]
        seeds = "; ".join(
            f"{verdicts[row['kept']]} in seed {row['seed']} ({spread(TAX, row['final'])})" for row in rows
        )
        base = rows[0]["against"].replace("_", " ")
        sentences.append(f"Budget of {rows[0]['budget']} nats per token over the {base}, arm {arm}: {seeds}.")
    return sentences


def transfer_sentences(figures: Json) -> list[str]:
    """The main arm's model against every other start of fine-tuning on another task, by the target score."""
    metric = METRIC[figures["target"]]
    words = {1: "better than", 0: "not clearly different from", -1: "worse than"}
    parts = []
    for row in figures["transfer"]["pairs"]:
        if figures["main"] in (row["first"], row["second"]):
            is_second = row["second"] == figures["main"]
            other = row["first"] if is_second else row["second"]
            change = row["changes"][metric.key] if is_second else negative(row["changes"][metric.key])
            outcome = f"{words[direction(change)]} {other} ({spread(metric, change)})"
            parts.append(f"with {row['examples']} examples {outcome}")
    if not parts:
        return []
    return [f"Fine-tuned on another task, GRPO's model is, by {metric_name(metric)}, {'; '.join(parts)}."]


def negative(change: Json) -> Json:
    """The difference of the same two the other way round."""
    return {"value": -change["value"], "low": -change["high"], "high": -change["low"]}


def ship_sentence(figures: Json) -> str:
    """The checkpoint to ship."""
    choice = figures["ship"]
    metric = METRIC[figures["target"]]
    limit = f"With a tax of at most {figures['budget']} nats per token (upper end of the interval)"
    if choice is None:
        return f"{limit}, no evaluated checkpoint can be shipped."
    gain = (
        f", {spread(metric, choice['gain'])} against the warm start"
        if choice["gain"] and choice["kind"] != "warm_start"
        else ""
    )
    words = {1: "", 0: "; that gain is not clear", -1: "; it is worse than the warm start"}
    remark = words[direction(choice["gain"])] if gain else ""
    place = f"; weights in {choice['path']}" if choice["kept"] else ""
    name = f"{choice['arm']}, seed {choice['seed']}, step {choice['step']}"
    score = f"{metric_name(metric)} {metric.value(choice['value'])}{gain}"
    return (
        f"{limit}, ship {name}: {score}, tax {spread(TAX, choice['tax'])}{remark}{place}. "
        f"It was chosen among {choice['candidates']} checkpoints on the same test items, so its score is optimistic."
    )
