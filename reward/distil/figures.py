"""What a Tibetan-script encoder is worth: retrieval on held-out texts and its answer to wrong variants. Reads
nothing, prints nothing.

The same figures are made for the student and for its teacher, which knows no Tibetan: that one is the
baseline.
"""

import random
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

from torch import Tensor

from data.examples import Example
from data.script import script_of
from reward.distil.corpus import Item
from reward.distil.retrieval import Retrieval, retrieval
from reward.distil.variants import negated, renumbered, shuffled
from reward.encoders.features import is_number, units
from reward.encoders.student import reads

Encode = Callable[[Sequence[str]], Tensor]
Cluster = tuple[Item, ...]

NEIGHBOUR = 0.8  # teacher cosine of two Chinese texts that mean nearly the same, but are not the same
SAME = 0.99
MIN_UNITS = 6  # of a text whose variants are measured: order and halves of a word or two mean little
NUM_ATTACKED = 500


def figures(
    encode: Encode, teach: Encode, held: Sequence[Cluster], judged: Sequence[Example]
) -> dict[str, Retrieval]:
    """Retrieval by `encode` in each direction; `teach` embeds Chinese and English; `judged` are RL examples,
    never trained on.

    One item a cluster, so that no distractor is a near-duplicate of the right answer.
    """
    chinese = [item for cluster in held for item in [i for i in cluster if i.chinese][:1]]
    english = [item for cluster in held for item in [i for i in cluster if i.english][:1]]
    own = _tibetan_chinese(judged)
    pairs = {
        "to Chinese": ([i.text for i in chinese], [i.chinese[0] for i in chinese]),
        "to English": ([i.text for i in english], [i.english[0] for i in english]),
        "RL dev and test, to Chinese": ([tibetan for tibetan, _ in own], [text for _, text in own]),
    }
    found = {
        name: retrieval(encode(queries), teach(answers))
        for name, (queries, answers) in pairs.items()
        if len(queries) > 1
    }
    known = [(item.text, item.chinese[0]) for item in chinese] + own
    neighbours = nearest_pairs([text for text, _ in known], teach([meaning for _, meaning in known]))
    renderings = {"two renderings of one text": two_renderings(held), "nearest in meaning": neighbours}
    for name, texts in renderings.items():
        if len(texts) > 1:
            one, other = zip(*texts, strict=True)
            found[f"within Tibetan script, {name}"] = retrieval(encode(one), encode(other))
    return found


def two_renderings(held: Sequence[Cluster]) -> list[tuple[str, str]]:
    """Two different Tibetan-script texts with one Chinese or English text in common, at most one such pair a
    cluster.
    """
    found = []
    for cluster in held:
        pairs = (
            (a, b)
            for a, b in combinations(cluster, 2)
            if a.text != b.text and ({*a.chinese, *a.english} & {*b.chinese, *b.english})
        )
        found += [(one.text, other.text) for one, other in list(pairs)[:1]]
    return found


def nearest_pairs(texts: Sequence[str], meanings: Tensor) -> list[tuple[str, str]]:
    """Pairs of texts whose Chinese the teacher puts at a cosine from .8 to .99, nearest first, each text in
    one pair at most.

    `meanings` (n, D) are the teacher's unit rows of the Chinese texts.
    """
    cosines = (meanings @ meanings.T).triu(diagonal=1)
    cosines[cosines > SAME] = 0
    found: list[tuple[str, str]] = []
    used: set[int] = set()
    candidates = (cosines >= NEIGHBOUR).nonzero()
    for row in cosines[tuple(candidates.T)].argsort(descending=True, stable=True).tolist():
        one, other = candidates[row].tolist()
        if not {one, other} & used and texts[one] != texts[other]:
            used |= {one, other}
            found.append((texts[one], texts[other]))
    return found


def _tibetan_chinese(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """(Tibetan-script text, Chinese text) of each example that has both, either way round; each text once."""
    found: dict[str, str] = {}
    for example in examples:
        languages = (example.source_language, example.target_language)
        sides = dict(zip(map(script_of, languages), (example.source, example.reference), strict=True))
        if {"Tibt", "Hani"} <= sides.keys() and reads(sides["Tibt"]):
            found.setdefault(sides["Hani"], sides["Tibt"])
    return [(tibetan, chinese) for chinese, tibetan in found.items()]


def attack_cosines(encode: Encode, texts: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Mean cosine of a text and what was made of it, over the first 500 texts of at least six units; and of
    two unrelated texts.
    """
    draw = random.Random(f"attacks {seed}")
    words = [found for found in map(units, texts) if len(found) >= MIN_UNITS][:NUM_ATTACKED]
    if len(words) < 2:
        return {}
    numbered = [found for found in words if any(map(is_number, found))]
    attacks = {
        "shuffled": [(w, shuffled(w, draw)) for w in words],
        "negation changed": [(w, negated(w, draw)) for w in words],
        "number changed": [(w, renumbered(w, draw)) for w in numbered],
        "first half": [(w, w[: len(w) // 2]) for w in words],
        "three times": [(w, w * 3) for w in words],
        "unrelated": list(pairwise(words)),
    }
    return {name: _mean_cosine(encode, pairs) for name, pairs in attacks.items() if pairs}


def _mean_cosine(encode: Encode, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> float:
    one, other = ([*map(written, side)] for side in zip(*pairs, strict=True))
    return (encode(one).double() * encode(other).double()).sum(dim=1).mean().item()


def written(words: Sequence[str]) -> str:
    """Units as a text again, with a tsheg between them."""
    return "\u0f0b".join(words)
