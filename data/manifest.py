"""Builds the manifest of a corpus: counts at every stage, clusters, parts, hashes. Plain dicts, ready for JSON."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.checksums import write_checksums
from data.clean import Kind, Tally
from data.clusters import Clusters
from data.grams import Ints
from data.losses import loss_lines
from data.records import Store
from data.split import LARGE_CLUSTER, MAX_SHARES

SHOWN_LINES = 3  # bad ones of each reason


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the manifest into the folder of a corpus, and the checksums of all its files; call it last."""
    text = json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    write_checksums(folder)


def counts(tally: Tally) -> dict[str, Any]:
    """Per origin: pairs read, dropped by reason, kept; read = kept + the sum of dropped."""
    remaining = np.delete(np.arange(len(tally.pairs)), np.array(tally.removed, np.int64))
    kinds = kind_counts(tally, remaining)
    num_kept, languages = counts_by("origin", kinds), counts_by("language", kinds)
    licences = {kind.origin: kind.licence for kind in kinds}
    origins = {
        origin: {
            "read": tally.num_read[origin],
            "dropped": dict(tally.reasons.get(origin, {})),
            "kept": num_kept[origin],
            "licence": licences.get(origin, "nothing of it was kept"),
        }
        for origin in tally.num_read
    }
    totals = {"read": tally.num_read.total(), "dropped": tally.num_dropped, "kept": len(remaining)}
    return {"origins": origins, "totals": totals, "languages": languages}


def kind_counts(tally: Tally, places: Any) -> dict[Kind, int]:
    """How many of the pairs at some places of `tally.pairs` are of each kind."""
    numbers = np.frombuffer(tally.kinds, np.intc)[places] if tally.kinds else np.zeros(0, np.intc)
    counts = np.bincount(numbers, minlength=len(tally.kind_numbers)).tolist()
    return {kind: counts[number] for kind, number in tally.kind_numbers.items() if counts[number]}


def counts_by(field: str, kinds: Mapping[Kind, int]) -> Counter[str]:
    """Pairs of each "origin" or "language"."""
    sums = Counter[str]()
    for kind, count in kinds.items():
        sums[getattr(kind, field)] += count
    return sums


def cluster_facts(clusters: Clusters) -> dict[str, int]:
    """The number of near-duplicate clusters and their sizes, in pairs."""
    sizes = clusters.sizes
    return {
        "number": len(sizes),
        "single": int((sizes == 1).sum()),
        "largest": int(sizes.max(initial=0)),
        "larger_than_limit": int((sizes > LARGE_CLUSTER).sum()),
        "limit_for_test_and_dev": LARGE_CLUSTER,
    }


class Part(NamedTuple):
    """The pairs of a part: places in a store, and what was counted when the store was filled."""

    store: Store
    tally: Tally
    places: Ints


def split_facts(parts: Mapping[str, Part], hashes: Mapping[str, str]) -> dict[str, Any]:
    """Per part: pairs, pairs by language and by origin, and the SHA-256 of its file."""
    kinds = {name: kind_counts(part.tally, part.places) for name, part in parts.items()}
    return {
        name: {
            "pairs": len(part.places),
            "languages": counts_by("language", kinds[name]),
            "origins": counts_by("origin", kinds[name]),
            "sha256": hashes[name],
        }
        for name, part in parts.items()
    }


def summary(manifest: Mapping[str, Any]) -> list[str]:
    """The main facts of a corpus, in a few lines."""
    totals = manifest["totals"]
    clusters = manifest["clusters"]
    parts = ", ".join(
        f"{name} {facts['pairs']} ({in_words(facts['languages'])})"
        for name, facts in manifest["splits"].items()
    )
    return [
        f"data tier: {manifest['tier']} ({manifest['tier_means']})",
        f"data: {totals['read']} pairs read, {totals['kept']} kept ({in_words(manifest['languages'])})",
        *loss_lines(manifest["losses"]),
        f"data: {clusters['number']} near-duplicate clusters, the largest of {clusters['largest']} pairs; {parts}",
        *size_lines(manifest),
        *further_lines(manifest),
    ]


def further_lines(manifest: Mapping[str, Any]) -> list[str]:
    """What was read of the further files to learn from."""
    names = {"warm_start": "pairs for the warm start", "prompts": "prompts without reference texts"}
    facts = {name: manifest[name] for name in names if name in manifest}
    return [
        f"data: {own['read']} {names[name]} read; dropped: {in_words(own['dropped'])}"
        for name, own in facts.items()
    ]


def size_lines(manifest: Mapping[str, Any]) -> list[str]:
    """A line for each part that has fewer pairs than its setting."""
    lines = []
    for name, (share, word) in MAX_SHARES.items():
        pairs = manifest["splits"][name]["pairs"]
        size = manifest["config"][f"{name}_size"]
        if pairs < size and not manifest["config"].get(name):
            is_small = size > int(share * manifest["sampled"])
            cause = (
                f"at most a {word} of the pairs" if is_small else "no near-duplicate group fits into the rest"
            )
            lines.append(f"data: {name} {pairs} of the {size} wanted (data.{name}_size): {cause}")
    return lines


def in_words(numbers: Mapping[str, int]) -> str:
    """Counts in words, the largest first: `12 dz, 3 bo`."""
    return (
        ", ".join(f"{count} {name}" for name, count in sorted(numbers.items(), key=lambda entry: -entry[1]))
        or "none"
    )


def bad_line_facts(bad_lines: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """For each reason: how many lines are bad for it, and the first ones, as (file:line, reason) gives them."""
    places: dict[str, list[str]] = {}
    for place, reason in bad_lines:
        places.setdefault(reason, []).append(place)
    return [
        {"reason": reason, "number": len(own), "first": own[:SHOWN_LINES]} for reason, own in places.items()
    ]


def bad_line_words(facts: Iterable[Mapping[str, Any]], listing: Path) -> Iterator[str]:
    """The first bad lines of each reason, and where all are listed."""
    for own in facts:
        reason = own["reason"]
        yield from (f"{place}: {reason}" for place in own["first"])
        if (more := own["number"] - len(own["first"])) > 0:
            yield f"... and {more:,} more: {reason}; all in {listing}"


def by_reason(bad_lines: Sequence[tuple[str, str]]) -> str:
    """Count the reasons in words, the most frequent first: `12 not UTF-8, 3 empty source`."""
    return in_words(Counter(reason for _, reason in bad_lines))
