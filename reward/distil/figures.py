"""Measures a Tibetan-script encoder: retrieval on held-out texts, and its cosines of wrong variants. Pure
functions.

The student's teacher, which knows no Tibetan, gets the same figures as the baseline.
"""

import random
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

from torch import Tensor

from data.examples import Example
from data.script import script_of
from reward.distil.corpus import Item
from reward.distil.retrieval import Retrieval, retrieval
from reward.distil.variants import change_negation, change_number, shuffle
from reward.encoders.features import is_number, units
from reward.encoders.student import is_for_student

Encode = Callable[[Sequence[str]], Tensor]
Cluster = tuple[Item, ...]

NEIGHBOUR = 0.8  # teacher cosine of two Chinese texts that mean nearly the same, but are not the same
SAME = 0.99
MIN_UNITS = 6  # of a text whose variants are measured: order and halves of a word or two mean little
NUM_ATTACKED = 500


def figures(
    encode: Encode, encode_teacher: Encode, clusters: Sequence[Cluster], rl_examples: Sequence[Example]
) -> dict[str, Retrieval]:
    """Retrieval by `encode` in each direction; `encode_teacher` embeds Chinese and English; `rl_examples` are
    never trained on.

    One item per cluster, so that no distractor is a near-duplicate of the right answer.
    """
    chinese = [item for cluster in clusters for item in [i for i in cluster if i.chinese][:1]]
    english = [item for cluster in clusters for item in [i for i in cluster if i.english][:1]]
    rl_pairs = _tibetan_chinese(rl_examples)
    pairs = {
        "to Chinese": ([i.text for i in chinese], [i.chinese[0] for i in chinese]),
        "to English": ([i.text for i in english], [i.english[0] for i in english]),
        "RL dev and test, to Chinese": ([tibetan for tibetan, _ in rl_pairs], [text for _, text in rl_pairs]),
    }
    results = {
        name: retrieval(encode(queries), encode_teacher(answers))
        for name, (queries, answers) in pairs.items()
        if len(queries) > 1
    }
    meanings = [(item.text, item.chinese[0]) for item in chinese] + rl_pairs
    neighbours = nearest_pairs(
        [text for text, _ in meanings], encode_teacher([meaning for _, meaning in meanings])
    )
    renderings = {"two renderings of one text": two_renderings(clusters), "nearest in meaning": neighbours}
    for name, texts in renderings.items():
        if len(texts) > 1:
            one, other = zip(*texts, strict=True)
            results[f"within Tibetan script, {name}"] = retrieval(encode(one), encode(other))
    return results


def two_renderings(clusters: Sequence[Cluster]) -> list[tuple[str, str]]:
    """Pairs of different Tibetan-script texts with one Chinese or English text in common, at most one pair
    per cluster.
    """
    renderings = []
    for cluster in clusters:
        pairs = (
            (a, b)
            for a, b in combinations(cluster, 2)
            if a.text != b.text and ({*a.chinese, *a.english} & {*b.chinese, *b.english})
        )
        renderings += [(one.text, other.text) for one, other in list(pairs)[:1]]
    return renderings


def nearest_pairs(texts: Sequence[str], meanings: Tensor) -> list[tuple[str, str]]:
    """Pairs of texts whose Chinese has a teacher cosine from .8 to .99, nearest first, each text in one pair
    at most.

    `meanings` (n, D) are the teacher's unit rows of the Chinese texts.
    """
    cosines = (meanings @ meanings.T).triu(diagonal=1)
    cosines[cosines > SAME] = 0
    pairs: list[tuple[str, str]] = []
    seen_texts: set[int] = set()
    candidates = (cosines >= NEIGHBOUR).nonzero()
    for row in cosines[tuple(candidates.T)].argsort(descending=True, stable=True).tolist():
        one, other = candidates[row].tolist()
        if not {one, other} & seen_texts and texts[one] != texts[other]:
            seen_texts |= {one, other}
            pairs.append((texts[one], texts[other]))
    return pairs


def _tibetan_chinese(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """(Tibetan-script text, Chinese text) of each example that has both, in either order; each text once."""
    tibetan_of_chinese: dict[str, str] = {}
    for example in examples:
        languages = (example.source_language, example.target_language)
        sides = dict(zip(map(script_of, languages), (example.source, example.reference), strict=True))
        if {"Tibt", "Hani"} <= sides.keys() and is_for_student(sides["Tibt"]):
            tibetan_of_chinese.setdefault(sides["Hani"], sides["Tibt"])
    return [(tibetan, chinese) for chinese, tibetan in tibetan_of_chinese.items()]


def attack_cosines(encode: Encode, texts: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Mean cosine of a text and each wrong variant, over the first 500 texts of at least six units; and of
    two unrelated texts.
    """
    rng = random.Random(f"attacks {seed}")
    long_texts = [text_units for text_units in map(units, texts) if len(text_units) >= MIN_UNITS][
        :NUM_ATTACKED
    ]
    if len(long_texts) < 2:
        return {}
    with_number = [text_units for text_units in long_texts if any(map(is_number, text_units))]
    attacks = {
        "shuffled": [(w, shuffle(w, rng)) for w in long_texts],
        "negation changed": [(w, change_negation(w, rng)) for w in long_texts],
        "number changed": [(w, change_number(w, rng)) for w in with_number],
        "first half": [(w, w[: len(w) // 2]) for w in long_texts],
        "three times": [(w, w * 3) for w in long_texts],
        "unrelated": list(pairwise(long_texts)),
    }
    return {name: _mean_cosine(encode, pairs) for name, pairs in attacks.items() if pairs}


def _mean_cosine(encode: Encode, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> float:
    one, other = ([*map(join_units, side)] for side in zip(*pairs, strict=True))
    return (encode(one).double() * encode(other).double()).sum(dim=1).mean().item()


def join_units(words: Sequence[str]) -> str:
    """Join units into a text, with a tsheg between them."""
    return "\u0f0b".join(words)
