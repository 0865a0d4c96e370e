"""Computes all figures of a study as one JSON object without items: what summary.json holds, and what the
report and README's table show.

One entry of `checkpoints` is one step of one arm over its seeds. Gains are over the warm start of the same
seed; taxes, drift and probes are against the untouched model, `tax_added` against the warm start. Intervals
and how they are made: `eval.study.estimates`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from statistics import fmean

from data.errors import InputError
from eval.forgetting.collections import shared_words
from eval.forgetting.probe_changes import compare_probes
from eval.macro import number_of_items
from eval.metrics.significance import RESAMPLES
from eval.report.learned import common_facts
from eval.report.tables import is_number
from eval.report.wording import METRIC
from eval.run_folder import Json, shared_keys
from eval.study.cells import check_target
from eval.study.claim import claim_figures
from eval.study.compare import areas, budgets, equal_target, ship, warm_starts
from eval.study.cost import COSTS, equal_cost, path_cost
from eval.study.estimates import (
    EvaluatedCheckpoint,
    estimate_checkpoints,
    interval,
    method_words,
)
from eval.study.main_table import main_figures
from eval.study.pareto import front
from eval.study.points import AGAIN, UNTOUCHED, WARM_START, Point, StudyFolder, compared_probes
from eval.study.ranks import rank_figures
from eval.study.razor import razor_figures
from eval.study.roles import MAIN_KIND, RIVALS, differing_settings, main_arm, rank, role
from eval.study.sequence import learned_sequences, sequence_figures
from eval.study.transfer import transfer_figures
from eval.study.transitions import transition_figures
from grpo.config_file import load_config

SEED = 0  # of the resamples
TARGETS = ("cosine", "cosine_held_out", "chrf")  # at whose equal score taxes are compared
AT_COST = ("cosine_held_out", "chrf")  # at an equal cost
USUAL_RIVALS = ("sft", "best_of_group")  # without which a study has a gap
DRIFT = ("n_tokens", "nll_mean", "nll_change_mean", "nll_change_p90", "kl_mean", "kl_p90")


def figures(study: StudyFolder, target: str, budget: float, resamples: int = RESAMPLES) -> Json:
    """Every figure of the report. Raises InputError for a `target` that no checkpoint has or a point that
    cannot be compared.
    """
    check_target(target)
    main = main_arm(study.points)
    recommended = str(study.settings.get("recommended", ""))
    learned = common_facts([point.target for point in study.points])
    checkpoints = estimate_checkpoints(
        sorted(study.points, key=lambda point: rank(point, main)), resamples, SEED
    )
    rows = [step_figures(steps, checkpoints, main) for steps in by_step(checkpoints)]
    mark_front(rows, target)
    first = checkpoints[0].point

    corpora = {name: corpus_facts(result) for name, result in first.results.items()}
    seeds = sorted({point.seed for point in study.points})
    rivals = {kind: arms_of(checkpoints, kind) for kind in RIVALS if arms_of(checkpoints, kind)}
    return {
        "target": target,
        "budget": budget,
        "main": main,
        "seeds": seeds,
        "n": number_of_items(first.target),
        "texts": len(first.texts),
        "tokens": sum(text["tokens"] for text in first.texts),
        "language": first.target["target_language"],
        "resamples": resamples,
        "intervals": method_words(len(seeds)),
        "signatures": corpora.get("", {}).get("signatures", {}),
        "corpora": {name: facts for name, facts in corpora.items() if name},
        "gaps": gaps(study, main),
        "learned": learned,
        "rewarded": sorted({name for point in study.points for name in point.target.get("rewarded", ())}),
        "ranks": rank_figures(study.points, learned, resamples, SEED),
        "checkpoints": rows,
        "areas": areas(checkpoints, arm_groups(checkpoints, rivals), target, main or "", budget),
        **equal_figures(checkpoints, main, rivals, target),
        "ship": ship(checkpoints, target, budget, study.path),
        "budgets": budgets(checkpoints),
        "claim": claim_figures(checkpoints, recommended, target, SEED),
        "main_table": main_figures(checkpoints, main, recommended, target, budget, SEED),
        "shared_collections": shared_collections(study),
        "razor": razor_figures(study.points, resamples, SEED),
        "transfer": transfer_figures(study.transfer, resamples, SEED),
        "sequence": sequence_figures(study.sequence, target, resamples, SEED),
        **learned_sequences(study.sequence, resamples, SEED),
        "judgements": [scalars(judgement) for judgement in study.judgements],
    }


def arm_groups(
    checkpoints: Sequence[EvaluatedCheckpoint], rivals: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """The arms whose areas are compared: each trained one alone, and all of a kind that has several."""
    arms = dict.fromkeys(one.point.arm for one in checkpoints if one.point.is_trained)
    pools = {f"all {kind} arms": names for kind, names in rivals.items() if len(names) > 1}
    return {arm: [arm] for arm in arms} | pools


def shared_collections(study: StudyFolder) -> str:
    """What the general texts of training and of the tax share, by the first arm that reads any; "" where none does, or
    where the study's configuration is not known.
    """
    base = study.path / "base.toml"
    arms = [arm.get("settings", []) for arm in study.settings.get("arms", [])]
    if not base.exists():
        return ""
    shared = study.settings.get("settings", [])
    sentences = (shared_words(asdict(load_config(base, [*shared, *own]))) for own in arms)
    return next(filter(None, sentences), "")


def equal_figures(
    checkpoints: Sequence[EvaluatedCheckpoint],
    main: str | None,
    rivals: Mapping[str, Sequence[str]],
    target: str,
) -> Json:
    """The main arm against each kind of rival: taxes at an equal score, scores at an equal cost."""
    if main is None:
        return {"equal_target": [], "equal_cost": []}
    return {
        "equal_target": [
            {"kind": kind, **found}
            for metric in dict.fromkeys((target, *TARGETS))
            for kind, names in rivals.items()
            if (found := equal_target(checkpoints, main, names, metric)) is not None
        ],
        "equal_cost": [
            {"kind": kind, **found}
            for axis in COSTS
            for metric in dict.fromkeys((target, *AT_COST))
            for kind, names in rivals.items()
            if (found := equal_cost(checkpoints, main, names, metric, axis)) is not None
        ],
    }


def corpus_facts(result: Json) -> Json:
    """What the tables say of the test set of a corpus."""
    return {
        "n": len(result["items"]),
        "language": result["target_language"],
        "signatures": result["signatures"],
    }


def arms_of(checkpoints: Sequence[EvaluatedCheckpoint], kind: str) -> list[str]:
    """The names of the arms of a kind."""
    return list(
        dict.fromkeys(checkpoint.point.arm for checkpoint in checkpoints if checkpoint.point.kind == kind)
    )


def by_step(checkpoints: Sequence[EvaluatedCheckpoint]) -> list[list[EvaluatedCheckpoint]]:
    """The checkpoints of the same arm and step, one a seed, in the order of their first."""
    steps: dict[tuple[str, int], list[EvaluatedCheckpoint]] = {}
    for checkpoint in checkpoints:
        steps.setdefault((checkpoint.point.arm, checkpoint.point.step), []).append(checkpoint)
    order = list(dict.fromkeys(checkpoint.point.arm for checkpoint in checkpoints))
    return [steps[key] for key in sorted(steps, key=lambda key: (order.index(key[0]), key[1]))]


def step_figures(
    steps: Sequence[EvaluatedCheckpoint], checkpoints: Sequence[EvaluatedCheckpoint], main: str | None
) -> Json:
    """One arm at one step over its seeds."""
    point = steps[0].point
    warm = warm_starts(checkpoints)
    with_warm_start = [one for one in steps if one.point.seed in warm]
    reference = next((one.point for one in checkpoints if one.point.arm == main), None)
    untouched_point = next((one.point for one in checkpoints if one.point.kind == UNTOUCHED), None)
    return {
        "arm": point.arm,
        "kind": point.kind,
        "role": role(point, reference),
        "step": point.step,
        "num_steps": point.num_steps,
        "differs": differing_settings(point, reference) if point.kind == MAIN_KIND else (),
        "settings": point.settings,
        "start": point.start,
        "seeds": [one.point.seed for one in steps],
        "sha256": [one.point.sha256 for one in steps],
        "cost": mean_cost([dict(one.point.cost) for one in steps]),
        "path_cost": mean_cost([path_cost(one, checkpoints) for one in steps]),
        **scores_and_gains(steps, warm),
        "corpora": {name: scores_and_gains(steps, warm, name) for name in point.results if name},
        "minus_main": minus_main(steps, checkpoints, main),
        "tax": interval([one.tax for one in steps]),
        "tax_added": interval([one.tax - warm[one.point.seed].tax for one in with_warm_start])
        if with_warm_start
        else None,
        "kl": interval([one.kl for one in steps]),
        "policy_kl": mean_policy_kl([one.point for one in steps]),
        "drift": drift([one.point for one in steps]),
        "probes": probes([one.point for one in steps], untouched_point),
        "transitions": transition_figures(
            [one.point for one in steps], untouched_point, {seed: one.point for seed, one in warm.items()}
        ),
        "sanity": sanity([one.point for one in steps]),
    }


def scores_and_gains(
    steps: Sequence[EvaluatedCheckpoint], warm: Mapping[int, EvaluatedCheckpoint], corpus: str = ""
) -> Json:
    """`metrics` over the seeds, and `gains` over the warm start of the same seed; null without one."""
    scores = [one.on(corpus) for one in steps]
    pairs = [(one.on(corpus), warm[one.point.seed].on(corpus)) for one in steps if one.point.seed in warm]
    keys = shared_keys([*scores, *(start for _, start in pairs)])
    return {
        "metrics": {key: interval([one[key] for one in scores]) for key in keys},
        "gains": {
            key: interval([own[key] - start[key] for own, start in pairs]) if pairs else None for key in keys
        },
    }


def minus_main(
    steps: Sequence[EvaluatedCheckpoint], checkpoints: Sequence[EvaluatedCheckpoint], main: str | None
) -> Json | None:
    """Every score and the tax minus those of the main arm at the same step of the same seed; None where there
    is no such pair.
    """
    point = steps[0].point
    same = {
        one.point.seed: one for one in checkpoints if (one.point.arm, one.point.step) == (main, point.step)
    }
    pairs = [(one, same[one.point.seed]) for one in steps if one.point.seed in same]
    if not pairs or point.arm == main:
        return None
    scores = {
        key: interval([one.metrics[key] - other.metrics[key] for one, other in pairs]) for key in METRIC
    }
    return {**scores, "tax": interval([one.tax - other.tax for one, other in pairs])}


def mean_policy_kl(points: Sequence[Point]) -> float | None:
    """KL(policy || untouched) on task prompts, nats per token; None where a seed has none."""
    values = [point.policy_kl["kl_mean"] for point in points if point.policy_kl is not None]
    return fmean(values) if len(values) == len(points) else None


def mean_cost(costs: Sequence[Json | None]) -> Json | None:
    """Means over seeds of the costs that every seed has; None where one is unknown."""
    known_costs = [cost for cost in costs if cost is not None]
    if len(known_costs) < len(costs):
        return None
    return {key: fmean([one[key] for one in known_costs]) for key in shared_keys(known_costs)}


def mark_front(rows: Sequence[Json], target: str) -> None:
    """Set `on_front` of every row: no other has at least its target score for at most its tax, by means; and
    `on_cost_front`, the same for each cost in place of the tax.
    """
    best = front([row["metrics"][target]["value"] for row in rows], [row["tax"]["value"] for row in rows])
    for position, row in enumerate(rows):
        row["on_front"] = position in best
        row["on_cost_front"] = []
    for axis in COSTS:
        rows_with_cost = [row for row in rows if row["path_cost"] is not None]
        scores = [row["metrics"][target]["value"] for row in rows_with_cost]
        for position in front(scores, [row["path_cost"][axis] for row in rows_with_cost]):
            rows_with_cost[position]["on_cost_front"].append(axis)


def drift(points: Sequence[Point]) -> Json:
    """Change of NLL and KL(untouched || checkpoint), mean and P90 over tokens, by text kind; seed means."""
    kinds = [kind for kind in ("general", "task") if all(kind in point.tax["drift"] for point in points)]
    return {
        kind: {key: fmean([drift_numbers(point, kind)[key] for point in points]) for key in DRIFT}
        for kind in kinds
    }


def drift_numbers(point: Point, kind: str) -> Json:
    """The drift of a point on one kind of text. Raises InputError where a number is missing."""
    value: Json = point.tax["drift"][kind]
    for key in DRIFT:
        if not isinstance(value, dict) or not is_number(value.get(key)):
            raise InputError(
                f"{point.path}: tax.drift.{kind} has no number {key!r}, so the file is damaged; {AGAIN}"
            )
    return value


def probes(points: Sequence[Point], untouched: Point | None) -> Json:
    """Change of every probe from the untouched model, a list over seeds.

    Texts have a bootstrap interval, choices McNemar's exact test.
    """
    if untouched is None or not all(point.tax.get("probes") for point in [untouched, *points]):
        return {}
    compare = partial(compare_probes, seed=SEED)
    changes = [compared_probes(untouched, point, compare) for point in points]
    return {key: [change[key] for change in changes] for key in shared_keys(changes)}


def sanity(points: Sequence[Point]) -> Json:
    """The shares of the generation check by language, means over seeds."""
    results = [point.tax.get("sanity", {}) for point in points]
    return {
        name: {
            key: fmean([one[name][key] for one in results])
            for key in shares
            if all(is_number(one[name].get(key)) for one in results)
        }
        for name, shares in results[0].items()
        if all(isinstance(one.get(name), dict) for one in results)
    }


def scalars(document: Json) -> Json:
    """A judgement without its answers."""
    return {
        key: value
        for key, value in document.items()
        if not isinstance(value, list) or key.endswith("interval")
    }


def gaps(study: StudyFolder, main: str | None) -> list[str]:
    """What a full study has and this one does not, one sentence each."""
    kinds = {point.kind for point in study.points}
    seeds = sorted({point.seed for point in study.points})
    warm = {point.seed for point in study.points if point.kind == WARM_START}
    sentences = [
        f"No warm start of seed {seed}: its checkpoints have no gain." for seed in seeds if seed not in warm
    ]
    if UNTOUCHED not in kinds:
        sentences.append("The untouched model was not evaluated: no change of the probes.")
    if main is None:
        sentences.append("No GRPO arm.")
    sentences += [f"No {kind} arm." for kind in USUAL_RIVALS if kind not in kinds]
    if len(seeds) == 1:
        sentences.append(f"One seed ({seeds[0]}): no interval here covers repeated training.")
    for arm in dict.fromkeys(point.arm for point in study.points if point.is_trained):
        absent = [
            str(seed)
            for seed in seeds
            if not any(point.arm == arm and point.seed == seed for point in study.points)
        ]
        if absent:
            sentences.append(f"{arm}: not run with seed {', '.join(absent)}.")
    return sentences
