"""One corpus out of several, each with its own direction: their parts together, and each test set by itself.

Every corpus is prepared alone. Then a pair to learn from goes where it is a near-duplicate of a dev or test pair
of any corpus, on either side of both: two directions of one corpus have the same texts. The origin of a pair
becomes the name of its corpus.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.cache import atomic_folder
from data.checksums import sha256_of
from data.clusters import near_duplicate_labels
from data.config import TESTS, DataConfig
from data.errors import InputError
from data.examples import Example, line_of
from data.grams import Ints
from data.manifest import write_manifest
from data.progress import Say
from data.records import Chain, Mapped, Selection
from data.split import PARTS, shuffle

Members = Mapping[str, Mapping[str, Sequence[Example]]]  # part -> pairs, of each corpus
LEARNED = ("warm_start", "train")
HELD_OUT = "near a dev or test pair of the corpora"


def mirror(example: Example) -> Example:
    """The pair with its sides exchanged, without further reference texts."""
    languages = {"source_language": example.target_language, "target_language": example.source_language}
    return replace(example, source=example.reference, reference=example.source, others=(), **languages)


def identity(manifests: Mapping[str, Any], config: DataConfig, rules: int) -> str:
    """The name of the folder of a mixture: a hash of what it follows from."""
    hashes = {
        name: {part: facts["sha256"] for part, facts in one["splits"].items()}
        for name, one in manifests.items()
    }
    facts = {"hashes": hashes, "near_duplicate": config.near_duplicate, "seed": config.seed, "rules": rules}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def write_mixture(
    members: Members, manifests: Mapping[str, Any], config: DataConfig, folder: Path, say: Say
) -> None:
    """Write the corpus of several into a folder. Raises InputError where nothing is left of one of them."""
    near = near_held_out(members, config.near_duplicate, say)
    parts = {part: mixed_part(members, part, near, config.seed) for part in PARTS if part != "test"}
    parts |= {"test": []} | {f"{TESTS}{name}": own for name, own in test_sets(members).items()}
    with atomic_folder(folder) as work:
        splits = {part: write_part(work / f"{part}.jsonl", examples) for part, examples in parts.items()}
        write_manifest(work, manifest_of(manifests, near, config) | {"splits": splits})


def near_held_out(members: Members, threshold: float, say: Say) -> dict[str, dict[str, Ints]]:
    """Of each corpus and each part to learn from the places of pairs that are near to a dev or test pair of any
    corpus. Raises InputError where they are all of a corpus.
    """
    places = [(name, part) for name, parts in members.items() for part in parts]
    everything = Chain([members[name][part] for name, part in places])
    is_held_out = np.repeat(
        [part not in LEARNED for _, part in places], [len(members[name][part]) for name, part in places]
    )
    labels = near_duplicate_labels(Chain([everything, Mapped(everything, mirror)]), threshold, say).reshape(
        2, -1
    )
    is_near = np.any(np.isin(labels, labels[:, is_held_out]), axis=0)
    starts = dict(zip(places, everything.starts[:-1].tolist(), strict=True))
    near = {
        name: {
            part: np.flatnonzero(is_near[np.arange(len(parts[part])) + starts[name, part]])
            for part in LEARNED
        }
        for name, parts in members.items()
    }
    for name, parts in members.items():
        if len(near[name]["train"]) == len(parts["train"]):
            raise InputError(
                f"data.corpora.{name}: all of its {len(parts['train'])} training pairs are near to a dev or test set of the corpora; "
                "give other pairs, or one test set for all"
            )
    return near


def mixed_part(
    members: Members, part: str, near: Mapping[str, Mapping[str, Ints]], seed: int
) -> Sequence[Example]:
    """A part of all corpora in random order, so that the first ones are of all."""
    examples = Chain(
        [with_origin(name, without(parts[part], near[name].get(part))) for name, parts in members.items()]
    )
    return Selection(examples, shuffle(np.arange(len(examples)), f"mixture {seed}"))


def without(examples: Sequence[Example], places: Ints | None) -> Sequence[Example]:
    """The examples but those at some places."""
    return examples if places is None else Selection(examples, np.delete(np.arange(len(examples)), places))


def with_origin(name: str, examples: Sequence[Example]) -> Sequence[Example]:
    """The examples with their corpus as origin, and ids that no other corpus has."""
    return Mapped(examples, lambda example: replace(example, id=f"{name}/{example.id}", origin=name))


def test_sets(members: Members) -> dict[str, Sequence[Example]]:
    """The test set of each corpus by its name, then the further ones as `corpus-set`."""
    sets = {name: with_origin(name, parts["test"]) for name, parts in members.items()}
    further = {
        f"{name}-{part.removeprefix(TESTS)}": with_origin(name, examples)
        for name, parts in members.items()
        for part, examples in parts.items()
        if part.startswith(TESTS)
    }
    return sets | further


def write_part(path: Path, examples: Sequence[Example]) -> dict[str, Any]:
    """Write a part; what the manifest says of it."""
    languages, origins = Counter[str](), Counter[str]()
    with path.open("wb") as file:
        for example in examples:
            file.write(line_of(example))
            languages[example.source_language] += 1
            origins[example.origin] += 1
    return {"pairs": len(examples), "languages": languages, "origins": origins, "sha256": sha256_of(path)}


def manifest_of(
    manifests: Mapping[str, Any], near: Mapping[str, Mapping[str, Ints]], config: DataConfig
) -> dict[str, Any]:
    """The sums of the corpora's manifests, and each of them whole under `corpora`."""
    drops = {name: sum(map(len, parts.values())) for name, parts in near.items()}
    origins = {name: origin_facts(one, drops[name]) for name, one in manifests.items()}
    totals = {key: sum(facts[key] for facts in origins.values()) for key in ("read", "kept")}
    dropped = sum((Counter(facts["dropped"]) for facts in origins.values()), Counter[str]())
    return {
        "config": asdict(config),
        "corpus": " + ".join(manifests),
        "tier": "mixture",
        "tier_means": "several corpora",
        "seed": config.seed,
        "origins": origins,
        "totals": {**totals, "dropped": dropped},
        "remarks": [f"{name}: {remark}" for name, one in manifests.items() for remark in one["remarks"]],
        "losses": [
            {**loss, "reason": f"{name}: {loss['reason']}"}
            for name, one in manifests.items()
            for loss in one["losses"]
        ],
        "near_duplicate_threshold": config.near_duplicate,
        "corpora": dict(manifests),
    }


def origin_facts(manifest: Mapping[str, Any], num_near: int) -> dict[str, Any]:
    """The counts of one corpus as those of an origin."""
    totals = manifest["totals"]
    licences = dict.fromkeys(facts["licence"] for facts in manifest["origins"].values())
    return {
        "read": totals["read"],
        "dropped": totals["dropped"] | ({HELD_OUT: num_near} if num_near else {}),
        "kept": totals["kept"] - num_near,
        "licence": ", ".join(licences),
    }


def mixture_lines(manifest: Mapping[str, Any]) -> list[str]:
    """The pairs of each corpus in every part, for a terminal."""
    lines = []
    for name, facts in manifest["origins"].items():
        splits = {part: manifest["splits"][part] for part in (*PARTS, *manifest["splits"])}
        parts = {part: own["origins"].get(name, 0) for part, own in splits.items()}
        counts = ", ".join(f"{part} {count}" for part, count in parts.items() if count)
        num_near = facts["dropped"].get(HELD_OUT, 0)
        lines.append(f"data.corpora.{name}: {counts}; {num_near} dropped {HELD_OUT}")
    return lines
