"""The language term: 0 for a completion recognised as another language than the target, else 1.

It sees what no script rule can: Tibetan where Dzongkha is the target, or English for Spanish. It needs an
identifier that is not among this project's packages; short texts are not judged.

With `reward.identifier` (see `reward.identify`) a completion is refused where the probability of the target language
is below a threshold. The threshold is measured for a run's language on its own reference texts (`measure_fit`), and a
completion is never judged more strictly than its reference text. Where the identifier does not know the language, or
would refuse too many true texts, the run is refused.

Without it the judge is pycld2 (Google's Compact Language Detector 2) and its first answer. Its right answers on
14,000 real texts, Dzongkha and Tibetan of the built-in corpus and modern Tibetan elsewhere, by syllables: 1-4:
47 %, 5-8: 74 %, 9-11: 89 %, from 12: 98 % (1.4 % wrong, 0.2 % undecided; of interface texts alone 4 % wrong).
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from data.errors import InputError
from data.language_names import language_name
from data.script import primary
from reward.identify import Array, Identifier
from reward.rows import References, Texts, per_row
from reward.units import units

PIP_COMMAND = "pip install pycld2==0.42"
UNDECIDED = "un"
LEAST_UNITS = {False: 12, True: 3}  # of a text that is judged: by pycld2, by an identifier with a threshold
HIGHEST = 0.5  # of a threshold: from here the target is the likeliest language
LOWEST = 0.05  # below it a gate would let nearly everything pass
REFUSED = 0.02  # share of true texts that a threshold may refuse
MOST_REFUSED = 0.2  # share at which there is no gate for a language
LEAST_TEXTS = 20  # to measure a threshold
MOST_TEXTS = 1000


@dataclass(frozen=True)
class LanguageFit:
    """A threshold, the share of `texts` true texts of the language that it refuses, and the share of `sources`
    texts of the other language that pass it.
    """

    threshold: float
    texts: int
    refused: float
    sources: int
    passed: float

    def __str__(self) -> str:
        other = f"; {self.passed:.1%} of {self.sources} source texts would pass" if self.sources else ""
        return f"threshold {self.threshold:.3f}: {self.refused:.1%} of {self.texts} true texts are refused{other}"


@dataclass(frozen=True)
class LanguageGate:
    """An identifier with its threshold for one language."""

    identifier: Identifier
    language: str
    threshold: float = HIGHEST

    def probabilities(self, texts: Sequence[str]) -> Array:
        """(N,): the probability of the language for each text."""
        columns = [self.identifier.languages.index(code) for code in codes_of(self.identifier, self.language)]
        total: Array = self.identifier.probabilities(texts)[:, columns].sum(axis=1)
        return total

    def accepts(self, text: str, references: Sequence[str], min_units: int) -> bool:
        """Whether a text is in the language, by the threshold or as far as one of its reference texts."""
        if len(units(text)) < min_units:
            return True
        values = self.probabilities([text, *references])
        return bool(values[0] >= min(self.threshold, *values[1:]))


def codes_of(identifier: Identifier, language: str) -> list[str]:
    """Which of the identifier's languages stand for `language`: itself; else the members of a macrolanguage (Southern
    Quechua for Quechua); else its macrolanguage. None where it knows none of them.
    """
    from langcodes.data_dicts import MACROLANGUAGES

    code = primary(language)
    members = [one for one in identifier.languages if MACROLANGUAGES.get(one) == code]
    choices = ([code], members, [MACROLANGUAGES.get(code, "")])
    known = ([one for one in choice if one in identifier.languages] for choice in choices)
    return next(filter(None, known), [])


def stand_in(identifier: Identifier, language: str) -> str:
    """What is judged in place of a language that the identifier does not tell from others, as a sentence; else ""."""
    codes = codes_of(identifier, language)
    if codes in ([], [primary(language)]):
        return ""
    names = ", ".join(f"{language_name(code)} ({code})" for code in codes)
    return f"the identifier has no {language_name(language)} ({language}); it judges {names} in its place"


def check_known(name: str, identifier: Identifier, language: str) -> None:
    """Raises InputError where the identifier has no such language, nor its members or its macrolanguage."""
    if not codes_of(identifier, language):
        raise InputError(
            f"reward.identifier = {name!r} does not know {language_name(language)} ({language}), so nothing can tell it "
            f"from other languages; leave reward.identifier and the gate 'language' out, or give a model that knows it "
            f"(this one knows {', '.join(identifier.languages)})"
        )


def measure_fit(
    gate: LanguageGate, texts: Sequence[str], sources: Sequence[str], min_units: int = LEAST_UNITS[True]
) -> LanguageFit | None:
    """The highest threshold up to HIGHEST that refuses at most REFUSED of `texts`, at least LOWEST; None for fewer
    than LEAST_TEXTS long enough. `sources` are texts of another language.
    """
    true_texts, others = (
        [text for text in dict.fromkeys(side) if len(units(text)) >= min_units][:MOST_TEXTS]
        for side in (texts, sources)
    )
    if len(true_texts) < LEAST_TEXTS:
        return None
    own = gate.probabilities(true_texts)
    threshold = float(np.clip(np.quantile(own, REFUSED, method="lower"), LOWEST, HIGHEST))
    passed = float((gate.probabilities(others) >= threshold).mean()) if others else 0.0
    return LanguageFit(threshold, len(true_texts), float((own < threshold).mean()), len(others), passed)


def refusal(fit: LanguageFit) -> str:
    """Why there is no gate with this fit, or ""."""
    if fit.refused <= MOST_REFUSED:
        return ""
    return (
        f"it refuses {fit.refused:.0%} of {fit.texts} true reference texts (at most {MOST_REFUSED:.0%} are allowed), so a gate "
        "would punish the language itself; leave reward.identifier and the gate 'language' out, or give another identifier"
    )


@functools.cache
def detector() -> Callable[[str], str]:
    """text -> its main language as `data.script.primary` writes it, "un" for undecided. Raises InputError
    where pycld2 is missing.
    """
    try:
        cld2 = importlib.import_module("pycld2")
    except ImportError as error:
        raise InputError(
            f"the reward term 'language' needs a package that is not installed; type: {PIP_COMMAND}"
        ) from error

    @functools.lru_cache(maxsize=4096)
    def identify(text: str) -> str:
        # it refuses control characters
        plain = "".join(character if character.isprintable() else " " for character in text)
        code: str = cld2.detect(plain, isPlainText=True)[2][0][1]
        return primary(code)  # zh-Hant is zh, iw is he

    return identify


def language(
    sources: Texts, completions: Texts, references: References,
    *, target_language: str, language_gate: LanguageGate | None = None, min_units: int = 0,
) -> Tensor:  # fmt: skip
    """Term: 0 where the completion is in another language than the target, else 1: -> (N,) fp32.

    1 also where it has fewer than `min_units` units (`reward.units`; 0: 3 with a gate, 12 with pycld2). With pycld2
    it is 1 too where the detector is undecided or finds the language of a reference text. Raises InputError without
    pycld2 and gate.
    """
    least = min_units or LEAST_UNITS[language_gate is not None]
    identify = detector() if language_gate is None else None

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        if language_gate is not None:
            return float(language_gate.accepts(completion, texts, least))
        assert identify is not None
        if len(units(completion)) < least:
            return 1.0
        # the detector may misread a reference text as well
        accepted_languages = {primary(target_language), UNDECIDED, *map(identify, texts)}
        return float(identify(completion) in accepted_languages)

    return per_row(score, sources, completions, references, needs_references=False)
