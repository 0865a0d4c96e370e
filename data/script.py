"""Facts about scripts: the script of a language, of a character and of a text, and the number of units in a
text.

Scripts are ISO 15924 codes. The script of a character is Unicode's property Script, except that Tibetan is
its block, punctuation included. A language is a tag: an ISO 639 code, with or without a script or a region
behind it ("bo", "quy_Latn", "zh-CN").
"""

import re
from functools import lru_cache

import regex

from data.errors import InputError

SCRIPT_NAMES = {
    "Adlm": "Adlam", "Arab": "Arabic", "Armn": "Armenian", "Beng": "Bengali", "Cakm": "Chakma", "Cans": "Canadian_Aboriginal",
    "Cher": "Cherokee", "Cyrl": "Cyrillic", "Deva": "Devanagari", "Ethi": "Ethiopic", "Geor": "Georgian", "Gran": "Grantha",
    "Grek": "Greek", "Gujr": "Gujarati", "Guru": "Gurmukhi", "Hang": "Hangul", "Hani": "Han", "Hebr": "Hebrew", "Java": "Javanese",
    "Khmr": "Khmer", "Knda": "Kannada", "Lana": "Tai_Tham", "Laoo": "Lao", "Latn": "Latin", "Lisu": "Lisu", "Mlym": "Malayalam",
    "Mong": "Mongolian", "Mtei": "Meetei_Mayek", "Mymr": "Myanmar", "Nkoo": "Nko", "Olck": "Ol_Chiki", "Orya": "Oriya",
    "Sinh": "Sinhala", "Syrc": "Syriac", "Taml": "Tamil", "Tavt": "Tai_Viet", "Telu": "Telugu", "Tfng": "Tifinagh",
    "Tglg": "Tagalog", "Thaa": "Thaana", "Thai": "Thai", "Tibt": "Tibetan", "Vaii": "Vai", "Yiii": "Yi",
}  # fmt: skip
HAN_STYLES = {"Hans": "Hani", "Hant": "Hani"}  # simplified and traditional characters count as one script

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
ALIASES = {  # three-letter and withdrawn codes of the languages above
    "bod": "bo", "dzo": "dz", "zho": "zh", "cmn": "zh", "amh": "am", "ara": "ar", "arb": "ar", "asm": "as", "ben": "bn", "ces": "cs",
    "dan": "da", "deu": "de", "ell": "el", "eng": "en", "spa": "es", "fas": "fa", "pes": "fa", "fin": "fi", "fra": "fr", "guj": "gu",
    "hau": "ha", "heb": "he", "iw": "he", "hin": "hi", "hun": "hu", "hye": "hy", "ind": "id", "in": "id", "ibo": "ig", "ita": "it",
    "kat": "ka", "kaz": "kk", "khm": "km", "kan": "kn", "kas": "ks", "kir": "ky", "lao": "lo", "mal": "ml", "mon": "mn", "khk": "mn",
    "mar": "mr", "msa": "ms", "zsm": "ms", "mya": "my", "nep": "ne", "npi": "ne", "nld": "nl", "ori": "or", "ory": "or", "pan": "pa",
    "pol": "pl", "pus": "ps", "pbt": "ps", "por": "pt", "ron": "ro", "rus": "ru", "san": "sa", "sin": "si", "swe": "sv", "swa": "sw",
    "swh": "sw", "tam": "ta", "tel": "te", "tgk": "tg", "tha": "th", "tir": "ti", "tur": "tr", "uig": "ug", "ukr": "uk", "urd": "ur",
    "uzb": "uz", "uzn": "uz", "vie": "vi", "yor": "yo", "zha": "za", "zul": "zu",
}  # fmt: skip

TIBETAN_SYLLABLE = re.compile(
    "[\u0f40-\u0fbc]+"
)  # letters, vowel signs and subjoined letters; tsheg and shad lie outside
UNSPACED = {
    "Hani",
    "Java",
    "Khmr",
    "Lana",
    "Laoo",
    "Mymr",
    "Thai",
    "Yiii",
}  # no spaces between words: counted by the letter
SHARED_MARK = regex.compile(r"\p{Inherited}|(?=[\p{M}\p{Lm}])\p{Common}")


def primary(language: str) -> str:
    """The language of a tag without script and region, as a two-letter code where the tables here have one.

    >>> [primary(tag) for tag in ("bod_Tibt", "zh-CN", "quy_Latn")]
    ['bo', 'zh', 'quy']
    """
    first = re.split("[-_]", language)[0].lower()
    return ALIASES.get(first, first)


def with_script(language: str, script: str) -> str:
    """The tag of `language` as written in `script`; `language` itself for an empty `script`.

    >>> with_script("qu", "Latn"), with_script("bo", "")
    ('qu-Latn', 'bo')
    """
    return f"{re.split('[-_]', language)[0]}-{script}" if script else language


def script_of(language: str) -> str | None:
    """The script in a language tag, else that of its language; None where neither is known.

    >>> [script_of(tag) for tag in ("dzo", "zh-CN", "quy_Latn", "sr-Cyrl", "qu", "ja-Jpan")]
    ['Tibt', 'Hani', 'Latn', 'Cyrl', None, None]
    """
    for part in re.split("[-_]", language)[1:]:
        if len(part) == 4 and part.isalpha():
            script = HAN_STYLES.get(part.title(), part.title())
            return script if script in SCRIPT_NAMES else None
    return LANGUAGE_SCRIPT.get(primary(language))


def script_name(script: str) -> str:
    """The name of a code of `SCRIPT_NAMES` in words.

    >>> script_name("Tibt"), script_name("Cans")
    ('Tibetan', 'Canadian Aboriginal')
    """
    return SCRIPT_NAMES[script].replace("_", " ")


def known_script(language: str, setting: str = "data.target_language") -> str:
    """`script_of` the language of the completions, which `setting` gives. Raises InputError where its script
    is not known.
    """
    script = script_of(language)
    if script is None:
        raise InputError(
            f"{setting} = {language!r}: its script is not known; known: {', '.join(LANGUAGE_SCRIPT)}; "
            f"for any other give data.target_script, one of {', '.join(SCRIPT_NAMES)}"
        )
    return script


def is_tibetan(character: str) -> bool:
    """True for anything in the Tibetan block: letters, signs, digits and marks."""
    return "\u0f00" <= character <= "\u0fff"


@lru_cache(maxsize=65536)
def is_script(character: str, script: str) -> bool:
    """True when `character` belongs to `script`; raises KeyError for a code that is not in `SCRIPT_NAMES`."""
    return is_tibetan(character) if script == "Tibt" else bool(_pattern(script).match(character))


@lru_cache
def _pattern(script: str) -> regex.Pattern[str]:
    return regex.compile(rf"\p{{Script={SCRIPT_NAMES[script]}}}")


def is_han(character: str) -> bool:
    """True for a Han character, the extensions beyond the basic plane and the sign of repetition included."""
    return is_script(character, "Hani")


@lru_cache(maxsize=65536)
def is_shared_mark(character: str) -> bool:
    """True for a mark or modifier letter without a script of its own, which belongs to the letter beside it.

    The accents of Yoruba, the glottal stop of Hawaiian, the Arabic vowel signs and tatweel, the length mark
    of Katakana: Unicode calls their script Inherited or Common.
    """
    return bool(SHARED_MARK.match(character))


def script_share(text: str, script: str) -> float:
    """The share of `text`'s characters other than white space that belong to `script`; 0 for an empty text.

    A shared mark counts as the character before it.

    >>> script_share("e\u0323\u0301 \u4e00", "Latn")
    0.75
    """
    characters = "".join(text.split())
    num_outside = len(_runs(script).sub("", characters))
    return (len(characters) - num_outside) / max(1, len(characters))


@lru_cache
def _runs(script: str) -> regex.Pattern[str]:
    """Characters of a script, each with the shared marks behind it."""
    own = "[\u0f00-\u0fff]" if script == "Tibt" else rf"\p{{Script={SCRIPT_NAMES[script]}}}"
    return regex.compile(rf"(?:{own}(?:{SHARED_MARK.pattern})*+)++")


def tibetan_syllables(text: str) -> int:
    """The number of runs of Tibetan letters.

    >>> tibetan_syllables("\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0d")
    2
    """
    return len(TIBETAN_SYLLABLE.findall(text))


def count_units(text: str, script: str | None) -> int:
    """Length of a text: Tibetan syllables, characters of an unspaced script, words between spaces for every
    other.
    """
    if script == "Tibt":
        return tibetan_syllables(text)
    if script in UNSPACED:
        return sum(is_script(character, script) for character in text)
    return len(text.split())
