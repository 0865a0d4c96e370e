"""Finds the code of a language or script from its English name, or from a misspelt name or code."""

import re
from difflib import get_close_matches

from data.script import HAN_STYLES, SCRIPT_NAMES, script_name

LANGUAGE_NAMES = {
    "tibetan": "bo", "dzongkha": "dz", "chinese": "zh", "mandarin": "zh", "cantonese": "yue", "amharic": "am", "arabic": "ar",
    "assamese": "as", "bengali": "bn", "sorani": "ckb", "czech": "cs", "danish": "da", "german": "de", "greek": "el", "english": "en",
    "spanish": "es", "persian": "fa", "farsi": "fa", "finnish": "fi", "french": "fr", "gujarati": "gu", "hausa": "ha", "hebrew": "he",
    "hindi": "hi", "hungarian": "hu", "armenian": "hy", "indonesian": "id", "igbo": "ig", "italian": "it", "georgian": "ka",
    "kazakh": "kk", "khmer": "km", "kannada": "kn", "kashmiri": "ks", "kyrgyz": "ky", "malayalam": "ml", "mongolian": "mn",
    "marathi": "mr", "malay": "ms", "burmese": "my", "nepali": "ne", "dutch": "nl", "odia": "or", "punjabi": "pa", "polish": "pl",
    "pashto": "ps", "portuguese": "pt", "romanian": "ro", "russian": "ru", "sanskrit": "sa", "sinhala": "si", "swedish": "sv",
    "swahili": "sw", "tamil": "ta", "telugu": "te", "tajik": "tg", "thai": "th", "tigrinya": "ti", "turkish": "tr", "uyghur": "ug",
    "ukrainian": "uk", "urdu": "ur", "uzbek": "uz", "vietnamese": "vi", "yoruba": "yo", "zhuang": "za", "zulu": "zu",
}  # fmt: skip
LONGEST_CODE = 3  # letters of an ISO 639 code; how alike a name and what was written are, of 1
NEAR = 0.75


def language_meant(text: str) -> str:
    """The code of the language with this English name or a similar one; "" for a code and for an unknown
    name.

    >>> [language_meant(text) for text in ("english", "Vietnamse", "en", "qu-Latn", "klingon")]
    ['en', 'vi', '', '', '']
    """
    name = re.split("[-_]", text)[0].lower()
    near = get_close_matches(name, LANGUAGE_NAMES, 1, NEAR) if len(name) > LONGEST_CODE else []
    return LANGUAGE_NAMES[near[0]] if near else ""


def script_meant(text: str) -> str:
    """The code of the script with this name or code or a similar one; "" for an unknown one.

    >>> [script_meant(text) for text in ("latn", "Latin", "arabc", "canadian aboriginal", "???")]
    ['Latn', 'Latn', 'Arab', 'Cans', '']
    """
    codes = {code.lower(): code for code in (*HAN_STYLES, *SCRIPT_NAMES)} | {
        script_name(code).lower(): code for code in SCRIPT_NAMES
    }
    near = get_close_matches(text.lower(), codes, 1, NEAR)
    return codes[near[0]] if near else ""
