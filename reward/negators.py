"""Words that negate, by language: what the guard `markers` counts and the attack `negated` adds or removes.

A word with a `*` behind it is the beginning of a unit. Not here: negation inside a word that no beginning shows
(Swahili verbs, Turkish -me-), and languages of which no list was made.
"""

from data.script import primary

NEGATORS = {  # by `data.script.primary`; the first word is the one that an attack adds
    "am": ("አይደለም", "አይ*", "የለም", "ያለ"),
    "ar": ("لا", "لم", "لن", "ليس*", "غير", "دون", "بدون"),
    "bg": ("не", "няма", "нито"),
    "bn": ("না", "নয়", "নেই", "কোন"),
    "bo": ("མ", "མི", "མེད*", "མིན*"),
    "de": ("nicht", "kein*", "nie", "niemand*", "ohne"),
    "dz": ("མ", "མི", "མེད*", "མིན*"),
    "el": ("δεν", "μη", "μην", "όχι", "κανείς", "κανένας"),
    "en": ("not", "no", "never", "nor", "cannot", "without"),
    "es": ("no", "nunca", "ni", "nadie", "sin", "ningún", "ninguna"),
    "fr": ("ne", "n", "pas", "jamais", "sans", "ni", "nul"),
    "he": ("לא", "אין", "אל", "בלי", "ללא"),
    "hi": ("नहीं", "न", "बिना", "मत"),
    "id": ("tidak", "bukan", "tanpa", "jangan", "tak"),
    "it": ("non", "né", "mai", "nessun*", "senza"),
    "ja": ("ない", "なく", "ず"),
    "ka": ("არ", "არა", "ვერ", "არც"),
    "kk": ("емес", "жоқ"),
    "km": ("មិន", "គ្មាន", "ពុំ"),
    "ko": ("않*", "아니*", "없*", "못*", "안"),
    "nl": ("niet", "geen", "nooit", "zonder"),
    "pl": ("nie", "nigdy", "bez"),
    "pt": ("não", "nunca", "nem", "ninguém", "sem"),
    "ru": ("не", "ни", "нет", "никто", "без"),
    "sw": ("si", "hapana", "bila", "wala", "haku*", "hata"),
    "ta": ("இல்லை", "அல்ல", "இன்றி", "கூடாது", "ஆகாது"),
    "th": ("ไม่", "มิ", "ปราศจาก"),
    "tr": ("değil*", "hiç*", "yok*"),
    "uk": ("не", "ні", "ніхто", "без"),
    "ur": ("نہیں", "نہ", "بغیر"),
    "vi": ("không", "chưa", "chẳng"),
    "yo": ("kò", "kì", "má", "láìsí"),
    "zh": ("不", "没", "无", "未", "非", "無", "沒"),
}


def negators(language: str) -> tuple[str, ...]:
    """The negating words of a language, any code of BCP 47; none for a language without a list.

    >>> negators("eng_Latn")[0], negators("und")
    ('not', ())
    """
    return NEGATORS.get(primary(language), ()) if language else ()
