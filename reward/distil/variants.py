"""Wrong variants of a text, which a sentence encoder must learn to tell from the right one. Units in, units
out, pure.

Shuffled, repeated, cut, a negation added or removed, a number changed, another text's tail added: outputs
that a policy finds when an encoder only counts words. They are for training; `reward.attacks` has other ones
that measure a finished reward.
"""

import random
from collections.abc import Callable, Sequence

from reward.encoders.features import NUMBER_WORDS, is_number

NEGATIONS = ("\u0f58\u0f72", "\u0f58")  # mi, ma: before a verb
EXIST = "\u0f61\u0f7c\u0f51"  # yod, med, yin, min
EXIST_NOT = "\u0f58\u0f7a\u0f51"
BE = "\u0f61\u0f72\u0f53"
BE_NOT = "\u0f58\u0f72\u0f53"
OPPOSITES = {EXIST: EXIST_NOT, EXIST_NOT: EXIST, BE: BE_NOT, BE_NOT: BE}

Words = list[str]


def shuffle(words: Sequence[str], rng: random.Random) -> Words:
    """The same units in another order."""
    order = list(words)
    rng.shuffle(order)
    return order


def repeat(words: Sequence[str], rng: random.Random) -> Words:
    """The text two or three times over."""
    return [*words] * rng.choice((2, 3))


def halve(words: Sequence[str], rng: random.Random) -> Words:
    """The first or the second half."""
    middle = max(1, len(words) // 2)
    return [*(words[:middle] if rng.random() < 0.5 else words[-middle:])]


def change_negation(words: Sequence[str], rng: random.Random) -> Words:
    """Remove a negation or turn a verb into its opposite; without either, add a negation before a late unit,
    where the verb stands.
    """
    places = [place for place, word in enumerate(words) if word in NEGATIONS or word in OPPOSITES]
    if places:
        place = rng.choice(places)
        opposite = [OPPOSITES[words[place]]] if words[place] in OPPOSITES else []
        return [*words[:place], *opposite, *words[place + 1 :]]
    place = max(0, len(words) - rng.randint(1, 3))
    return [*words[:place], rng.choice(NEGATIONS), *words[place:]]


def change_number(words: Sequence[str], rng: random.Random) -> Words:
    """Change one number or number word; a text without one stays as it is."""
    places = [place for place, word in enumerate(words) if is_number(word)]
    if not places:
        return [*words]
    place = rng.choice(places)
    word = words[place]
    other = (
        str(int(word) + rng.randint(1, 9))
        if word.isdecimal()
        else rng.choice([w for w in NUMBER_WORDS if w != word])
    )
    return [*words[:place], other, *words[place + 1 :]]


def substitute_unit(words: Sequence[str], strangers: Sequence[Words], rng: random.Random) -> Words:
    """Replace one unit by one of another text: the stand-in for a negation in scripts whose negations are not
    known here.
    """
    if not words:
        return []
    place = rng.randrange(len(words))
    return [*words[:place], rng.choice(rng.choice(strangers) or words), *words[place + 1 :]]


def wrong_variant(
    words: Sequence[str], strangers: Sequence[Words], rng: random.Random, script: str = "Tibt"
) -> Words:
    """One of the variants above, or the beginning of one of `strangers` as a tail; of a text with a unit
    never empty and never the text itself.
    """
    opposite = (
        change_negation if script == "Tibt" else lambda words, rng: substitute_unit(words, strangers, rng)
    )
    changes: list[Callable[[Sequence[str], random.Random], Words]] = [
        shuffle,
        repeat,
        halve,
        opposite,
        opposite,
    ]
    changes += [change_number, change_number] if any(map(is_number, words)) else []
    choice = rng.randrange(len(changes) + 1)
    longer = [*words, *rng.choice(strangers)[: max(2, len(words))]]
    variant = changes[choice](words, rng) if choice < len(changes) else longer
    return variant if variant and variant != list(words) else [*words, *words]
