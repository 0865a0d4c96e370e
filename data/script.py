"""Unicode facts about the scripts of a corpus: which letters, how many units, which share of a text.

Scripts are ISO 15924 codes, languages ISO 639 codes. Tibetan and Han are told by block; every other script by the first word
of a character's Unicode name, which is slower and covers marks as well as letters.
"""

import re
import unicodedata
from functools import lru_cache

SCRIPT_NAMES = {
    "Arab": "ARABIC", "Armn": "ARMENIAN", "Beng": "BENGALI", "Cyrl": "CYRILLIC", "Deva": "DEVANAGARI", "Ethi": "ETHIOPIC",
    "Geor": "GEORGIAN", "Grek": "GREEK", "Gujr": "GUJARATI", "Guru": "GURMUKHI", "Hani": "CJK", "Hebr": "HEBREW",
    "Khmr": "KHMER", "Knda": "KANNADA", "Laoo": "LAO", "Latn": "LATIN", "Mlym": "MALAYALAM", "Mong": "MONGOLIAN",
    "Mymr": "MYANMAR", "Nkoo": "NKO", "Orya": "ORIYA", "Sinh": "SINHALA", "Syrc": "SYRIAC", "Taml": "TAMIL", "Telu": "TELUGU",
    "Tfng": "TIFINAGH", "Thai": "THAI", "Tibt": "TIBETAN",
}  # fmt: skip

LANGUAGE_SCRIPT = {
    "bo": "Tibt", "dz": "Tibt", "zh": "Hani", "lzh": "Hani", "yue": "Hani", "am": "Ethi", "ar": "Arab", "as": "Beng", "bn": "Beng",
    "ckb": "Arab", "cs": "Latn", "da": "Latn", "de": "Latn", "el": "Grek", "en": "Latn", "es": "Latn", "fa": "Arab", "fi": "Latn",
    "fr": "Latn", "gu": "Gujr", "ha": "Latn", "he": "Hebr", "hi": "Deva", "hu": "Latn", "hy": "Armn", "id": "Latn", "ig": "Latn",
    "it": "Latn", "ka": "Geor", "kk": "Cyrl", "km": "Khmr", "kn": "Knda", "ks": "Arab", "ky": "Cyrl", "lo": "Laoo", "ml": "Mlym",
    "mn": "Cyrl", "mr": "Deva", "ms": "Latn", "my": "Mymr", "ne": "Deva", "nl": "Latn", "or": "Orya", "pa": "Guru", "pl": "Latn",
    "ps": "Arab", "pt": "Latn", "ro": "Latn", "ru": "Cyrl", "sa": "Deva", "si": "Sinh", "sv": "Latn", "sw": "Latn", "ta": "Taml",
    "te": "Telu", "tg": "Cyrl", "th": "Thai", "ti": "Ethi", "tr": "Latn", "ug": "Arab", "uk": "Cyrl", "ur": "Arab", "uz": "Latn",
    "vi": "Latn", "yo": "Latn", "za": "Latn", "zu": "Latn",
}  # fmt: skip

TIBETAN_SYLLABLE = re.compile("[\u0f40-\u0fbc]+")  # letters, vowel signs and subjoined letters; tsheg and shad lie outside
UNSPACED = {"Hani", "Thai", "Laoo", "Khmr", "Mymr"}  # written without spaces between words: counted by the letter


def is_tibetan(character: str) -> bool:
    """True for anything in the Tibetan block: letters, signs, digits and marks."""
    return "\u0f00" <= character <= "\u0fff"


def is_han(character: str) -> bool:
    """True for a Han character, the extensions beyond the basic plane included."""
    return "\u4e00" <= character <= "\u9fff" or "\u3400" <= character <= "\u4dbf" or "\U00020000" <= character <= "\U000323af"


def tibetan_syllables(text: str) -> int:
    """The number of runs of Tibetan letters.

    >>> tibetan_syllables("\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0d")
    2
    """
    return len(TIBETAN_SYLLABLE.findall(text))


@lru_cache(maxsize=65536)
def is_script(character: str, script: str) -> bool:
    """True when `character` belongs to `script`; raises KeyError for a code that is not in `SCRIPT_NAMES`."""
    if script == "Tibt":
        return is_tibetan(character)
    if script == "Hani":
        return is_han(character)
    return unicodedata.name(character, "").startswith(SCRIPT_NAMES[script])


def script_share(text: str, script: str) -> float:
    """The share of `text`'s characters other than white space that belong to `script`; 0 for an empty text."""
    visible = [character for character in text if not character.isspace()]
    return sum(is_script(character, script) for character in visible) / max(1, len(visible))


def count_units(text: str, script: str | None) -> int:
    """Length of a text: Tibetan syllables, characters of an unspaced script, words between spaces for every other."""
    if script == "Tibt":
        return tibetan_syllables(text)
    if script in UNSPACED:
        return sum(is_script(character, script) for character in text)
    return len(text.split())
