"""The default gates in every script: a reference text is paid 1, the source copied in another script nothing.

Letters come out of Unicode's names of characters, not out of the property that the rule reads. Real texts:
the Universal Declaration of Human Rights in more than 500 translations, out of a package of the built-in
corpus.
"""

import random
import re
import unicodedata
from collections import Counter
from functools import cache

import pytest
from declaration import declarations, paragraphs

from data.script import SCRIPT_NAMES, is_script, script_share
from reward.combine import RewardConfig, make_reward

# the others begin with the name of their script
NAMES = {"Hani": "CJK UNIFIED IDEOGRAPH", "Cans": "CANADIAN SYLLABICS"}
ENGLISH = "Whoever copies this is paid nothing."
TIBETAN = "ཡིག་ཆ་གཉིས་ཁ་ཕྱེ་ཡོད།"
ACUTE = "\u0301"
GLOTTAL_STOP = "\u02bc"
MIXED = {"jpn", "jpn_osaka", "jpn_tokyo"}  # Japanese is written in three scripts


def reward_of(script: str, completions: list[str], references: list[str]) -> list[float]:
    """R with the default gates and a stand-in for the cosine; the source is in another script."""
    config = RewardConfig(weights={"nonempty": 1.0}, shown=())
    reward = make_reward(config, {"target_script": lambda: script, "min_share": lambda: config.min_share})
    values, _ = reward([foreign(script)] * len(completions), completions, [[text] for text in references], 1)
    return values.flatten().tolist()


def foreign(script: str) -> str:
    return TIBETAN if script == "Latn" else ENGLISH


@cache
def letter_names() -> dict[str, str]:
    """Every letter that stands for itself -> its name."""
    letters = (chr(code) for code in range(0x20000) if unicodedata.category(chr(code)) in ("Lu", "Ll", "Lo"))
    return {letter: unicodedata.name(letter, "") for letter in letters}


@cache
def letters(script: str) -> list[str]:
    prefix = NAMES.get(script, SCRIPT_NAMES[script].upper().replace("_", " "))
    return [letter for letter, name in letter_names().items() if name.startswith(prefix)]


def sentence(script: str, draw: random.Random) -> str:
    """Twelve words with marks of no script, a number and punctuation."""
    words = ["".join(draw.sample(letters(script), 4)) for _ in range(12)]
    return f"{words[0]}{ACUTE} {words[1]}{GLOTTAL_STOP}{words[2]} ({', '.join(words[3:])}) 12 %!"


@pytest.mark.parametrize("script", SCRIPT_NAMES)
def test_letters_of_every_script_are_paid_against_themselves_and_a_copied_source_is_not(script: str) -> None:
    text = sentence(script, random.Random(script))
    assert reward_of(script, [text, foreign(script), ""], [text] * 3) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("script", SCRIPT_NAMES)
def test_letters_of_every_script_are_in_it_and_in_no_other(script: str) -> None:
    text = "".join(f"{letter}{ACUTE}" for letter in letters(script))
    assert len(text) >= 2 * 18
    assert {code for code in SCRIPT_NAMES if script_share(text, code) > 0} == {script} and script_share(
        text, script
    ) == 1.0


def script_found(texts: list[str]) -> str:
    """The script that most characters of the first texts are in."""
    counts = Counter("".join(texts)[:2000])
    return max(
        SCRIPT_NAMES,
        key=lambda script: sum(count for character, count in counts.items() if is_script(character, script)),
    )


@pytest.mark.real
def test_every_translation_of_the_declaration_is_paid_against_itself_and_a_copied_source_is_not() -> None:
    unpaid = Counter[str]()
    for page in declarations().glob("*.html"):
        texts = [text for text in paragraphs(page) if re.search(r"[^\W\d_]", text)]
        script = script_found(texts)
        unpaid[page.stem] += sum(value < 1 for value in reward_of(script, texts, texts))
        assert reward_of(script, [foreign(script)], texts[:1]) == [0.0]
    assert len(unpaid) > 500 and unpaid.total() > 100  # Japanese
    assert {name for name, count in unpaid.items() if count} == MIXED
