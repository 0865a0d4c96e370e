"""Guard on the length against the source, for prompts with and without a reference text.

    ratio = units of the completion / units of the source, which has 1 between two bounds and falls outside

The bounds are quantiles of the ratio over the pairs of the training part, so they know what one unit of the source
language is worth in the target language: Tibetan syllables and English words are counted in `reward.units`.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from data.errors import InputError
from reward.rows import References, Texts, check_setting, per_row
from reward.units import units

QUANTILES = (0.01, 0.99)
LEAST_PAIRS = 20


def length_ratio_to(source: str, text: str) -> float:
    """Units of a text over those of its source, one added to both to spare short texts.

    >>> length_ratio_to("a b c", "d")
    0.5
    """
    return (len(units(text)) + 1) / (len(units(source)) + 1)


def measure_bounds(pairs: Iterable[tuple[str, str]]) -> tuple[float, float]:
    """The ratios between which all but one in fifty of the (source, reference text) pairs lie. Raises InputError for
    fewer than LEAST_PAIRS.
    """
    ratios = [length_ratio_to(source, text) for source, text in pairs]
    if len(ratios) < LEAST_PAIRS:
        raise InputError(
            f"reward term 'source_length': {len(ratios)} pairs are too few to measure its bounds; write "
            "reward.settings.source_length.length_bounds = [0.5, 2.0], or leave the term out"
        )
    low, high = np.quantile(ratios, QUANTILES)
    return float(low), float(high)


def source_length(
    sources: Texts, completions: Texts, references: References,
    *, length_bounds: Sequence[float], alpha: float = 1.0,
) -> Tensor:  # fmt: skip
    """Guard: 1 where the ratio lies between the bounds, and exp(-alpha (excess - 1)) where it is `excess` times outside:
    N rows -> (N,) fp32. The bounds of a row widen to the ratios of its own reference texts, where it has some.

    Raises InputError for bounds that are none and for a negative `alpha`.
    """
    check_setting("source_length.alpha", alpha, 0)
    if len(length_bounds) != 2 or not 0 < length_bounds[0] <= length_bounds[1]:
        raise InputError(
            f"reward.settings.source_length.length_bounds = {list(length_bounds)}: must be two numbers above 0 in order"
        )

    def score(source: str, completion: str, texts: Sequence[str]) -> float:
        ratio = length_ratio_to(source, completion)
        ends = [*length_bounds, *(length_ratio_to(source, text) for text in texts)]
        excess = max(min(ends) / ratio, ratio / max(ends), 1.0)
        return math.exp(-alpha * (excess - 1))

    return per_row(score, sources, completions, references, needs_references=False)
