"""English names of languages, and the code that a wrong one was meant to be.

Names come from CLDR by the package langcodes, with `language_data`.
"""

import re
from difflib import get_close_matches
from functools import cache

from data.script import (
    STYLES,
    known_code,
    parse_tag,
    primary,
    script_codes,
    script_name,
    script_of,
    with_script,
)

# letters of an ISO 639 code; how alike a name and what was written are, of 1
LONGEST_CODE = 3
NEAR = 0.75
OTHER_NAMES = {"mandarin": "zh", "sorani": "ckb", "cambodian": "km"}
UNCLEAR = ("Latn", "Cyrl", "Arab", "Deva", "Brai")  # scripts of so many languages that none is guessed
LIKELY = {"Nkoo": "nqo"}  # where CLDR's likely language of a script is a larger one
PRIVATE = "qaa"  # the first code of ISO 639 for a language without one
USUAL_NAMES = {  # where CLDR's name, or that of the larger language, is not the one in use
    "lzh": "Classical Chinese", "kmr": "Northern Kurdish", "cnr": "Montenegrin", "tw": "Twi", "twi": "Twi", "prs": "Dari",
}  # fmt: skip


@cache
def language_name(code: str) -> str:
    """The English name of a language, with its script where the tag has one; the code itself where it has none.

    >>> [language_name(code) for code in ("bo", "swh", "ks_Deva", "zho_Hans", "qaa")]
    ['Tibetan', 'Swahili', 'Kashmiri (Devanagari)', 'Chinese (Simplified)', 'qaa']
    """
    name, script = plain_name(code), parse_tag(code).script
    if not name or not script or "+" in (known_code(script) or ""):
        return name or code
    return f"{name} ({script_label(script, name)})"


@cache
def short_name(code: str) -> str:
    """The English name of a language, with script and region where the tag has others than CLDR expects of the language;
    its code alone where it has no name.

    >>> [short_name(code) for code in ("bod_Tibt", "zh-CN", "zh-TW", "pt-PT", "jv-Java", "kor_Hang", "qaa-x-mine")]
    ['Tibetan', 'Chinese', 'Chinese (Traditional)', 'Portuguese (Portugal)', 'Javanese (Javanese script)', 'Korean', 'qaa']
    """
    import langcodes

    tag, name = parse_tag(code), plain_name(code)
    if not name or "+" in tag.script:
        return name or primary(code)
    usual = langcodes.Language.get(tag.language, normalize=False).maximize()
    script = tag.script or langcodes.Language.make(tag.language, territory=tag.region).maximize().script or ""
    region = langcodes.Language.make(tag.language, script=script).maximize().territory
    is_usual = not script or script == usual.script or parts_of(script) < parts_of(usual.script)
    details = [] if is_usual else [script_label(script, name)]
    if tag.region and tag.region not in (region, usual.territory):
        details.append(langcodes.Language.make(territory=tag.region).territory_name("en"))
    return f"{name} ({', '.join(details)})" if details else name


def parts_of(script: str | None) -> set[str]:
    """The scripts that a code stands for: two of Kore, which is Hangul with Han characters."""
    return set((known_code(script or "") or "").split("+"))


def plain_name(code: str) -> str:
    """The English name of a language without its script; "" where there is none."""
    own = re.split("[-_]", code)[0].lower()
    return USUAL_NAMES.get(own) or name_of_code(primary(code)) or name_of_code(parse_tag(code).language)


def script_label(script: str, language: str) -> str:
    """What stands in brackets behind the name of a language."""
    label = {"Hans": "Simplified", "Hant": "Traditional"}.get(script) or script_name(script)
    return f"{label} script" if label == language else label


def name_of_code(code: str) -> str:
    """CLDR's English name of a code of ISO 639; "" where there is none."""
    import langcodes  # here and below, because `make bench-gpu` runs without it

    try:
        name = langcodes.Language.get(code, normalize=False).language_name("en")
    except ValueError:
        return ""
    return "" if name.startswith("Unknown language") else name


def is_language(code: str) -> bool:
    """Whether a tag begins with a code of ISO 639, one for private use included.

    >>> [is_language(code) for code in ("bod_Tibt", "qaa", "aaa", "english", "xx", "")]
    [True, True, True, False, False, False]
    """
    import langcodes

    first = re.split("[-_]", code)[0].lower()
    return bool(re.fullmatch("[a-z]{2,3}", first)) and langcodes.tag_is_valid(first)


def language_meant(text: str) -> str:
    """The valid code nearest to what is no code: by its English name, by its script, by its country, by its letters. ""
    for a code and for what is like nothing.

    >>> [language_meant(text) for text in ("english", "Vietnamse", "ol_chiki", "jp", "eng_Latn", "qu-Latn", "???")]
    ['en', 'vi', 'sat', 'ja', '', '', '']
    """
    from langcodes.data_dicts import LANGUAGE_ALPHA3, LIKELY_SUBTAGS

    first = re.split("[-_]", text)[0].lower()
    if is_language(first):
        return ""
    whole = re.sub("[-_ ]+", " ", text.lower())
    if code := codes_by_name().get(whole) or likely_language(script_named(whole)):
        return code
    if len(first) == 1 and text != first:  # "x-" is of private use, "i-" of a list that has ended
        return PRIVATE if first == "x" else ""
    if len(first) > LONGEST_CODE:
        longer = [name for name in codes_by_name() if name.startswith(first)]
        near = sorted(longer, key=len) or get_close_matches(first, codes_by_name(), 1, NEAR)
        return codes_by_name()[near[0]] if near else ""
    if country := LIKELY_SUBTAGS.get(f"und-{first.upper()}"):
        return parse_tag(country).language
    near = get_close_matches(first, (*LANGUAGE_ALPHA3, *LANGUAGE_ALPHA3.values()), 1, 0.6)
    return primary(near[0]) if near else ""


@cache
def codes_by_name() -> dict[str, str]:
    """English name in small letters -> code, of the languages that CLDR knows a script of."""
    from langcodes.data_dicts import LIKELY_SUBTAGS

    codes = sorted({key for key in LIKELY_SUBTAGS if re.fullmatch("[a-z]{2,3}", key)}, key=len, reverse=True)
    names = {name.lower(): code for code in codes if (name := name_of_code(code))}
    return {**names, **OTHER_NAMES}


@cache
def likely_language(script: str) -> str:
    """The likely language of a script by LIKELY, else by CLDR, with the script where its usual one is another; "" for
    none.

    >>> likely_language("Olck"), likely_language("Nkoo"), likely_language("Mong")
    ('sat', 'nqo', 'mn-Mong')
    """
    from langcodes.data_dicts import LIKELY_SUBTAGS

    code = LIKELY.get(script) or parse_tag(LIKELY_SUBTAGS.get(f"und-{script}", "")).language
    if code in ("", "und"):
        return ""
    return code if script in (script_of(code) or "").split("+") else with_script(code, script)


def script_named(text: str) -> str:
    """The code of the script with exactly this name or code, however it is spaced; "" for none.

    >>> [script_named(text) for text in ("olchiki", "n\u2019ko", "Olck", "latin script")]
    ['Olck', 'Nkoo', 'Olck', '']
    """
    letters = "".join(filter(str.isalnum, text.lower()))
    names = ((code, "".join(filter(str.isalnum, script_name(code).lower()))) for code in script_codes())
    return next((code for code, name in names if letters in (name, code.lower())), "")


def script_meant(text: str) -> str:
    """The code of the script with this name or code or a similar one; "" for an unknown one.

    >>> [script_meant(text) for text in ("latn", "Latin", "arabc", "canadian aboriginal", "???")]
    ['Latn', 'Latn', 'Arab', 'Cans', '']
    """
    codes = {code.lower(): code for code in (*STYLES, *script_codes())} | {
        script_name(code).lower(): code for code in script_codes()
    }
    near = get_close_matches(text.lower(), codes, 1, NEAR)
    return codes[near[0]] if near else ""
