"""Detects reference texts that are shifted by some lines against their sources, from the texts alone.

Two signs: how long a text is beside its neighbours, and which numbers and Latin words are on both sides. Each
gives a log-likelihood ratio of "they belong together" to "any two lines of this corpus". For every shift k of
-3 .. 3 the ratios of (source i, reference i) are subtracted from those of (source i, reference i + k) and
summed over runs of lines; the run with the largest sum gives the beginning and end of a shift. Without
evidence, as where all texts are equally long, every sum is small.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SHIFTS = (-3, -2, -1, 1, 2, 3)
NEIGHBOURS = (
    5  # lines on each side that a length is compared with, so that chapters of long lines do not matter
)
MAX_PAIRS = 40_000  # to compare, and how many of them in a row
STRETCH = 1_000
LINES_OF_PART = 75
MIN_SPREAD = 0.05  # of log lengths; below it a length is no evidence
MAX_CORRELATION = 0.9
TOKENS_OF_TEXT = 12  # to compare
CAP = 3.0  # nats of evidence from one pair, for or against
# nats per pair that are no evidence: a correlation of 0.1 gives as much, and the signs are less normal than
# the ratios suppose
FAINT = 0.005
TOKEN = re.compile(r"\d+|[A-Za-z\u00c0-\u024f]{2,}")


@dataclass(frozen=True)
class Alignment:
    """The best run of a shift other than 0: reference text `i + shift` belongs to source `i` for `i` of
    `first .. last`, where `shift` counts the pairs that were compared.

    `first` and `last` are indices into the given pairs, both in the run. `evidence` is in nats: the smaller
    one of the evidence for the shift and the evidence against the given pairs, minus the log of the number of
    runs compared. Below 0 it is nothing; real corpora that are aligned stay below 1. `correlations` are those
    of the lengths at every shift, 0 included.
    """

    pairs: int  # that were compared
    correlations: dict[int, float]
    shift: int
    evidence: float
    first: int
    last: int
    share: float  # of the compared pairs that lie in the run


def alignment(pairs: Sequence[tuple[str, str]]) -> Alignment:
    """Measure the alignment of (source, reference) pairs in the order of their file: a pure function, in time
    linear in the length of the texts.

    Lines that repeat the source or the reference text of the line before are skipped: a source with several
    reference texts also fits its neighbours'. Of more than `MAX_PAIRS` pairs only stretches are compared.
    """
    lines = [
        i
        for i in _line_numbers(len(pairs))
        if i == 0 or (pairs[i][0] != pairs[i - 1][0] and pairs[i][1] != pairs[i - 1][1])
    ]
    if len(lines) <= 2 * NEIGHBOURS:
        return Alignment(len(lines), {}, 0, 0.0, 0, -1, 0.0)
    sources, references = ([pairs[i][side] for i in lines] for side in (0, 1))
    by_length, correlations = _length_ratios(_relative_lengths(sources), _relative_lengths(references))
    by_token = _token_ratios(sources, references)
    ratios = {shift: by_length[shift] + by_token[shift] for shift in (0, *SHIFTS)}
    runs = {shift: _best_run(ratios[0], ratios[shift]) for shift in SHIFTS}
    shift = max(runs, key=lambda key: runs[key][0])
    gain, first, last = runs[shift]
    evidence = gain - float(np.log(len(lines) * len(SHIFTS)))
    return Alignment(
        len(lines), correlations, shift, evidence, lines[first], lines[last], (last - first + 1) / len(lines)
    )


def _line_numbers(count: int) -> list[int]:
    """All lines, or evenly spaced stretches of a very long file."""
    step = -(-count // MAX_PAIRS)
    return [i for i in range(count) if (i // STRETCH) % step == 0]


def _best_run(baseline: Floats, other: Floats) -> tuple[float, int, int]:
    """The run of lines in which `other` exceeds `baseline` most: (evidence for `other` or against `baseline`,
    first, last).
    """
    gain = np.clip(np.nan_to_num(other - baseline), -CAP, CAP)
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    lowest = np.minimum.accumulate(sums)
    stop = max(1, int((sums - lowest).argmax()))
    start = int(np.flatnonzero(sums[:stop] == lowest[stop])[-1]) if lowest[stop] < sums[stop] else stop - 1
    for_shift, for_given = (
        float(np.clip(np.nan_to_num(side[start:stop]), -CAP, CAP).sum()) for side in (other, baseline)
    )
    return min(for_shift, -for_given) - FAINT * (stop - start), start, stop - 1


def _relative_lengths(texts: Sequence[str]) -> Floats:
    """Log length minus the mean of its neighbours', in standard deviations, at most 3: (n,); zeros where
    lengths hardly differ.
    """
    lengths = np.log1p([len(text) for text in texts])
    sums = np.concatenate([[0.0], np.cumsum(lengths)])
    places = np.arange(len(lengths))
    low = np.maximum(0, places - NEIGHBOURS)
    high = np.minimum(len(lengths), places + NEIGHBOURS + 1)
    relative = lengths - (sums[high] - sums[low] - lengths) / (high - low - 1)
    if relative.std() < MIN_SPREAD:
        return np.zeros(len(texts))
    scores = np.clip((relative - relative.mean()) / relative.std(), -3, 3)
    return np.asarray(scores / scores.std())


def _shift(values: Floats, shift: int) -> Floats:
    """`values[i + shift]` at place i, NaN beyond the ends."""
    result = np.full(len(values), np.nan)
    if shift >= 0:
        result[: len(values) - shift] = values[shift:]
    else:
        result[-shift:] = values[:shift]
    return result


def _num_parts(count: int) -> int:
    """The number of parts of a corpus in which the agreement of the texts is measured."""
    return max(1, min(4, count // LINES_OF_PART))


def _length_ratios(sources: Floats, references: Floats) -> tuple[dict[int, Floats], dict[int, float]]:
    """The log-likelihood ratio of each line for each shift, as two normal variables with the best shift's
    correlation; and all correlations.
    """
    references_at = {shift: _shift(references, shift) for shift in (0, *SHIFTS)}
    correlations = {shift: float(np.nanmean(sources * other)) for shift, other in references_at.items()}
    parts = [
        [np.nanmean(part) for part in np.array_split(sources * other, _num_parts(len(sources)))]
        for other in references_at.values()
    ]
    # of the best shift in each part
    rho = min(MAX_CORRELATION, max(0.0, float(np.max(parts, axis=0).mean())))
    rest = 1 - rho**2
    ratios = {
        shift: -0.5 * np.log(rest)
        - (rho**2 * (sources**2 + other**2) - 2 * rho * sources * other) / (2 * rest)
        for shift, other in references_at.items()
    }
    return ratios, correlations


def _token_ratios(sources: Sequence[str], references: Sequence[str]) -> dict[int, Floats]:
    """The log-likelihood ratio of each line for each shift, by which of the source's tokens the reference text has."""
    count = len(sources)
    numbers = dict[str, int]()
    tokens, lines = _occurrences(sources, numbers)
    other_tokens, other_lines = _occurrences(references, numbers)
    frequency = np.bincount(other_tokens, minlength=len(numbers))
    is_in_references = frequency[tokens] > 0
    tokens = tokens[is_in_references]
    lines = lines[is_in_references]
    if not len(tokens):
        return {shift: np.zeros(count) for shift in (0, *SHIFTS)}
    hits = {
        shift: np.isin(tokens * 2 * count + lines + shift, other_tokens * 2 * count + other_lines)
        for shift in (0, *SHIFTS)
    }
    times = np.bincount(tokens, minlength=len(numbers))  # to stand in any reference text
    by_chance = (frequency + 0.5) / (count + 1)
    together = np.max(
        [np.bincount(tokens, weights=places, minlength=len(numbers)) for places in hits.values()], axis=0
    )
    usual = max(0.0, *(float(np.mean(places - by_chance[tokens])) for places in hits.values()))
    # the chance that a token comes from the source, beyond that: names do, words do not; the counts prefer
    # no shift
    transfer = np.clip((together - times * by_chance + 2 * usual) / (times + 2), 0, 0.95)
    hit_ratio = np.log((transfer + (1 - transfer) * by_chance) / by_chance)
    miss_ratio = np.log(1 - transfer)
    ratios = {
        shift: np.where(places, hit_ratio[tokens], miss_ratio[tokens]) for shift, places in hits.items()
    }
    return {
        shift: np.bincount(lines, weights=values, minlength=count).astype(np.float64)
        for shift, values in ratios.items()
    }


def _occurrences(texts: Sequence[str], numbers: dict[str, int]) -> tuple[Ints, Ints]:
    """(token, line) of every token of every text, each once a line; new tokens are added to `numbers`."""
    pairs = [
        (numbers.setdefault(token, len(numbers)), line)
        for line, text in enumerate(texts)
        for token in sorted({_plain(token) for token in TOKEN.findall(text)[:TOKENS_OF_TEXT]})
    ]
    tokens, lines = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return tokens, lines


def _plain(token: str) -> str:
    """Digits of every script as ASCII digits, letters in one case."""
    return (
        "".join(str(unicodedata.digit(character)) for character in token)
        if token.isdecimal()
        else token.casefold()
    )
