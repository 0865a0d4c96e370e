"""Section [data]: the corpus of a run, and what cannot be asked of it."""

import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from data.clean import Limits
from data.corpora_config import CorpusConfig, temperature_shares
from data.documents import LARGEST
from data.errors import InputError
from data.language_names import is_language, language_meant, script_meant
from data.normalise import DEFAULT, NAMES
from data.script import SCRIPT_NAMES, known_code, with_script
from data.settings import Bounds, Rule, check_bounds, check_rules
from data.sources import tibetan
from data.sources.headlines import HEADLINES
from data.sources.package_corpus import INTERFACES
from data.split import SplitSizes

BUILT_IN = "tibetan"
TASKS = {"": "mt", "translation": "mt"}  # settings that an example names otherwise
TESTS = "tests."  # in front of the name of a further test set
ADDED = (  # settings that the earliest version did not have
    "normalise", "train", "dev", "test", "tests", "prompts", "catalogue", "warm_start", "task", "corpora", "temperature",
)  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class DataConfig:
    """Section [data]. Units are syllables for Tibetan script, characters for Han, words for scripts with spaces."""

    corpus: str = BUILT_IN  # a built-in corpus, or a path (docs/corpus.md)
    train: str = ""  # another name of `corpus` for a file of one's own
    warm_start: str = ""  # file of pairs for the warm start; the later stage then has the whole corpus
    dev: str = ""  # a file like the corpus; empty = cut out of the corpus
    test: str = ""  # a file like the corpus for the test set; empty = cut out
    tests: dict[str, str | tuple[str, ...]] = field(default_factory=dict)  # further test sets, by name
    task: Literal["", "translation", "headline", "summary", "answer", "free"] = (
        ""  # task of a file; "" = translation
    )
    catalogue: Literal["auto", "on", "off"] = "auto"  # rules for messages of programs; auto = off for a file
    prompts: str = ""  # a file of source texts without reference texts, which join the part train
    reverse: bool = (
        False  # sources and reference texts change sides; the limits below are those of the new sides
    )
    languages: tuple[str, ...] = ()  # languages of the built-in corpus: "bo", "dz"; empty = both
    source_language: str = "bo"  # language of the source texts of a file, a code of BCP 47
    target_language: str = "zh"  # language of the reference texts
    target_script: str = (
        ""  # script of the completions, an ISO 15924 code, or "Cyrl+Latn"; empty = as the language says
    )
    source_column: str | int = (
        "source"  # a key of JSONL; a name in the first line, or a number from 1, of TSV and CSV
    )
    reference_column: str | int = "reference"  # the same for the reference text
    max_bad_share: float = 0.05  # share of unusable lines above which a file is refused
    min_source_units: int = 2  # shorter source texts are left out
    max_source_units: int = 0  # longer source texts are left out; 0 = keeps 99 % of the corpus
    min_target_units: int = 2  # shorter reference texts are left out
    max_target_units: int = 0  # the same for reference texts
    near_duplicate: float = 0.7  # Jaccard similarity from which texts are near-duplicates
    test_size: int = 500  # items of the test set where it is cut out
    test_min_per_language: int = 100  # items of each language in it, at least
    dev_size: int = 200  # items of the dev set where it is cut out
    warm_start_share: float = 0.35  # share of the rest that the warm start learns from
    max_examples: int = 0  # pairs to use; 0 = all
    seed: int = 0  # seed of the split
    normalise: tuple[str, ...] = (
        DEFAULT  # steps of normalisation; "line_ends" too where a completion has many lines (docs/languages.md)
    )
    corpora: dict[str, CorpusConfig] = field(default_factory=dict)  # several corpora in place of one, by name
    temperature: float = 1.0  # shares of several corpora are as size ** (1 / temperature)

    @property
    def example_task(self) -> str:
        """The task of the pairs of a file, as its examples name it."""
        return TASKS.get(self.task, self.task)

    @property
    def is_own(self) -> bool:
        """Whether the corpus is a file of the user's."""
        return self.pairs not in (BUILT_IN, *INTERFACES, *HEADLINES)

    @property
    def is_catalogue(self) -> bool:
        """Whether the rules for messages of programs apply: placeholders, wiki markup, keyboard accelerators."""
        return self.catalogue == "on" or (self.catalogue == "auto" and not self.is_own)

    @property
    def pairs(self) -> str:
        """The corpus, by whichever of its two names it is given."""
        return self.train or self.corpus

    @property
    def pairs_setting(self) -> str:
        """The setting that names it."""
        return "data.train" if self.train else "data.corpus"

    @property
    def members(self) -> dict[str, "DataConfig"]:
        """The settings of each of several corpora by its name; those of a single one by ""."""
        if not self.corpora:
            return {"": self}
        alone = replace(self, corpora={}, temperature=1.0)
        return {name: replace(alone, **corpus.own_settings) for name, corpus in self.corpora.items()}

    @property
    def completion_languages(self) -> dict[str, str]:
        """What the model is to write: each language of reference texts, with the setting that gives it."""
        return {
            one.completion_language: f"data.corpora.{name}.{one.completion_setting[5:]}"
            if name
            else one.completion_setting
            for name, one in self.members.items()
        }

    def shares(self, sizes: dict[str, int]) -> dict[str, float]:
        """The probability of each of several corpora; `sizes`: pairs of each."""
        weights = {name: self.corpora[name].share for name in sizes}
        total = sum(weights.values())
        if not total:
            return temperature_shares(sizes, self.temperature)
        return {name: weight / total for name, weight in weights.items()}

    @property
    def completion_language(self) -> str:
        """The language of the reference texts, and so of what the model is to write; of several corpora, all of
        them.
        """
        if self.corpora:
            return "+".join(self.completion_languages)
        if self.pairs in HEADLINES:
            return HEADLINES[self.pairs].language
        if self.pairs in INTERFACES:
            corpus = INTERFACES[self.pairs]
            return corpus.language if self.reverse else corpus.target
        if self.pairs == BUILT_IN:
            return self.languages[0] if self.reverse else "zh"
        return self.column_languages[0 if self.reverse else 1]

    @property
    def completion_setting(self) -> str:
        """The setting that gives the language of the completions of the user's corpus."""
        return "data.source_language" if self.reverse else "data.target_language"

    @property
    def column_languages(self) -> tuple[str, str]:
        """The languages of the user's two columns; that of the completions names `target_script`."""
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
    def sets(self) -> dict[str, str]:
        """The parts that have a file of their own, by their settings; several files of a part as one location."""
        parts = {"dev": self.dev, "test": self.test} | {
            f"{TESTS}{name}": files for name, files in self.tests.items()
        }
        locations = {
            name: files if isinstance(files, str) else ",".join(files) for name, files in parts.items()
        }
        return {name: location for name, location in locations.items() if location}

    @property
    def sizes(self) -> SplitSizes:
        """The wanted sizes of the parts that are cut out of the corpus."""
        test, per_language = (0, 0) if self.test else (self.test_size, self.test_min_per_language)
        dev = 0 if self.dev else self.dev_size
        return SplitSizes(test, per_language, dev, 0.0 if self.warm_start else self.warm_start_share)


BOUNDS = (
    Bounds(0, 1, "max_bad_share warm_start_share"),
    Bounds(1e-6, 1, "near_duplicate"),
    Bounds(1, 10**6, "temperature"),
    Bounds(1, LARGEST, "min_source_units min_target_units"),
    Bounds(0, LARGEST, "max_source_units max_target_units"),
    Bounds(0, LARGEST, "test_size test_min_per_language dev_size max_examples seed"),
)


def check(config: DataConfig) -> None:
    """InputError for the first setting, or combination of settings, that cannot work."""
    check_bounds(config, BOUNDS, "data.")
    check_rules(mixture_rules(config))
    if config.corpora:
        check_members(config)
        return
    rules = (limit_rules, language_rules, side_rules, normalise_rules, file_rules, test_rules)
    for make in rules:
        check_rules(make(config))


def check_members(config: DataConfig) -> None:
    """InputError for what cannot work in one of several corpora, whose name it says."""
    for name, one in config.members.items():
        try:
            check(one)
        except InputError as error:
            raise InputError(f"data.corpora.{name}: {error}") from error


def mixture_rules(config: DataConfig) -> list[Rule]:
    """Rules of several corpora."""
    plain = DataConfig()
    inner = [one.name for one in fields(CorpusConfig) if one.name != "share"]
    of_one = ("corpus", "train", "warm_start", "dev", "test", "tests", "prompts", "reverse")
    both = [name for name in inner if name in of_one and getattr(config, name) != getattr(plain, name)]
    names = [name for name in config.corpora if not NAME.fullmatch(name)]
    shares = [corpus.share for corpus in config.corpora.values()]
    bad_shares = [name for name, corpus in config.corpora.items() if not 0 <= corpus.share < float("inf")]
    return [
        (
            bool(config.corpora) and bool(both),
            f"data.{', data.'.join(both)} and data.corpora: with several corpora each has its own; write it under data.corpora.NAME",
        ),
        (
            bool(names),
            f"data.corpora: {', '.join(map(repr, names))} is no name; write letters, digits, - and _",
        ),
        (bool(bad_shares), f"data.corpora.{', '.join(bad_shares)}: share must be a number from 0"),
        (
            any(shares) and not all(shares),
            "data.corpora: some have a share and some have none; write one for each, or none",
        ),
        (
            not config.corpora and config.temperature != plain.temperature,
            f"data.temperature={config.temperature} mixes several corpora, and there is one; write data.corpora, or leave it out",
        ),
    ]


def limit_rules(config: DataConfig) -> list[Rule]:
    """Rules of the length limits."""
    limits = config.limits
    return [
        (0 < high < low, f"data.min_{side}_units={low}, data.max_{side}_units={high}: min <= max is needed")
        for side, low, high in (
            ("source", limits.min_source, limits.max_source),
            ("target", limits.min_target, limits.max_target),
        )
    ]


def language_rules(config: DataConfig) -> list[Rule]:
    """Rules of languages and scripts."""
    others = [language for language in config.languages if language not in tibetan.LANGUAGES]
    languages = {"source_language": config.source_language, "target_language": config.target_language}
    script = config.target_script
    likely_script = script_meant(script)
    return [
        (
            bool(others),
            f"data.languages: {', '.join(map(repr, others))} is not in the built-in corpus, which has {', '.join(tibetan.LANGUAGES)}",
        ),
        *(
            (
                not is_language(language),
                f"data.{name}={language}: a code is needed"
                + (f'; write "{code}"' if code else " of ISO 639, such as bo, bod or bod_Tibt"),
            )
            for name, language in languages.items()
            for code in [language_meant(language)]
        ),
        (
            bool(script) and config.pairs in (BUILT_IN, *INTERFACES, *HEADLINES),
            f"data.target_script={script}: the script of data.corpus={config.pairs} is known; leave it out",
        ),
        (
            bool(script) and known_code(script) is None,
            f"data.target_script={script}: known scripts are {', '.join(SCRIPT_NAMES)}"
            + (f'; write "{likely_script}"' if likely_script else ""),
        ),
    ]


def normalise_rules(config: DataConfig) -> list[Rule]:
    """Rules of the steps of normalisation."""
    unknown = [name for name in config.normalise if name not in NAMES]
    digits = {"digits_ascii", "digits_script"}
    return [
        (bool(unknown), f"data.normalise: {', '.join(unknown)} is no step; known steps: {', '.join(NAMES)}"),
        (
            digits <= set(config.normalise),
            "data.normalise: of digits_ascii and digits_script only one can be",
        ),
    ]


def settings_of_old(config: DataConfig) -> dict[str, Any]:
    """The settings that name a prepared corpus: without those added later that have their default, so that a corpus
    of an earlier version is found again.
    """
    plain = asdict(DataConfig())
    return {key: value for key, value in asdict(config).items() if key not in ADDED or value != plain[key]}


def side_rules(config: DataConfig) -> list[Rule]:
    """Rules of a corpus whose sides change."""
    return [
        (
            config.reverse and config.pairs in HEADLINES,
            "data.reverse=true: headlines are not turned round; leave it out, or choose another data.corpus",
        ),
        (
            config.reverse and config.pairs == BUILT_IN and len(set(config.languages)) != 1,
            f"data.reverse=true, data.languages={list(config.languages)}: a test set is scored in one target language; "
            'write data.languages=["dz"] or ["bo"]',
        ),
    ]


def file_rules(config: DataConfig) -> list[Rule]:
    """Rules of files of one's own."""
    return [
        (not config.pairs, f"data.corpus is empty; name a file of pairs, or write data.corpus={BUILT_IN}"),
        (
            bool(config.train) and config.corpus != BUILT_IN,
            f"data.train={config.train}, data.corpus={config.corpus}: both name the pairs to learn from; leave one out",
        ),
        (
            bool(config.task) and not config.is_own,
            f"data.task={config.task}: the task of data.corpus={config.pairs} is known; leave it out",
        ),
        *(
            (
                config.pairs in (BUILT_IN, *HEADLINES),
                f"data.{name}={path}: data.corpus={config.pairs} has its own {name} set; give data.train too",
            )
            for name, path in (("warm_start", config.warm_start), ("dev", config.dev), ("test", config.test))
            if path
        ),
    ]


def test_rules(config: DataConfig) -> list[Rule]:
    """Rules of the further test sets and prompts, which are in the languages of the user's settings."""
    names = [name for name in config.tests if not NAME.fullmatch(name)]
    empty = [name for name, files in config.tests.items() if not files or not all(files)]
    target = config.column_languages[0 if config.reverse else 1]
    which = "tests" if config.tests else "prompts" if config.prompts else ""
    return [
        (
            bool(names),
            f"data.tests: {', '.join(map(repr, names))} is no name; write letters, digits, - and _",
        ),
        (bool(empty), f"data.tests.{', '.join(empty)} names no file; give one, or two or more aligned ones"),
        (
            bool(config.tests) and config.pairs in HEADLINES,
            f"data.tests: data.corpus={config.pairs} has no test sets beside its own; leave data.tests out",
        ),
        (
            bool(config.prompts) and config.pairs in HEADLINES,
            f"data.prompts: data.corpus={config.pairs} has no prompts beside its own; leave data.prompts out",
        ),
        (
            bool(which) and target != config.completion_language,
            f"data.{which}: {config.completion_setting}={target}, and data.corpus={config.pairs} teaches "
            f'{config.completion_language}; write {config.completion_setting}="{config.completion_language}"',
        ),
    ]
