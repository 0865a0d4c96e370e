"""The language term: 0 for a completion recognised as another language than the target, else 1.

It sees what no script rule can: Tibetan where Dzongkha is the target, or English for Spanish. It is optional:
it needs pycld2 (Google's Compact Language Detector 2), which is not among this project's packages. Short
texts are not judged, because the detector guesses there. Its right answers on 14,000 real texts, Dzongkha and
Tibetan of the built-in corpus and modern Tibetan elsewhere, by syllables: 1-4: 47 %, 5-8: 74 %, 9-11: 89 %,
from 12: 98 % (1.4 % wrong, 0.2 % undecided; of interface texts alone 4 % wrong). Check its numbers on your
own language pair before you make it a gate.
"""

import functools
import importlib
from collections.abc import Callable, Sequence

from torch import Tensor

from data.errors import InputError
from data.script import primary
from reward.rows import per_row
from reward.units import units

PIP_COMMAND = "pip install pycld2==0.42"
UNDECIDED = "un"


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
        plain = "".join(
            character if character.isprintable() else " " for character in text
        )  # it refuses control characters
        code: str = cld2.detect(plain, isPlainText=True)[2][0][1]
        return primary(code)  # zh-Hant is zh, iw is he

    return identify


def language(
    sources: Sequence[str],
    completions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    target_language: str,
    min_units: int = 12,
) -> Tensor:
    """Term: 0 where the completion is identified as neither the target language nor that of a reference text,
    else 1: -> (N,) fp32.

    1 also where it has fewer than `min_units` units (`reward.units`) or the detector is undecided. Raises
    InputError without pycld2.
    """
    identify = detector()

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        if len(units(completion)) < min_units:
            return 1.0
        accepted_languages = {
            primary(target_language),
            UNDECIDED,
            *map(identify, texts),
        }  # the detector may misread a reference text as well
        return float(identify(completion) in accepted_languages)

    return per_row(score, sources, completions, references)
