"""Chooses the test items that the report shows: the largest gains, the largest losses, the most changed, random ones."""

import random
from collections.abc import Mapping
from typing import Any

from eval.report.blocks import Sample
from eval.report.marks import changed_share
from eval.report.wording import signed_number
from eval.run_folder import Json, RunFolder, references_of

GROUP_SIZE = 10
SEED = 7
GROUPS = ("Random items", "Worst: largest losses in cosine", "Best: largest gains in cosine", "Changed most")


def choose(changes: Mapping[str, float]) -> tuple[list[str], list[str], list[str]]:
    """Ids of up to 10 best changes, 10 worst and 10 random others; no id twice. A gain is above 0, a loss below."""
    ranking = sorted(changes, key=lambda key: (-changes[key], key))
    best = [key for key in ranking[:GROUP_SIZE] if changes[key] > 0]
    worst = [key for key in reversed(ranking[-GROUP_SIZE:]) if changes[key] < 0]
    rest = sorted(set(changes) - set(best) - set(worst))
    return best, worst, random.Random(SEED).sample(rest, min(GROUP_SIZE, len(rest)))


def most_changed(shares: Mapping[str, float]) -> list[str]:
    """Ids of up to 10 texts that changed most, none that did not change."""
    ranking = sorted(shares, key=lambda key: (-shares[key], key))
    return [key for key in ranking[:GROUP_SIZE] if shares[key] > 0]


def samples(run: RunFolder) -> tuple[Sample, ...]:
    """Outputs of the warm start and the trained model side by side, or of the one that was evaluated."""
    run = run.main
    by_system = {
        name: {item["id"]: item for item in run.systems[name]["items"]}
        for name in ("warm_start", "trained")
        if name in run.systems
    }
    if not by_system:
        return ()
    first = next(iter(by_system.values()))
    last = list(by_system.values())[-1]
    language = next(iter(run.systems.values()))["target_language"]
    both = [key for key in last if key in first]
    best, worst, others = choose({key: last[key]["cosine"] - first[key]["cosine"] for key in both})
    shares = {key: changed_share(first[key]["output"], last[key]["output"], language) for key in both}
    groups = dict(zip(GROUPS, (others, worst, best, most_changed(shares)), strict=True))
    keys = dict.fromkeys(key for group in groups.values() for key in group)
    return tuple(
        sample(key, by_system, language, run, tuple(name for name, group in groups.items() if key in group))
        for key in keys
    )


def sample(
    key: str, by_system: dict[str, Json], language: str, run: RunFolder, groups: tuple[str, ...]
) -> Sample:
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
    title = f"{item['id']} \u00b7 {item['origin']}"
    return Sample(title, parts, f"Cosine: {facts}{change}", groups, run.label(next(iter(items))))
