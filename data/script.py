"""Facts about scripts: the script of a language, of a character and of a text, and the number of units in a
text.

A script is an ISO 15924 code, or several joined by "+" for a language that is written in all of them: Japanese
is "Hani+Hira+Kana". The script of a character is Unicode's property Script, except that Tibetan is its block,
punctuation included. A language is a tag: an ISO 639 code, with or without a script or a region behind it ("bo",
"quy_Latn", "zh-CN"). Its likely script comes from CLDR, by the package langcodes.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple

import regex

from data.errors import InputError

SCRIPT_NAMES = {
    "Adlm": "Adlam", "Arab": "Arabic", "Armn": "Armenian", "Bali": "Balinese", "Bamu": "Bamum", "Batk": "Batak",
    "Beng": "Bengali", "Bopo": "Bopomofo", "Bugi": "Buginese", "Cakm": "Chakma", "Cans": "Canadian_Aboriginal", "Cham": "Cham",
    "Cher": "Cherokee", "Copt": "Coptic", "Cyrl": "Cyrillic", "Deva": "Devanagari", "Ethi": "Ethiopic", "Geor": "Georgian",
    "Gran": "Grantha", "Grek": "Greek", "Gujr": "Gujarati", "Guru": "Gurmukhi", "Hang": "Hangul", "Hani": "Han",
    "Hebr": "Hebrew", "Hira": "Hiragana", "Hmnp": "Nyiakeng_Puachue_Hmong", "Java": "Javanese", "Kali": "Kayah_Li",
    "Kana": "Katakana", "Khmr": "Khmer", "Knda": "Kannada", "Lana": "Tai_Tham", "Laoo": "Lao", "Latn": "Latin",
    "Lepc": "Lepcha", "Limb": "Limbu", "Lisu": "Lisu", "Mlym": "Malayalam", "Mong": "Mongolian", "Mtei": "Meetei_Mayek",
    "Mymr": "Myanmar", "Newa": "Newa", "Nkoo": "Nko", "Olck": "Ol_Chiki", "Orya": "Oriya", "Osge": "Osage", "Plrd": "Miao",
    "Rohg": "Hanifi_Rohingya", "Saur": "Saurashtra", "Sinh": "Sinhala", "Sund": "Sundanese", "Syrc": "Syriac",
    "Tale": "Tai_Le", "Talu": "New_Tai_Lue", "Taml": "Tamil", "Tavt": "Tai_Viet", "Telu": "Telugu", "Tfng": "Tifinagh",
    "Tglg": "Tagalog", "Thaa": "Thaana", "Thai": "Thai", "Tibt": "Tibetan", "Vaii": "Vai", "Wcho": "Wancho", "Yiii": "Yi",
}  # fmt: skip
STYLES = {  # codes of styles of a script, and of several scripts together
    "Hans": "Hani", "Hant": "Hani", "Jpan": "Hani+Hira+Kana", "Hrkt": "Hira+Kana", "Kore": "Hang+Hani", "Hanb": "Bopo+Hani",
    "Jamo": "Hang", "Aran": "Arab", "Cyrs": "Cyrl", "Latf": "Latn", "Latg": "Latn", "Syre": "Syrc", "Syrj": "Syrc",
    "Syrn": "Syrc", "Geok": "Geor",
}  # fmt: skip
USUAL_SCRIPTS = {"sr": "Cyrl+Latn", "crh": "Cyrl+Latn", "azb": "Arab"}  # CLDR names one of two, or none
SAME_LANGUAGE = {"pbt": "ps"}  # as CLDR's own table says of other members of a macrolanguage

TIBETAN_BLOCK = r"\u0f00-\u0fff"  # letters, signs, digits and marks
# letters, vowel signs and subjoined letters; tsheg and shad lie outside
TIBETAN_SYLLABLE = re.compile("[\u0f40-\u0fbc]+")
ETHIOPIC_WORDSPACE = "\u1361"  # stands between words in the place of a space, in Amharic and Tigrinya
# no spaces between words: counted by the character, since where a word ends is a matter of a dictionary
UNSPACED = {
    "Bali", "Bopo", "Hani", "Hira", "Java", "Kana", "Khmr", "Lana", "Laoo", "Mymr", "Tale", "Talu", "Thai", "Yiii",
}  # fmt: skip
LETTERS = 4000  # characters that show the script of texts
RIGHT_TO_LEFT = {
    "Adlm", "Arab", "Armi", "Avst", "Chrs", "Cprt", "Elym", "Hatr", "Hebr", "Hung", "Khar", "Lydi", "Mand", "Mani", "Mend", "Merc",
    "Mero", "Narb", "Nbat", "Nkoo", "Orkh", "Ougr", "Palm", "Phli", "Phlp", "Phnx", "Prti", "Rohg", "Samr", "Sarb", "Sogd", "Sogo",
    "Syrc", "Thaa", "Yezi",
}  # fmt: skip
SHARED_MARK = regex.compile(r"\p{Inherited}|(?=[\p{M}\p{Lm}])\p{Common}")


class Tag(NamedTuple):
    """The parts of a language tag: the language as a code of ISO 639, the script and the region; "" for none."""

    language: str
    script: str
    region: str


@lru_cache(maxsize=4096)
def parse_tag(language: str) -> Tag:
    """The parts of a tag; the shortest code of a language stands for its synonyms.

    >>> parse_tag("bod_Tibt")
    Tag(language='bo', script='Tibt', region='')
    """
    import langcodes  # here and below, because `make bench-gpu` runs without it

    first, *parts = re.split("[-_]", language)
    # "-x-" and "-u-" begin what is no script or region
    others = [*takewhile(lambda part: len(part) > 1, parts)]
    try:
        code = langcodes.Language.get(first.lower()).language or first.lower()
    except ValueError:  # no code at all
        code = first.lower()
    scripts = [part for part in others if re.fullmatch("[A-Za-z]{4}([+][A-Za-z]{4})*", part)]
    regions = [part.upper() for part in others if re.fullmatch("[A-Za-z]{2}|[0-9]{3}", part)]
    script = "+".join(code.title() for code in scripts[0].split("+")) if scripts else ""
    return Tag(code, script, regions[0] if regions else "")


def primary(language: str) -> str:
    """The language of a tag without script and region, as a two-letter code where it has one.

    >>> [primary(tag) for tag in ("bod_Tibt", "zh-CN", "quy_Latn", "cmn", "arb_Arab")]
    ['bo', 'zh', 'quy', 'zh', 'ar']
    """
    from langcodes.data_dicts import NORMALIZED_MACROLANGUAGES

    code = parse_tag(language).language
    return SAME_LANGUAGE.get(code, str(NORMALIZED_MACROLANGUAGES.get(code, code)))


def with_script(language: str, script: str) -> str:
    """The tag of `language` as written in `script`; `language` itself for an empty `script`.

    >>> with_script("qu", "Latn"), with_script("bo", "")
    ('qu-Latn', 'bo')
    """
    return f"{re.split('[-_]', language)[0]}-{script}" if script else language


def script_of(language: str) -> str | None:
    """The script in a language tag, else the likely one of its language; None where neither is known.

    >>> [script_of(tag) for tag in ("dzo", "zh-CN", "quy_Latn", "sr-Cyrl", "sr", "ja", "pa-PK", "aaa")]
    ['Tibt', 'Hani', 'Latn', 'Cyrl', 'Cyrl+Latn', 'Hani+Hira+Kana', 'Arab', None]
    """
    tag = parse_tag(language)
    return known_code(tag.script) if tag.script else likely_script(tag.language, tag.region)


@lru_cache(maxsize=4096)
def likely_script(code: str, region: str = "") -> str | None:
    """The script of CLDR's likely subtags for a language in a region; else that of its macrolanguage, else the
    one that the registry of BCP 47 leaves out of its tags. None where nobody says.
    """
    import langcodes
    from langcodes.data_dicts import (
        DEFAULT_SCRIPTS,
        LIKELY_SUBTAGS,
        MACROLANGUAGES,
        NORMALIZED_MACROLANGUAGES,
    )

    if not region and code in USUAL_SCRIPTS:
        return USUAL_SCRIPTS[code]
    larger = NORMALIZED_MACROLANGUAGES.get(code) or MACROLANGUAGES.get(code, "")
    for key in (f"{code}-{region}", code, larger):
        if key in LIKELY_SUBTAGS:
            return known_code(langcodes.Language.get(LIKELY_SUBTAGS[key], normalize=False).script or "")
    return known_code(DEFAULT_SCRIPTS.get(code, ""))


@lru_cache(maxsize=256)
def known_code(code: str) -> str | None:
    """A code of ISO 15924, or several with "+", as scripts that Unicode has; None where it lacks one.

    >>> known_code("Hans"), known_code("jpan"), known_code("Latn+Cyrl"), known_code("Zzzz")
    ('Hani', 'Hani+Hira+Kana', 'Cyrl+Latn', None)
    """
    single = [STYLES.get(part.title(), part.title()) for part in code.split("+")]
    scripts = sorted({part for style in single for part in style.split("+")})
    return "+".join(scripts) if all(map(is_script_code, scripts)) else None


def is_script_code(code: str) -> bool:
    """Whether Unicode has characters of this one script."""
    if code in SCRIPT_NAMES:
        return True
    if code in ("Zyyy", "Zinh", "Zzzz") or not re.fullmatch("[A-Z][a-z]{3}", code):
        return False
    try:
        regex.compile(rf"\p{{Script={code}}}")
    except regex.error:
        return False
    return True


def script_name(script: str) -> str:
    """The name of a script in words.

    >>> script_name("Tibt"), script_name("Hmng"), script_name("Cyrl+Latn")
    ('Tibetan', 'Pahawh Hmong', 'Cyrillic or Latin')
    """
    return " or ".join(map(_one_name, script.split("+")))


def _one_name(code: str) -> str:
    if code in SCRIPT_NAMES:
        return SCRIPT_NAMES[code].replace("_", " ")
    import langcodes

    return langcodes.Language.make(script=code).script_name() if is_script_code(code) else code


@lru_cache
def script_codes() -> tuple[str, ...]:
    """All scripts of Unicode, those of SCRIPT_NAMES first."""
    from langcodes.data_dicts import ALL_SCRIPTS

    others = (code for code in sorted(ALL_SCRIPTS) if code not in SCRIPT_NAMES and code not in STYLES)
    return (*SCRIPT_NAMES, *filter(is_script_code, others))


def known_script(language: str, setting: str = "data.target_language") -> str:
    """`script_of` the language of the completions, which `setting` gives. Raises InputError where its script
    is not known.
    """
    script = script_of(language)
    if script is None:
        raise InputError(
            f"{setting} = {language!r}: its script is not known; give data.target_script, a code of ISO 15924 such as "
            f"Latn, or write {language}_Latn (names: {', '.join(SCRIPT_NAMES)})"
        )
    return script


@lru_cache(maxsize=65536)
def is_script(character: str, script: str) -> bool:
    """True when `character` belongs to `script`, or to one of several joined by "+"; raises regex.error for an
    unknown code.
    """
    return bool(_pattern(script).match(character))


@lru_cache
def _pattern(script: str) -> regex.Pattern[str]:
    return regex.compile(character_class(script))


def character_class(script: str) -> str:
    """A regular expression for one character of a script, or of one of several joined by "+".

    >>> character_class("Latn+Tibt")
    '[\\\\p{Script=Latn}\\\\u0f00-\\\\u0fff]'
    """
    parts = (TIBETAN_BLOCK if code == "Tibt" else rf"\p{{Script={code}}}" for code in script.split("+"))
    return f"[{''.join(parts)}]"


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
    return regex.compile(rf"(?:{character_class(script)}(?:{SHARED_MARK.pattern})*+)++")


def script_in(texts: Iterable[str]) -> str:
    """The script of most letters among the first 4,000 characters; "" where there are none.

    >>> script_in(["\u0f40\u0f41 a", "bcd e"])
    'Latn'
    """
    letters = Counter(character for character in "".join(texts)[:LETTERS] if character.isalpha())
    shares = {
        script: sum(n for one, n in letters.items() if is_script(one, script)) for script in script_codes()
    }
    return max(shares, key=lambda script: shares[script]) if any(shares.values()) else ""


def tibetan_syllables(text: str) -> int:
    """The number of runs of Tibetan letters.

    >>> tibetan_syllables("\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51\u0f0d")
    2
    """
    return len(TIBETAN_SYLLABLE.findall(text))


def is_unspaced(script: str | None) -> bool:
    """Whether texts of a script have no spaces between words.

    >>> [is_unspaced(script) for script in ("Hani", "Hani+Hira+Kana", "Hang+Hani", None)]
    [True, True, False, False]
    """
    return script is not None and set(script.split("+")) <= UNSPACED


def is_right_to_left(language: str) -> bool:
    """Whether all texts of a language run from right to left; not where it is also written in another script."""
    script = script_of(language)
    return script is not None and set(script.split("+")) <= RIGHT_TO_LEFT


def isolate(text: str) -> str:
    """A text for a line with others: one with letters that run from right to left stands between U+2068 and U+2069,
    so that it does not reorder what is beside it.
    """
    is_mixed = any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)
    return f"\u2068{text}\u2069" if is_mixed else text


def count_units(text: str, script: str | None) -> int:
    """Length of a text: Tibetan syllables, characters of an unspaced script, words between spaces for every
    other.

    >>> count_units("\u1230\u120b\u121d\u1361\u1208\u12d3\u1208\u121d", "Ethi")
    2
    """
    if script == "Tibt":
        return tibetan_syllables(text)
    if script is not None and is_unspaced(script):
        return sum(is_script(character, script) for character in text)
    return len(text.replace(ETHIOPIC_WORDSPACE, " ").split())


def unit_name(script: str | None) -> str:
    """What `count_units` counts.

    >>> [unit_name(script) for script in ("Tibt", "Thai", "Hang+Hani")]
    ['syllables (between tsheg marks)', 'characters of the script', 'words (between spaces)']
    """
    if script == "Tibt":
        return "syllables (between tsheg marks)"
    return "characters of the script" if is_unspaced(script) else "words (between spaces)"
