"""Term `coverage`: does every word of one text have a counterpart in the other one?

    recall    = sum_r w(r) max_c s(r, c) / sum_r w(r)      r: units of the reference text, c: of the completion
    precision = sum_c w(c) max_r s(c, r) / sum_c w(c)
    coverage  = 2 recall precision / (recall + precision)

Greedy matching (Rus & Lintean 2012, "A comparison of greedy and optimal assessment of natural language student input
using word-to-word similarity metrics"), with the F1 and the weights of BERTScore (Zhang et al. 2020, arXiv
1904.09675, eq. 1-3); here a unit is embedded on its own by the run's encoder, so every encoder serves and a word is
encoded once ever. s is the cosine above `floor`, rescaled to 0..1, as its baseline is there. Low recall is
under-translation, something left out; low precision is over-translation, something added. Repetition and order are
not seen: `unrepeated` and `order` judge these.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from data.errors import InputError
from reward.cosine import Vectors, rescale
from reward.hubness import Bank
from reward.rows import References, Texts, check_rows
from reward.units import units


def greedy_f1(similarities: Tensor, row_weights: Tensor, column_weights: Tensor) -> float:
    """Coverage of similarities (R, C) in [0, 1] with weights (R,), (C,), which are equal where all are 0; 0 where
    nothing matches.

    >>> ones = torch.ones(2, dtype=torch.float64)
    >>> greedy_f1(torch.tensor([[1.0, 0.0], [0.5, 0.0]], dtype=torch.float64), ones, ones)  # recall 3/4, precision 1/2
    0.6
    """
    sides = ((similarities.amax(dim=1), row_weights), (similarities.amax(dim=0), column_weights))
    recall, precision = (
        float((best * weight).sum() / weight.sum() if weight.any() else best.mean()) for best, weight in sides
    )
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def idf_weights(texts: Sequence[str]) -> dict[str, float]:
    """log((M + 1) / (m + 1)) of the units of M texts, of which m have the unit (BERTScore, section 3).

    >>> sorted((unit, round(weight, 3)) for unit, weight in idf_weights(["a b", "a c", "a"]).items())
    [('a', 0.0), ('b', 0.693), ('c', 0.693)]
    """
    counts = Counter(unit for text in texts for unit in set(units(text)))
    return {unit: math.log((len(texts) + 1) / (count + 1)) for unit, count in counts.items()}


def coverage(
    sources: Texts, completions: Texts, references: References, *, vectors: Vectors, floor: float = 0.3
) -> Tensor:
    """Term: F1 of the greedy matches of units, in [0, 1], with the reference text that matches best: N rows -> (N,)
    fp32. Every unit has weight 1; `coverage_idf` weighs them. Exactly 1 for the reference text itself.
    """
    return match_units(completions, references, vectors, floor, {})


def coverage_source(
    sources: Texts, completions: Texts, references: References, *, vectors: Vectors, floor: float = 0.3
) -> Tensor:
    """Term: `coverage` of the source itself, by an encoder that knows both languages; no reference text is needed: N
    rows -> (N,) fp32. A right text does not reach 1, and a copy of the source does, so this is no gate.
    """
    return match_units(completions, [(text,) for text in sources], vectors, floor, {})


def coverage_idf(
    sources: Texts, completions: Texts, references: References,
    *, vectors: Vectors, bank: Bank, floor: float = 0.3,
) -> Tensor:  # fmt: skip
    """Term: `coverage` with each unit weighted by its idf among all reference texts: N rows -> (N,) fp32."""
    return match_units(completions, references, vectors, floor, idf_weights(bank.texts))


def match_units(
    completions: Sequence[str],
    sides: Sequence[Sequence[str]],
    vectors: Vectors,
    floor: float,
    weights: Mapping[str, float],
) -> Tensor:
    """The best coverage of each completion over its `sides`: -> (N,) fp32. A unit without a weight has the largest.
    Raises InputError for a floor that leaves no similarity.
    """
    check_rows(completions, completions, sides)
    if not -1 <= floor < 1:
        raise InputError(f"reward.settings.coverage.floor = {floor}: must lie in [-1, 1)")
    pairs = list(dict.fromkeys((c, text) for c, row in zip(completions, sides, strict=True) for text in row))
    table = list(dict.fromkeys(unit for pair in pairs for text in pair for unit in units(text)))
    place = {unit: number for number, unit in enumerate(table)}
    rows = vectors.embed(table)
    most = max(weights.values(), default=1.0)
    weight = torch.tensor([weights.get(unit, most) for unit in table], dtype=torch.float64)

    def score(completion: str, text: str) -> float:
        if completion == text:
            return 1.0
        first, second = ([place[unit] for unit in units(side)] for side in (text, completion))
        if not first or not second:
            return 0.0
        same = torch.tensor(first)[:, None] == torch.tensor(second)
        similarities = rescale(torch.where(same, 1.0, rows[first] @ rows[second].T), floor).double()
        return greedy_f1(similarities.clamp_max(1), weight[first], weight[second])

    values = {pair: score(*pair) for pair in pairs}  # completions of a group are often equal
    best = [max(values[c, text] for text in row) for c, row in zip(completions, sides, strict=True)]
    return torch.tensor(best, dtype=torch.float32)
