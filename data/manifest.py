"""Builds the manifest of a corpus: counts at every stage, clusters, parts, hashes. Plain dicts, ready for
JSON.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from data.clean import Tally
from data.examples import Example
from data.losses import loss_lines
from data.split import LARGE_CLUSTER, MAX_SHARES, Cluster


def counts(tally: Tally) -> dict[str, Any]:
    """Per origin: pairs read, dropped by reason, kept; read = kept + the sum of dropped."""
    num_kept = Counter(example.origin for example in tally.pairs)
    licences = {example.origin: example.licence for example in tally.pairs}
    origins = {
        origin: {
            "read": tally.num_read[origin],
            "dropped": dict(tally.reasons.get(origin, {})),
            "kept": num_kept[origin],
            "licence": licences.get(origin, "nothing of it was kept"),
        }
        for origin in tally.num_read
    }
    totals = {
        "read": tally.num_read.total(),
        "dropped": Counter(reason for _, reason in tally.drops),
        "kept": len(tally.pairs),
    }
    return {
        "origins": origins,
        "totals": totals,
        "languages": Counter(example.source_language for example in tally.pairs),
    }


def cluster_facts(clusters: Sequence[Cluster]) -> dict[str, int]:
    """The number of near-duplicate clusters and their sizes, in pairs."""
    sizes = [len(cluster) for cluster in clusters]
    return {
        "number": len(sizes),
        "single": sum(size == 1 for size in sizes),
        "largest": max(sizes, default=0),
        "larger_than_limit": sum(size > LARGE_CLUSTER for size in sizes),
        "limit_for_test_and_dev": LARGE_CLUSTER,
    }


def split_facts(parts: Mapping[str, Sequence[Example]], hashes: Mapping[str, str]) -> dict[str, Any]:
    """Per part: pairs, pairs by language and by origin, and the SHA-256 of its file."""
    return {
        name: {
            "pairs": len(examples),
            "languages": Counter(example.source_language for example in examples),
            "origins": Counter(example.origin for example in examples),
            "sha256": hashes[name],
        }
        for name, examples in parts.items()
    }


def summary(manifest: Mapping[str, Any]) -> list[str]:
    """The main facts of a corpus, in a few lines."""
    totals = manifest["totals"]
    clusters = manifest["clusters"]
    parts = ", ".join(
        f"{name} {facts['pairs']} ({_list(facts['languages'])})" for name, facts in manifest["splits"].items()
    )
    return [
        f"data tier: {manifest['tier']} ({manifest['tier_means']})",
        f"data: {totals['read']} pairs read, {totals['kept']} kept ({_list(manifest['languages'])})",
        *loss_lines(manifest["losses"]),
        f"data: {clusters['number']} near-duplicate clusters, the largest of {clusters['largest']} pairs; {parts}",
        *size_lines(manifest),
    ]


def size_lines(manifest: Mapping[str, Any]) -> list[str]:
    """A line for each part that has fewer pairs than its setting."""
    lines = []
    for name, (share, word) in MAX_SHARES.items():
        pairs = manifest["splits"][name]["pairs"]
        size = manifest["config"][f"{name}_size"]
        if pairs < size:
            is_small = size > int(share * manifest["sampled"])
            cause = (
                f"at most a {word} of the pairs" if is_small else "no near-duplicate group fits into the rest"
            )
            lines.append(f"data: {name} {pairs} of the {size} wanted (data.{name}_size): {cause}")
    return lines


def _list(numbers: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count} {name}" for name, count in sorted(numbers.items(), key=lambda entry: -entry[1]))
        or "none"
    )


def by_reason(bad_lines: Sequence[tuple[str, str]]) -> str:
    """Count the reasons in words, the most frequent first: `12 not UTF-8, 3 empty source`."""
    return _list(Counter(reason for _, reason in bad_lines))
