"""Invented points of a study: every score and every tax is given by the test, so that the right answers can
be computed by hand.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.documents import read_object
from eval.study.estimates import EvaluatedCheckpoint, estimate_checkpoints
from eval.study.points import read_study
from eval.study.report import write_study_report

HAN = "天地人山水火土木金石"
TOKENS = 10
QUESTIONS = 20
Json = dict[str, Any]


def target_items(scores: Sequence[float]) -> list[Json]:
    """One item a score: the held-out cosine is the score, the cosine 0.1 more, the output as much of the
    reference.
    """
    return [
        {
            "id": f"item-{number}", "origin": "o", "source_language": "bo", "source": f"source {number}", "reference": HAN,
            "output": HAN[: round(10 * score)] or "a", "cosine": score + 0.1, "cosine_held_out": score, "chrf": 10 * score,
            "consistent": score > 0.05, "length_ratio": score,
        }
        for number, score in enumerate(scores)
    ]  # fmt: skip


def drift(taxes: Sequence[float]) -> Json:
    """One text of ten tokens a tax (nats per token); KL is half of it."""
    items = [
        {
            "id": f"text-{number}",
            "tokens": TOKENS,
            "nll": 30 + TOKENS * tax,
            "nll_base": 30.0,
            "kl": abs(TOKENS * tax / 2),
        }
        for number, tax in enumerate(taxes)
    ]
    mean = sum(taxes) / len(taxes)
    nll = {"nll_mean": 3 + mean, "nll_p90": 6.0, "nll_change_mean": mean, "nll_change_p90": 2 * mean}
    figures = {**nll, "kl_mean": mean / 2, "kl_p90": mean}
    return {"n_tokens": TOKENS * len(taxes), **figures, "items": items}


def probes(right: int, taxes: Sequence[float]) -> Json:
    """Texts whose bits grow with the taxes, and QUESTIONS questions of which the first `right` are answered
    rightly.
    """
    rows: list[Json] = [
        {"id": f"t{number}", "bits": 100 + 100 * tax, "characters": 50} for number, tax in enumerate(taxes)
    ]
    bits = sum(row["bits"] for row in rows) / 50 / len(rows)
    text = {"n": len(rows), "characters": 50 * len(rows), "bits_per_character": bits, "items": rows}
    answers = [
        {"id": f"q{number}", "right": number < right, "right_per_character": number < right}
        for number in range(QUESTIONS)
    ]
    shares = dict.fromkeys(("accuracy", "accuracy_per_character"), right / QUESTIONS)
    return {
        "english": text,
        "chinese": text,
        "capitals": {"n": QUESTIONS, "chance": 0.25, **shares, "items": answers},
        "seconds": 1.0,
    }


def invented_point(
    arm: str, kind: str, scores: Sequence[float], taxes: Sequence[float], *, seed: int = 0, step: int = 0, num_steps: int = 20,
    settings: Sequence[str] = (), right: int = 16,
) -> Json:  # fmt: skip
    """One point file's content, in the shape that a study writes."""
    sanity = {
        "n": 12,
        "script": "Latn",
        "in_script_share": 1.0,
        "empty_share": 0.0,
        "repeated_share": 0.25,
        "items": [],
    }
    signatures = {
        "cosine": "encoder:invented",
        "cosine_held_out": "encoder:other",
        "chrf": "nc:6",
        "bleu": "tok:zh",
    }
    target = {
        "system": arm, "target_language": "zh", "signatures": signatures, "metrics": {"all": {"n": len(scores)}},
        "items": target_items(scores),
    }  # fmt: skip
    drifts = {"general": drift(taxes), "task": drift(taxes)}
    tax = {"probes": probes(right, taxes), "drift": drifts, "sanity": {"english": sanity}, "seconds": 1.0}
    cost = {"prompts": 8 * step, "tokens": 900 * step, "updates": step, "seconds": 2.5 * step}
    return {
        "arm": arm, "kind": kind, "seed": seed, "step": step, "num_steps": num_steps, "sha256": f"{arm}{seed}{step}", "cost": cost,
        "settings": [*settings], "target": target, "tax": tax,
    }  # fmt: skip


def write_points(study: Path, points: Sequence[Json]) -> Path:
    """The points as files where a study puts them."""
    for point in points:
        path = study / "points" / point["arm"] / f"seed{point['seed']}" / f"step-{point['step']:06d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(point, ensure_ascii=False), encoding="utf-8")
    return study


def study_report(
    study: Path, points: Sequence[Json], resamples: int = 50, **more: Any
) -> tuple[str, str, Json]:
    """Page, Markdown and summary of the report on these points, which are written first."""
    page, plain, summary = write_study_report(write_points(study, points), resamples=resamples, **more)
    return page.read_text(encoding="utf-8"), plain.read_text(encoding="utf-8"), read_object(summary)


def estimates(study: Path, points: Sequence[Json], resamples: int = 200) -> list[EvaluatedCheckpoint]:
    """The estimates of these points, which are written first."""
    return estimate_checkpoints(read_study(write_points(study, points)).points, resamples, 0)


def even(value: float, count: int = 12) -> list[float]:
    """The same value for every item: an interval of no width."""
    return [value] * count


def spread_out(value: float, width: float, count: int = 12) -> list[float]:
    """Values with this mean, half of them `width` above, half below."""
    return [value + (width if number % 2 else -width) for number in range(count)]


def invented_study(seeds: Sequence[int] = (0,), grpo_tax: float = 0.02, sft_tax: float = 0.06) -> list[Json]:
    """Untouched model, warm starts, GRPO (gain 0.1 then 0.2), two SFT arms (0.15 and 0.3), self-SFT, an
    ablation, a control, a budget.

    Taxes of GRPO are `grpo_tax` at its last step, of the better SFT arm `sft_tax`; seeds differ by 0.001 in
    tax.
    """
    points = [invented_point("untouched", "untouched", even(0.0), even(0.0), seed=min(seeds), right=18)]
    for seed in seeds:
        more = 0.001 * seed

        def add(
            arm: str,
            kind: str,
            step: int,
            score: float,
            tax: float,
            *settings: str,
            seed: int = seed,
            more: float = more,
        ) -> None:
            points.append(
                invented_point(
                    arm, kind, even(score), even(tax + more), seed=seed, step=step, settings=settings
                )
            )

        add("warm_start", "warm_start", 0, 0.3, 0.01)
        add("grpo", "grpo", 10, 0.4, (0.01 + grpo_tax) / 2)
        add("grpo", "grpo", 20, 0.5, grpo_tax)
        add("sft_low", "sft", 20, 0.45, 0.9, "train.optim.lr=1e-5")
        add("sft_high", "sft", 20, 0.6, sft_tax, "train.optim.lr=1e-4")
        add("self", "best_of_group", 20, 0.5, 0.03)
        add("no_kl", "grpo", 20, 0.45, 0.05, "loss.kl_coef=0.0")
        add("noise", "grpo", 20, 0.3, 0.04, 'reward.control="random"')
        add("held", "grpo", 20, 0.35, 0.015, "tax.budget=0.02")
    return points
