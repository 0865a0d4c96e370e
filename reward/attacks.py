"""Attacks: cheap texts that may earn reward without doing the task.

An attack is a pure function of an `Item` and a random generator. It returns None where it does not apply (a
text without a number has none to swap). The rules work on strings, for Han and Tibetan script and roughly for
others. The texts need not be good language: they imitate what a policy finds under pressure. `eval.attacks`
measures what a reward pays for them.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from data.script import is_unspaced
from reward.markers import TIBETAN_NUMBERS
from reward.negators import negators
from reward.units import units

TSHEG = "\u0f0b"
SHAD = "\u0f0d"
NUMERALS = "一二三四五六七八九"
DIGITS = re.compile(r"\d")
SHUFFLES = 20  # attempts at another order
SENTENCE_END = re.compile(f"[{SHAD}。！？]|[.!?](?=\\s)")
# negations to remove, or else verbs to negate: the longest first
HAN_NEGATIONS = ("没有", "无法", "不", "未", "无", "没", "非")
HAN_VERBS = (
    "可以", "允许", "能", "会", "是", "有", "要", "请", "将", "使用", "打开", "关闭", "显示", "选择", "设置", "插入", "添加",
)  # fmt: skip
TIBETAN_OPPOSITES = (("མེད", "ཡོད"), ("ཡོད", "མེད"), ("མིན", "ཡིན"), ("ཡིན", "མིན"))
TIBETAN_NEGATIONS = ("མི", "མ")


@dataclass(frozen=True)
class Item:
    """One real example, an unrelated text of the target language, and the hub: the text nearest to all
    reference texts on average. `language` is for negations; "" knows those of Han and Tibetan script only.
    """

    source: str
    references: tuple[str, ...]
    unrelated: str
    hub: str
    script: str
    language: str = ""

    @property
    def reference(self) -> str:
        return self.references[0]


Attack = Callable[[Item, random.Random], str | None]


def pieces(text: str, script: str) -> list[str]:
    """Split a text into characters, Tibetan syllables without their tsheg, or words; `join_pieces` joins them again."""
    if script == "Tibt":
        return [piece for piece in re.split(f"[{TSHEG}{SHAD}\\s]+", text) if piece]
    return list(text) if is_unspaced(script) else text.split()


def join_pieces(parts: list[str], script: str) -> str:
    """The inverse of `pieces`, without the punctuation."""
    return (TSHEG if script == "Tibt" else "" if is_unspaced(script) else " ").join(parts)


def punctuation(item: Item, rng: random.Random) -> str:
    """Three marks of the script."""
    return SHAD * 3 if item.script == "Tibt" else "。。。" if is_unspaced(item.script) else "..."


def copy_lead(item: Item, rng: random.Random) -> str | None:
    """The first sentence of the source; None where the source is a single one."""
    lead = SENTENCE_END.split(item.source.strip(), maxsplit=1)[0].strip()
    return lead if lead and lead != item.source.strip().rstrip(SHAD + "。.!?！？ ") else None


def half_source(item: Item, rng: random.Random) -> str | None:
    """The first half of the source, then the second half of the reference text; None where one of them cannot
    be halved.
    """
    first_part = item.source[: len(item.source) // 2]
    parts = pieces(item.reference, item.script)
    return (
        first_part + join_pieces(parts[len(parts) // 2 :], item.script)
        if len(parts) > 1 and any(map(str.isalpha, first_part))
        else None
    )


def repeat(times: int) -> Attack:
    """The reference text several times."""
    return lambda item, rng: join_pieces(pieces(item.reference, item.script) * times, item.script)


def long_tail(item: Item, rng: random.Random) -> str:
    """The reference text and an unrelated one behind it."""
    return join_pieces(
        [*pieces(item.reference, item.script), *pieces(item.unrelated, item.script)], item.script
    )


def shuffle_pieces(item: Item, rng: random.Random) -> str | None:
    """The pieces in another order of the words (punctuation alone does not count); None where there is no
    other order.
    """
    parts = pieces(item.reference, item.script)
    if len(set(units(item.reference))) < 2:
        return None
    for _ in range(SHUFFLES):
        text = join_pieces(rng.sample(parts, len(parts)), item.script)
        if units(text) != units(item.reference):
            return text
    return None


def first_half(item: Item, rng: random.Random) -> str | None:
    """The first half of the pieces."""
    parts = pieces(item.reference, item.script)
    return join_pieces(parts[: len(parts) // 2], item.script) if len(parts) > 1 else None


def keyword_list(item: Item, rng: random.Random) -> str | None:
    """Each distinct unit once, by its last occurrence, last first: the words without the sentence."""
    words = list(dict.fromkeys(reversed(units(item.reference))))
    return join_pieces(words, item.script) if len(words) > 2 else None


def swap_number(item: Item, rng: random.Random) -> str | None:
    """One digit or numeral replaced by another one; None without any."""
    text = item.reference
    digits = list(DIGITS.finditer(text))
    if digits:
        place = rng.choice(digits).start()
        zero = ord(text[place]) - int(text[place])
        other = rng.choice([chr(zero + n) for n in range(10) if chr(zero + n) != text[place]])
        return text[:place] + other + text[place + 1 :]
    numbers = TIBETAN_NUMBERS if item.script == "Tibt" else tuple(NUMERALS)
    parts = pieces(text, item.script)
    places = [place for place, part in enumerate(parts) if part in numbers]
    if not places:
        return None
    place = rng.choice(places)
    parts[place] = rng.choice([number for number in numbers if number != parts[place]])
    return join_pieces(parts, item.script)


def change_negation(item: Item, rng: random.Random) -> str | None:
    """The reference text with a negation removed or added; None where no rule fits."""
    return (
        _change_tibetan_negation(item.reference)
        if item.script == "Tibt"
        else _change_han_negation(item.reference)
        if item.script == "Hani"
        else _change_listed_negation(item)
    )


def _change_listed_negation(item: Item) -> str | None:
    """Removes the first negation of the language's list, or adds the first one of the list in the middle."""
    words = [word.rstrip("*") for word in negators(item.language)]
    parts = pieces(item.reference, item.script)
    if not words or len(parts) < 2:
        return None
    if is_unspaced(item.script):
        present = next((word for word in words if word in item.reference), "")
        if present:
            return item.reference.replace(present, "", 1)
    for place, part in enumerate(parts):
        if part.casefold() in words:
            return join_pieces(parts[:place] + parts[place + 1 :], item.script)
    middle = len(parts) // 2
    return join_pieces([*parts[:middle], words[0], *parts[middle:]], item.script)


def _change_han_negation(text: str) -> str | None:
    for word in HAN_NEGATIONS:
        if word in text:
            return text.replace(word, "有" if word == "没有" else "", 1) or None
    for verb in HAN_VERBS:
        if verb in text:
            return text.replace(verb, "没有" if verb == "有" else f"不{verb}", 1)
    return None


def _change_tibetan_negation(text: str) -> str | None:
    parts = pieces(text, "Tibt")
    for place in reversed(range(len(parts))):
        for word, opposite in TIBETAN_OPPOSITES:
            if parts[place].startswith(word):
                return join_pieces(
                    [*parts[:place], opposite + parts[place][len(word) :], *parts[place + 1 :]], "Tibt"
                )
        if parts[place] in TIBETAN_NEGATIONS and place < len(parts) - 1:
            return join_pieces(parts[:place] + parts[place + 1 :], "Tibt")
    return join_pieces([*parts[:-1], "མ", parts[-1]], "Tibt") if len(parts) > 2 else None


ATTACKS: dict[str, Attack] = {
    "empty": lambda item, rng: "",
    "punctuation": punctuation,
    "source copied": lambda item, rng: item.source,
    "lead sentence copied": copy_lead,
    "half source, half reference": half_source,
    "unrelated sentence": lambda item, rng: item.unrelated,
    "hub sentence": lambda item, rng: item.hub,
    "repeated 3x": repeat(3),
    "repeated 5x": repeat(5),
    "long tail added": long_tail,
    "shuffled": shuffle_pieces,
    "keyword list": keyword_list,
    "first half only": first_half,
    "number swapped": swap_number,
    "negated": change_negation,
}


def attack_text(name: str, item: Item, seed: int) -> str | None:
    """The text of attack `name` for `item`; None where the attack does not apply or its text is a reference text."""
    text = ATTACKS[name](item, random.Random(f"{name} {seed} {item.source} {item.reference}"))
    return None if text is not None and text in item.references else text
