"""Which test items the report shows: the largest gains, the largest losses and a fixed random choice.

Nobody picks the nice ones.
"""

import random
from typing import Any

from eval.report.blocks import Sample
from eval.report.wording import signed
from eval.run_folder import Json, RunFolder, references_of

EACH = 10
SEED = 7
GROUPS = ("Largest gains in cosine", "Largest losses in cosine", "Random items")


def choose(changes: dict[str, float]) -> tuple[list[str], list[str], list[str]]:
    """Ids of up to 10 best changes, 10 worst and 10 random others; no id twice. A gain is above 0, a loss
    below.
    """
    ordered = sorted(changes, key=lambda key: (-changes[key], key))
    best = [key for key in ordered[:EACH] if changes[key] > 0]
    worst = [key for key in reversed(ordered[-EACH:]) if changes[key] < 0]
    rest = sorted(set(changes) - set(best) - set(worst))
    return best, worst, random.Random(SEED).sample(rest, min(EACH, len(rest)))


def samples(run: RunFolder) -> list[tuple[str, list[Sample]]]:
    """(heading, samples): the warm start and the trained model side by side, or what there is of the two."""
    by_system = {
        name: {item["id"]: item for item in run.systems[name]["items"]}
        for name in ("warm_start", "trained")
        if name in run.systems
    }
    if not by_system:
        return []
    first = next(iter(by_system.values()))
    last = list(by_system.values())[-1]
    chosen = choose({key: last[key]["cosine"] - first[key]["cosine"] for key in last if key in first})
    language = next(iter(run.systems.values()))["target_language"]
    return [
        (title, [sample(key, by_system, language, run) for key in ids])
        for title, ids in zip(GROUPS, chosen, strict=True)
        if ids
    ]


def sample(key: str, by_system: dict[str, Json], language: str, run: RunFolder) -> Sample:
    """One test item with the outputs of the systems at hand."""
    items: dict[str, dict[str, Any]] = {name: system[key] for name, system in by_system.items()}
    item = next(iter(items.values()))
    outputs = tuple((run.label(name), language, found["output"]) for name, found in items.items())
    parts = (
        ("Source", item["source_language"], item["source"]),
        *(("Reference text", language, text) for text in references_of(item)),
        *outputs,
    )
    cosines = [found["cosine"] for found in items.values()]
    facts = " \u2192 ".join(f"{run.label(name)} {found['cosine']:.3f}" for name, found in items.items())
    change = f" ({signed(cosines[-1] - cosines[0], 3)})" if len(cosines) > 1 else ""
    return Sample(f"{item['id']} \u00b7 {item['origin']}", parts, f"Cosine: {facts}{change}")
