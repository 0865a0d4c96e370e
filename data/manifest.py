"""The figures a corpus is described by: counts at every stage, clusters, parts, hashes. Plain dicts, ready
for JSON.
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
    kept = Counter(example.origin for example in tally.kept)
    licences = {example.origin: example.licence for example in tally.kept}
    origins = {
        origin: {
            "read": tally.read[origin],
            "dropped": dict(tally.reasons.get(origin, {})),
            "kept": kept[origin],
            "licence": licences.get(origin, "nothing of it was kept"),
        }
        for origin in tally.read
    }
    totals = {
        "read": tally.read.total(),
        "dropped": Counter(reason for _, reason in tally.dropped),
        "kept": len(tally.kept),
    }
    return {
        "origins": origins,
        "totals": totals,
        "languages": Counter(example.source_language for example in tally.kept),
    }


def cluster_facts(clusters: Sequence[Cluster]) -> dict[str, int]:
    """How many near-duplicate clusters there are and how large they get, in pairs."""
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
    """What a person should know of a corpus, in a few lines."""
    totals = manifest["totals"]
    clusters = manifest["clusters"]
    parts = ", ".join(
        f"{name} {facts['pairs']} ({_listed(facts['languages'])})"
        for name, facts in manifest["splits"].items()
    )
    return [
        f"data tier: {manifest['tier']} ({manifest['tier_means']})",
        f"data: {totals['read']} pairs read, {totals['kept']} kept ({_listed(manifest['languages'])})",
        *loss_lines(manifest["losses"]),
        f"data: {clusters['number']} near-duplicate clusters, the largest of {clusters['largest']} pairs; {parts}",
        *size_lines(manifest),
    ]


def size_lines(manifest: Mapping[str, Any]) -> list[str]:
    """A line for each part that has fewer pairs than its setting wants."""
    found = []
    for name, (share, word) in MAX_SHARES.items():
        pairs = manifest["splits"][name]["pairs"]
        wanted = manifest["config"][f"{name}_size"]
        if pairs < wanted:
            is_small = wanted > int(share * manifest["sampled"])
            cause = (
                f"at most a {word} of the pairs" if is_small else "no near-duplicate group fits into the rest"
            )
            found.append(f"data: {name} {pairs} of the {wanted} wanted (data.{name}_size): {cause}")
    return found


def _listed(numbers: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count} {name}" for name, count in sorted(numbers.items(), key=lambda entry: -entry[1]))
        or "none"
    )


def by_reason(rejected: Sequence[tuple[str, str]]) -> str:
    """`12 not UTF-8, 3 empty source`, the commonest first."""
    return _listed(Counter(reason for _, reason in rejected))
