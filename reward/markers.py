"""Guard on the words that turn a meaning round: numbers and negations of the completion and of the reference text.

    markers = decay ^ (number of markers that only one of the two has)

The markers of a text are its numbers, as values, and its negations, which count as one kind. So "3" and a Tibetan
or Arabic 3 are equal, and so are "not" and "never"; a number that is another one differs twice. A sentence encoder
gives a text with one "not" more or less nearly the cosine of the text itself, and chrF loses a character or two.

The guard counts the words of `reward.negators`, `words` in their place, and nothing where a language has none: a
negation in other words is not seen, and a right text that negates otherwise than its reference text pays.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import regex
from torch import Tensor

from data.errors import InputError
from data.script import is_unspaced
from reward.negators import negators
from reward.rows import References, Texts, per_row
from reward.units import CACHE_SIZE, units

HAN_NUMBERS = {  # without the one, which stands in many words that are no number
    "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10, "百": 100, "千": 1000, "万": 10000,
}  # fmt: skip
NUMBER = regex.compile(rf"\p{{Nd}}+|[{''.join(HAN_NUMBERS)}]")
TIBETAN_NUMBERS = ("གཅིག", "གཉིས", "གསུམ", "བཞི", "ལྔ", "དྲུག", "བདུན", "བརྒྱད", "དགུ", "བཅུ")
NEGATION = "negation"


def value_of(number: str) -> str:
    """The value of a number in digits of any script, or of one Han numeral.

    >>> value_of("\u0f21\u0f22"), value_of("012"), value_of("\u4e09")
    ('12', '12', '3')
    """
    return str(HAN_NUMBERS[number] if number in HAN_NUMBERS else int(number))


def count_word(word: str, text: str, is_part: bool) -> int:
    """How often a word stands in a text: as a unit, as the beginning of units ("kein*"), or, in a script without
    spaces, as any run of letters (`is_part`).

    >>> count_word("kein*", "Keiner hat keine Zeit", False), count_word("\u4e0d", "\u4e0d\u4e0d", True)
    (2, 2)
    """
    beginning = word.removesuffix("*").casefold()
    if is_part:
        return text.casefold().count(beginning)
    own_units = units(text)
    return sum(unit.startswith(beginning) if word.endswith("*") else unit == beginning for unit in own_units)


@lru_cache(maxsize=CACHE_SIZE)
def markers_of(text: str, words: tuple[str, ...], is_part: bool) -> Counter[str]:
    """Numbers by value, and the number of negations.

    >>> sorted(markers_of("No, not 3 of 10", ("no", "not"), False).items())
    [('10', 1), ('3', 1), ('negation', 2)]
    """
    counts = Counter(value_of(number) for number in NUMBER.findall(text))
    counts.update(str(1 + TIBETAN_NUMBERS.index(unit)) for unit in units(text) if unit in TIBETAN_NUMBERS)
    if count := sum(count_word(word, text, is_part) for word in words):
        counts[NEGATION] = count
    return counts


def difference(first: Counter[str], second: Counter[str]) -> int:
    """How many markers only one of two texts has.

    >>> difference(Counter({"3": 1, "negation": 2}), Counter({"4": 1, "negation": 1}))
    3
    """
    return ((first - second) + (second - first)).total()


def markers(
    sources: Texts, completions: Texts, references: References,
    *, target_language: str, target_script: str, decay: float = 0.5, words: Sequence[str] = (),
) -> Tensor:  # fmt: skip
    """Guard: `decay` ^ `difference` to the reference text that differs least: N rows -> (N,) fp32.

    `words` are the negations of a language that has no list, "no", or "n*" for a beginning. Raises InputError for a
    `decay` outside [0, 1].
    """
    if not 0 <= decay <= 1:
        raise InputError(f"reward.settings.markers.decay = {decay}: must lie in [0, 1]")
    own = tuple(words) or negators(target_language)
    is_part = is_unspaced(target_script)

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        own_markers = markers_of(completion, own, is_part)
        return math.pow(decay, min(difference(own_markers, markers_of(text, own, is_part)) for text in texts))

    return per_row(score, sources, completions, references)
