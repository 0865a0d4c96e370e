"""The dev set and the test sets that the user gives as files: read whole, and kept apart from the corpus.

A pair of the corpus that is a near-duplicate of one of theirs, on either side or by way of others, is dropped.
Of their own pairs only those without text are: a test set that others use is scored as it is, with all
reference texts of a source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import user_checks
from data.clean import Limits, Rule, Tally, clean, no_rule
from data.clusters import Clusters, Labels
from data.config import DataConfig
from data.errors import InputError
from data.examples import Example, swap_sides
from data.grams import Ints
from data.inputs import hashes_of, user_corpus
from data.limits import limits_of
from data.manifest import by_reason
from data.records import Mapped, Store
from data.sources import user_file

ANY_LENGTH = Limits(0, 2**53, 0, 2**53)
NEAR = "near a pair of data."


@dataclass(frozen=True)
class OwnSet:
    """A dev or test set, or a further file to learn from: its clean pairs, in a file, what was counted, and remarks."""

    name: str
    store: Store
    tally: Tally
    remarks: Sequence[str] = ()


def set_hashes(config: DataConfig) -> dict[str, str]:
    """The SHA-256 of every file of the sets, under the setting and the path. Raises InputError."""
    return {
        f"data.{name}: {path}": digest
        for name, location in {**config.sets, **warm_start_file(config)}.items()
        for path, digest in hashes_of(user_corpus(config, location, f"data.{name}")).items()
    }


def warm_start_file(config: DataConfig) -> dict[str, str]:
    """The file of pairs for the warm start by its setting; nothing where it is cut out of the corpus."""
    return {"warm_start": config.warm_start} if config.warm_start else {}


def read_sets(
    config: DataConfig,
    folder: Path,
    files: Mapping[str, str],
    limits: Limits = ANY_LENGTH,
    rule: Rule = no_rule,
) -> list[OwnSet]:
    """Read the sets of `files` into files of `folder`; a limit of 0 becomes that of the file. Raises InputError for one
    with too many bad lines or no pair.
    """
    sets = []
    for name, location in files.items():
        reading = user_file.read(
            user_corpus(config, location, f"data.{name}"), Store(folder / f"read-{name}")
        )
        num_read = len(reading.examples) + len(reading.bad_lines)
        if not reading.examples or len(reading.bad_lines) > config.max_bad_share * num_read:
            advice = user_checks.advice(reading, config.column_languages)
            advice = advice and f"; {advice}"
            first = f"; the first is {reading.bad_lines[0][0]}" if reading.bad_lines else ""
            raise InputError(
                f"data.{name}={location}: {len(reading.bad_lines)} of {num_read} pairs are bad "
                f"({by_reason(reading.bad_lines)}), and at most data.max_bad_share={config.max_bad_share} may be{advice}{first}"
            )
        store = Store(folder / name)
        examples = Mapped(reading.examples, swap_sides) if config.reverse else reading.examples
        own, remarks = limits_of(limits, examples, f"data.{name}")
        tally = clean(examples, own, rule, config.normalise, Tally(store))
        sets.append(OwnSet(name, store, tally, [*reading.remarks, *remarks]))
    return sets


def without_near(
    labels: Labels, num_pairs: int, sets: Sequence[OwnSet]
) -> tuple[Ints, Mapping[str, Ints], Clusters]:
    """Which of the first `num_pairs` items, those of the corpus, stay; for each set those that go because of
    it; and the clusters of those that stay. `labels` are of the corpus and then of each set.
    """
    own, start = labels[:num_pairs], num_pairs
    is_near = np.zeros(num_pairs, bool)
    near = dict[str, Ints]()
    for one in sets:
        touches = np.isin(own, labels[start : start + len(one.store)]) & ~is_near
        near[one.name] = np.flatnonzero(touches)
        is_near |= touches
        start += len(one.store)
    places = np.flatnonzero(~is_near)
    _, first, numbers = np.unique(own[places], return_index=True, return_inverse=True)
    return places, near, Clusters.of(first[numbers].astype(np.int32))


def common_items(labels: Labels, num_pairs: int, sets: Sequence[OwnSet]) -> str:
    """A sentence about the items of dev that are near-duplicates of items of a test set, or ""."""
    if not sets or sets[0].name != "dev":
        return ""
    dev = labels[num_pairs : num_pairs + len(sets[0].store)]
    both = np.flatnonzero(np.isin(dev, labels[num_pairs + len(dev) :]))
    if not len(both):
        return ""
    example: Example = sets[0].store[int(both[0])]
    names = " or ".join(f"data.{one.name}" for one in sets[1:])
    return (
        f"{len(both):,} of {len(dev):,} pairs of data.dev are near-duplicates of pairs of {names}, "
        f"the first is {example.id}; what is chosen on dev is not independent of test"
    )
