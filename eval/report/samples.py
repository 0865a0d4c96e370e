"""Chooses the test items that the report shows: the largest gains, the largest losses, some random ones."""

import random
from typing import Any

from eval.report.blocks import Sample
from eval.report.wording import signed_number
from eval.run_folder import Json, RunFolder, references_of

GROUP_SIZE = 10
SEED = 7
GROUPS = ("Largest gains in cosine", "Largest losses in cosine", "Random items")


def choose(changes: dict[str, float]) -> tuple[list[str], list[str], list[str]]:
    """Ids of up to 10 best changes, 10 worst and 10 random others; no id twice. A gain is above 0, a loss
    below.
    """
    ranking = sorted(changes, key=lambda key: (-changes[key], key))
    best = [key for key in ranking[:GROUP_SIZE] if changes[key] > 0]
    worst = [key for key in reversed(ranking[-GROUP_SIZE:]) if changes[key] < 0]
    rest = sorted(set(changes) - set(best) - set(worst))
    return best, worst, random.Random(SEED).sample(rest, min(GROUP_SIZE, len(rest)))


def samples(run: RunFolder) -> list[tuple[str, list[Sample]]]:
    """(heading, samples): outputs of the warm start and the trained model side by side, or of the one that was
    evaluated.
    """
    run = run.main
    by_system = {
        name: {item["id"]: item for item in run.systems[name]["items"]}
        for name in ("warm_start", "trained")
        if name in run.systems
    }
    if not by_system:
        return []
    first = next(iter(by_system.values()))
    last = list(by_system.values())[-1]
    groups = choose({key: last[key]["cosine"] - first[key]["cosine"] for key in last if key in first})
    language = next(iter(run.systems.values()))["target_language"]
    return [
        (title, [sample(key, by_system, language, run) for key in ids])
        for title, ids in zip(GROUPS, groups, strict=True)
        if ids
    ]


def sample(key: str, by_system: dict[str, Json], language: str, run: RunFolder) -> Sample:
    """One test item with the outputs of the systems in `by_system`."""
    items: dict[str, dict[str, Any]] = {name: system[key] for name, system in by_system.items()}
    item = next(iter(items.values()))
    outputs = tuple((run.label(name), language, result["output"]) for name, result in items.items())
    parts = (
        ("Source", item["source_language"], item["source"]),
        *(("Reference text", language, text) for text in references_of(item)),
        *outputs,
    )
    cosines = [result["cosine"] for result in items.values()]
    facts = " \u2192 ".join(f"{run.label(name)} {result['cosine']:.3f}" for name, result in items.items())
    change = f" ({signed_number(cosines[-1] - cosines[0], 3)})" if len(cosines) > 1 else ""
    return Sample(f"{item['id']} \u00b7 {item['origin']}", parts, f"Cosine: {facts}{change}")
