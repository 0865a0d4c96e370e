"""Normalises a text by the steps of `data.normalise`, in the order of STEPS; white space is always made single.
LINE_ENDS among them keeps the lines of a text: the others are then done line by line.

DEFAULT holds the steps of a corpus whose completions have one line. The others are for texts of mixed make: digits of two scripts,
Arabic letters stored as the shapes of old fonts, Kurdish ones typed as Arabic ones, spaces where Tibetan has none.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache

from data.script import is_script, primary

NON_BREAKING_TSHEG = "\u0f0c"
TSHEG = "\u0f0b"
INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)
JOINERS = re.compile("[\u200c\u200d]")
NARROW_SPACE = "\u202f"  # stands between a Mongolian word and its ending, and is a part of the spelling
BEFORE_ENDING = re.compile(f"(?<=[\u1820-\u18aa\u180b-\u180d\u180f]){NARROW_SPACE}(?=[\u1820-\u18aa])")
# ligatures and shapes of single letters; the signs among them (ornate brackets, words of respect) stay
ARABIC_SHAPES = re.compile("[\ufb50-\ufbb1\ufbd3-\ufd3d\ufd50-\ufdf9\ufe70-\ufefc]+")
# kaf, yeh, alef maksura: keheh, yeh
PERSIAN_LETTERS = str.maketrans("\u0643\u064a\u0649", "\u06a9\u06cc\u06cc")
SORANI_AE = "\u0647\u200c"  # heh and a non-joiner, for the vowel U+06D5 of older keyboards
SORANI_HEH = "\u06be"  # a second letter for h
LANGUAGES_OF = {  # steps that are for some languages only, by `data.script.primary`
    "persian_letters": frozenset(["ckb", "fa", "glk", "ku", "luz", "lrc", "mzn", "sdh", "ur"]),
    "sorani_letters": frozenset(["ckb", "ku", "sdh"]),
}
TIBETAN_SPACES = re.compile(f"(?<={TSHEG}) +(?=[\u0f40-\u0fbc])| +(?=[\u0f0d\u0f0e])(?<![\u0f0d\u0f0e] )")
NEEDLESS_TSHEG = re.compile(f"(?<!\u0f44){TSHEG}+(?=[\u0f0d\u0f0e])")  # only nga has one before a shad
MANY_TSHEGS = re.compile(f"{TSHEG}{{2,}}")
ARABIC_ZERO = "\u0660"  # Unicode has its script as Common

LINE_ENDS = "line_ends"
BLANK_LINES = re.compile("\n{3,}")
Step = Callable[[str, str], str]


def ascii_digits(text: str, script: str = "") -> str:
    """Decimal digits of every script as 0 to 9.

    >>> ascii_digits("\u0f21\u0f22 \u0663")
    '12 3'
    """
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


def script_digits(text: str, script: str) -> str:
    """0 to 9 as the digits of the script, where it has its own."""
    return text.translate(_digits_of(script))


@cache
def _digits_of(script: str) -> dict[int, str]:
    zeros = map(chr, range(0x80, 0x110000)) if script else ()
    own = (one for one in zeros if unicodedata.decimal(one, None) == 0 and is_script(one, script))
    zero = ARABIC_ZERO if script == "Arab" else next(own, "")
    return {ord(str(digit)): chr(ord(zero) + digit) for digit in range(10)} if zero else {}


def single_spaces(text: str) -> str:
    """Runs of white space as one space, and none at the ends; the narrow space before a Mongolian ending stays."""
    parts = BEFORE_ENDING.split(text) if NARROW_SPACE in text else [text]
    return NARROW_SPACE.join(" ".join(part.split()) for part in parts)


def tibetan_spacing(text: str, script: str = "") -> str:
    """No space after a tsheg or before a shad, one tsheg in a row, none before a shad except after nga."""
    return NEEDLESS_TSHEG.sub("", TIBETAN_SPACES.sub("", MANY_TSHEGS.sub(TSHEG, text)))


STEPS: dict[str, Step] = {
    # control and direction marks, soft hyphen, zero width space
    "invisible": lambda text, script: INVISIBLE.sub("", text),
    "arabic_shapes": lambda text, script: ARABIC_SHAPES.sub(
        lambda run: unicodedata.normalize("NFKC", run[0]), text
    ),
    "persian_letters": lambda text, script: text.translate(PERSIAN_LETTERS),
    "sorani_letters": lambda text, script: text.replace(SORANI_AE, "\u06d5").replace(SORANI_HEH, "\u0647"),
    "joiners": lambda text, script: JOINERS.sub("", text),  # Persian and Indic spelling need them
    "tsheg": lambda text, script: text.replace(NON_BREAKING_TSHEG, TSHEG),  # one kind
    "tibetan_spacing": tibetan_spacing,
    "digits_ascii": ascii_digits,
    "digits_script": script_digits,
    "nfc": lambda text, script: unicodedata.normalize("NFC", text),
}
DEFAULT = ("invisible", "tsheg", "nfc")
NAMES = (*STEPS, LINE_ENDS)


def default_steps(is_one_line: bool) -> tuple[str, ...]:
    """The steps where data.normalise is left out; line ends stay where a completion may have them."""
    return DEFAULT if is_one_line else (*DEFAULT, LINE_ENDS)


@cache
def steps_of(language: str, steps: tuple[str, ...]) -> tuple[str, ...]:
    """The steps for texts of a language: without those that are for other languages.

    >>> steps_of("ar", ("persian_letters", "nfc")), steps_of("ckb_Arab", ("persian_letters", "nfc"))
    (('nfc',), ('persian_letters', 'nfc'))
    """
    return tuple(
        name for name in steps if name not in LANGUAGES_OF or primary(language) in LANGUAGES_OF[name]
    )


def normalise(
    text: str, steps: Sequence[str], script: str = "", before_nfc: Callable[[str], str] = str
) -> str:
    """A text after the `steps`, in the order of STEPS; `before_nfc` sees it before and after NFC, which may take
    long for a text that is harmful. With LINE_ENDS a line end stays, and blank lines in a row become one.
    """
    if LINE_ENDS in steps:
        others = [name for name in steps if name != LINE_ENDS]
        lines = (normalise(line, others, script, before_nfc) for line in text.splitlines())
        return BLANK_LINES.sub("\n\n", "\n".join(lines).strip("\n"))
    result = single_spaces(text)
    for name in (name for name in STEPS if name in steps and name != "nfc"):
        result = STEPS[name](result, script)
    result = before_nfc(single_spaces(result))
    return before_nfc(STEPS["nfc"](result, script)) if "nfc" in steps else result
