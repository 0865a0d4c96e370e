"""The data stage: obtain, clean and split a corpus, and record what happened to every pair.

The result is stored under a hash of the settings, of every input file and of the number of this package's
rules. A second call loads it, and changed rules never reuse an old corpus. The manifest has the counts at
each step, licences and hashes.
"""

import hashlib
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data import user_checks
from data.cache import atomic_folder, scratch_folder
from data.checksums import damage, sha256_of
from data.clean import OTHER_REFERENCE, Limits, Tally, clean
from data.clusters import Clusters, Labels, near_duplicate_labels
from data.config import TESTS, DataConfig, settings_of_old
from data.documents import read_object
from data.errors import InputError
from data.examples import Example, swap_sides
from data.grams import Ints
from data.inputs import Inputs, inputs_of
from data.limits import limits_of
from data.losses import limit_remarks, losses
from data.manifest import (
    Part,
    bad_line_facts,
    bad_line_words,
    by_reason,
    cluster_facts,
    counts,
    in_words,
    split_facts,
    summary,
    write_manifest,
)
from data.mixture import identity, mixture_lines, write_mixture
from data.own_sets import NEAR, OwnSet, common_items, read_sets, set_hashes, warm_start_file, without_near
from data.progress import Say, with_progress
from data.records import Chain, Mapped, Records, Selection, Store
from data.script import is_right_to_left, script_of
from data.source_texts import PROMPTS, read_source_texts, source_texts_path
from data.sources import user_file
from data.split import LARGE_CLUSTER, MAX_TEST_SHARE, PARTS, Languages, split

LISTING = "rejected.jsonl"
TOGETHER = 10_000  # lines of it that are written at once
# raise it when the code would make another corpus: the corpora are then made again
# (tests/project/test_code_numbers.py)
HEADER_RULES = 2  # of a user's table: names of columns in any case, and usual words
SCRIPT_RULES = 1  # of some scripts: see has_later_rules
RULES = 5  # words of Ethiopic script end at its sign between words


@dataclass(frozen=True)
class Corpus:
    """Four parts, disjoint by near-duplicate cluster, the manifest, and the further test sets by their names."""

    warm_start: Sequence[Example]
    train: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    manifest: dict[str, Any]
    tests: Mapping[str, Sequence[Example]] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Sequence[Example]]:
        """Every part and test set by the name of its file."""
        own = {"warm_start": self.warm_start, "train": self.train, "dev": self.dev, "test": self.test}
        return own | {f"{TESTS}{name}": examples for name, examples in self.tests.items()}


def prepare(config: DataConfig, cache: Path, say: Say = print) -> Corpus:
    """The corpus of `config`, from the cache where its inputs have not changed. Raises InputError."""
    return _prepare_mixture(config, cache, say) if config.corpora else _prepare_one(config, cache, say)


def _prepare_mixture(config: DataConfig, cache: Path, say: Say) -> Corpus:
    """Several corpora, each prepared alone, as one."""
    corpora = {name: _prepare_member(name, one, cache, say) for name, one in config.members.items()}
    manifests = {name: corpus.manifest for name, corpus in corpora.items()}
    folder = cache / "corpus" / identity(manifests, config, RULES)
    if not (folder / "manifest.json").exists():
        members = {name: corpus.parts for name, corpus in corpora.items()}
        write_mixture(members, manifests, config, folder, say)
    corpus = load(folder)
    for line in mixture_lines(corpus.manifest):
        say(line)
    return corpus


def _prepare_member(name: str, config: DataConfig, cache: Path, say: Say) -> Corpus:
    """One of several corpora. Raises InputError, which says which one it is."""
    try:
        return _prepare_one(config, cache, say)
    except InputError as error:
        raise InputError(f"data.corpora.{name}: {error}") from error


def _prepare_one(config: DataConfig, cache: Path, say: Say) -> Corpus:
    """A corpus that is not mixed."""
    inputs = inputs_of(config, cache, say)
    files = set_hashes(config)
    hashes = inputs.hashes | files
    if config.prompts:
        hashes[f"data.prompts: {config.prompts}"] = sha256_of(source_texts_path(config))
    identity = {"config": settings_of_old(config), "hashes": hashes, "rules": RULES}
    if files or config.is_own:
        identity["header_rules"] = HEADER_RULES
    if has_later_rules(config):
        identity["script_rules"] = SCRIPT_RULES
    folder = cache / "corpus" / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    is_known = (folder / "manifest.json").exists()
    if not is_known:
        _make_corpus(config, inputs, folder, say)
    corpus = load(folder)
    if is_known:
        say_left_out(corpus.manifest, listing_of(folder), say)
        for remark in corpus.manifest["remarks"]:
            say(f"data: {remark}")
    for line in summary(corpus.manifest):
        say(line)
    return corpus


def has_later_rules(config: DataConfig) -> bool:
    """Whether normalisation has changed for a script of the corpus since RULES: the narrow space of Mongolian stays, the
    direction mark U+061C goes, and digits_script knows every script.
    """
    languages = config.column_languages
    is_mongolian = any("Mong" in (script_of(language) or "") for language in languages)
    return is_mongolian or any(map(is_right_to_left, languages)) or "digits_script" in config.normalise


def say_left_out(manifest: Mapping[str, Any], listing: Path, say: Say) -> None:
    """The bad lines of a corpus in the cache; of one that an earlier version made, where they are listed."""
    for line in bad_line_words(manifest.get("bad_lines", []), listing):
        say(line)
    if "bad_lines" not in manifest and listing.exists():
        say(
            f"data: prepared by an earlier version; its bad lines and what else was left out are in {listing}"
        )


def load(folder: Path) -> Corpus:
    """Load a prepared corpus. Raises InputError where a file has changed or is missing."""
    cause = damage(folder, ("manifest.json", *(f"{name}.jsonl" for name in PARTS)))
    if cause:
        raise InputError(f"{folder} was changed after it was made: {cause}; delete it to have it made again")
    warm_start, train, dev, test = (Records(folder / f"{name}.jsonl") for name in PARTS)
    manifest = read_object(folder / "manifest.json")
    names = [name.removeprefix(TESTS) for name in manifest["splits"] if name.startswith(TESTS)]
    further = [PROMPTS] if PROMPTS in manifest["splits"] else []
    prompts = [Records(folder / f"{name}.jsonl") for name in further]
    learned = Chain([train, *prompts]) if prompts else train
    tests = {name: Records(folder / f"{TESTS}{name}.jsonl") for name in names}
    return Corpus(warm_start, learned, dev, test, manifest, tests)


def _make_corpus(config: DataConfig, inputs: Inputs, folder: Path, say: Say) -> None:
    """Read, clean and split a corpus, and write its folder."""
    listing = listing_of(folder)
    with scratch_folder(folder.parent) as scratch:
        store = Store(scratch / "pairs")
        drops = Listing(scratch / LISTING)
        tally = Tally(store, drops)
        limits, bad_lines, remarks = _fill(tally, drops, config, inputs, listing, say)
        sets = read_sets(config, scratch, config.sets)
        sample = _sample(len(tally.pairs), config.max_examples, config.seed)
        more = read_sets(config, scratch, warm_start_file(config), config.limits, inputs.rule)
        more += [read_source_texts(config, config.limits, scratch)] if config.prompts else []
        remarks += [remark for one in [*sets, *more] for remark in one.remarks]
        candidates = Chain([Selection(store, sample), *(one.store for one in [*sets, *more])])
        for remark in remarks:
            say(f"data: {remark}")
        labels = near_duplicate_labels(candidates, config.near_duplicate, say)
        if remark := common_items(labels, len(sample), sets):
            remarks.append(remark)
            say(f"data: {remark}")
        places, near, clusters = without_near(labels, len(sample), sets)
        split_places = split(languages_of(tally, sample[places]), clusters, config.sizes, config.seed)
        parts = {name: Part(store, tally, sample[places[items]]) for name, items in split_places.items()}
        parts |= {one.name: Part(one.store, one.tally, np.arange(len(one.store))) for one in sets}
        learned = places[np.concatenate([split_places[name] for name in ("warm_start", "train")])]
        parts |= free_parts(more, labels, learned)
        for name, items in near.items():
            tally.drop_kept(sample[items], f"{NEAR}{name}")
        drops.flush()
        os.replace(drops.path, listing)
        _check_parts(parts, tally, clusters, config)
        facts = {"config": asdict(config), "corpus": config.pairs, "seed": config.seed, **inputs.facts}
        facts |= {"rules": RULES, "near_duplicate_threshold": config.near_duplicate, "sampled": len(sample)}
        facts |= {"bad_lines": bad_lines, "remarks": remarks, "losses": losses(tally, limits)}
        facts |= counts(tally) | {"clusters": cluster_facts(clusters)}
        _write_corpus(folder, parts, facts | {one.name: dropped_facts(one.tally) for one in more})


def _fill(
    tally: Tally, drops: "Listing", config: DataConfig, inputs: Inputs, listing: Path, say: Say
) -> tuple[Limits, list[dict[str, Any]], list[str]]:
    """Read the corpus, swap its sides if `reverse` is set, and put what cleaning makes of it into `tally`, whose drops
    are `drops`. Returns the limits, the facts of the bad lines and the remarks; memory then holds the places of what was
    kept only.
    """
    reading = inputs.read(drops.path.with_name("read"))
    examples = Mapped(reading.examples, swap_sides) if config.reverse else reading.examples
    limits, fitted = limits_of(config.limits, examples)
    pairs = with_progress(examples, f"cleaning {len(examples):,} pairs", say)
    clean(pairs, limits, inputs.rule, config.normalise, tally)
    tally.add_bad_lines(user_file.ORIGIN, reading.bad_lines, reading.samples)
    drops.flush()
    shutil.copyfile(drops.path, listing)
    bad_lines = bad_line_facts(reading.bad_lines)
    for line in bad_line_words(bad_lines, listing):
        say(line)
    _check_bad_lines(reading, config, listing)
    remarks = [*reading.remarks, *inputs.check(reading.examples), *fitted, *limit_remarks(tally, limits)]
    return limits, bad_lines, remarks


def _write_corpus(folder: Path, parts: Mapping[str, Part], facts: dict[str, Any]) -> None:
    """Write the parts, the manifest with `facts`, and the checksums."""
    with atomic_folder(folder) as work:
        hashes = {name: _write_part(work / f"{name}.jsonl", part) for name, part in parts.items()}
        facts |= {"splits": split_facts(parts, hashes)}
        write_manifest(work, facts)


def listing_of(folder: Path) -> Path:
    """The file beside a corpus that lists every line and pair that is not in it."""
    return folder.with_name(f"{folder.name}.{LISTING}")


def free_parts(more: Sequence[OwnSet], labels: Labels, learned: Ints) -> dict[str, Part]:
    """Of further files to learn from, what is near to no dev or test pair; the rest is counted as dropped. `labels`: of
    the corpus, the own sets and then these files; `learned`: the items of the corpus that are learned from.
    """
    start = len(labels) - sum(len(one.store) for one in more)
    held_out = np.delete(labels[:start], learned)
    parts = {}
    for one in more:
        is_free = ~np.isin(labels[start : start + len(one.store)], held_out)
        start += len(one.store)
        one.tally.drop_kept(np.flatnonzero(~is_free), f"{NEAR}dev or data.test")
        parts[one.name] = Part(one.store, one.tally, np.flatnonzero(is_free))
    return parts


def dropped_facts(tally: Tally) -> dict[str, Any]:
    """What the manifest says of a further file to learn from."""
    return {"read": tally.num_read.total(), "dropped": tally.num_dropped}


class Listing:
    """Writes the id of each dropped pair and the reason into a file."""

    def __init__(self, path: Path) -> None:
        self.lines = list[str]()
        self.path = path
        path.touch()

    def append(self, drop: tuple[str, str]) -> None:
        """Write one line."""
        key, reason = drop
        self.lines.append(json.dumps({"id": key, "reason": reason}, ensure_ascii=False) + "\n")
        if len(self.lines) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Write what was not written yet."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(self.lines)
        self.lines.clear()


def languages_of(tally: Tally, places: Ints) -> Languages:
    """The source languages of some pairs."""
    names = list(dict.fromkeys(kind.language for kind in tally.kind_numbers))
    numbers = np.array([names.index(kind.language) for kind in tally.kind_numbers], np.int64)
    return Languages(numbers[np.array(tally.kinds, np.int64)[places]], names)


def _write_part(path: Path, part: Part) -> str:
    """Write the pairs of a part as they are in the store; the SHA-256 of the file."""
    with path.open("wb") as file:
        for place in part.places.tolist():
            file.write(part.store.line(place))
    return sha256_of(path)


def _check_bad_lines(reading: user_file.Reading, config: DataConfig, listing: Path) -> None:
    """Raises InputError where the bad lines exceed `max_bad_share` of the lines read."""
    bad_lines = reading.bad_lines
    num_read = len(reading.examples) + len(bad_lines)
    if len(bad_lines) > config.max_bad_share * num_read:
        advice = user_checks.advice(reading, config.column_languages)
        raise InputError(
            f"{config.pairs_setting}={config.pairs}: {len(bad_lines)} of {num_read} pairs are bad "
            f"({by_reason(bad_lines)}), more than data.max_bad_share={config.max_bad_share}; {advice and advice + '; '}"
            f"the first is {bad_lines[0][0]}: {bad_lines[0][1]}; all are in {listing}"
        )


def _sample(total: int, count: int, seed: int) -> Ints:
    """Choose `count` of the places 0 .. total - 1 in their order (all of them for 0): a pure function of the
    arguments.
    """
    if not 0 < count < total:
        return np.arange(total)
    return np.sort(np.array(random.Random(f"sample {seed}").sample(range(total), count), np.int64))


def _check_parts(parts: dict[str, Part], tally: Tally, clusters: Clusters, config: DataConfig) -> None:
    is_required = {"train": True, "test": config.test_size > 0, "warm_start": config.warm_start_share > 0}
    empty = [name for name, is_needed in is_required.items() if is_needed and not len(parts[name].places)]
    if empty:
        drops = Counter({reason: n for reason, n in tally.num_dropped.items() if reason != OTHER_REFERENCE})
        if not tally.pairs and not drops and not config.languages:
            raise InputError(
                f"{config.pairs_setting}={config.pairs}: there is no pair in it; write a line for each pair: "
                "its source, a tab, its reference"
            )
        num_kept = len(tally.pairs) - len(tally.removed)
        usable = f"{num_kept} of {num_kept + drops.total()} pairs are usable"
        if others := tally.num_dropped[OTHER_REFERENCE]:
            usable += (
                f", {others} more have the source text of one of them and give it further reference texts"
            )
        raise InputError(
            f"{config.pairs_setting}={config.pairs}: nothing is left for {' and '.join(empty)}: {usable} "
            f"(dropped: {in_words(drops)}); {_cause(clusters, config, 'test' in empty)}"
        )


def _cause(clusters: Clusters, config: DataConfig, lacks_test: bool) -> str:
    """Why parts are empty, and what to do; a test set takes a fifth of the pairs, and whole near-duplicate groups."""
    largest = int(clusters.sizes.max(initial=0))
    total = len(clusters.items)
    setting = f"(data.near_duplicate={config.near_duplicate})"
    if largest <= 1 or largest <= min(total / 2, LARGE_CLUSTER):
        least = round(int(clusters.sizes.min(initial=LARGE_CLUSTER)) / MAX_TEST_SHARE) if lacks_test else 0
        more = f"at least {least} pairs" if total < least else "more pairs"
        return f"give {more}, or change the limits or shares in [data]"
    if largest == total:
        return f"all {total} pairs are one near-duplicate group {setting}, which is never divided; give pairs that differ more"
    return (
        f"the largest of {len(clusters)} near-duplicate groups {setting} has {largest} of {total} pairs, "
        f"and none is divided or, above {LARGE_CLUSTER} pairs, tested; give pairs that differ more"
    )
