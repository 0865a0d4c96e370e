"""Formats figures for every report: digits, signs, units, names of languages and probes.

It also says when a change counts as one: `direction` by the interval, `are_too_few` by the number of items.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data.language_names import short_name

ALL = "all"  # the slice of every item; also the code of a language
ABSENT = "-"
MINUS = "\u2212"
# A percentile bootstrap of n items gives intervals that are too narrow: nominal 95 % ones cover the mean of
# normal values in 94 % of the cases at n = 30, in 90 % at n = 10, in 85 % at n = 5 (and never at n = 1).
MIN_ITEMS = 30
CLEAR_P = 0.05  # below it a test counts as a change


@dataclass(frozen=True)
class Metric:
    """A figure's name and form.

    `percent` figures are shares shown times 100; results of earlier versions lack a `newer` one. `better` is 1
    where higher is better, -1 where lower is, 0 where neither.
    """

    key: str
    label: str
    digits: int
    percent: bool = False
    newer: bool = False
    better: int = 1

    def value(self, number: float | None) -> str:
        """0.6543 -> '0.654', a share 0.98 -> '98.0 %', nothing -> '-'."""
        return (
            ABSENT
            if number is None
            else f"{self._scale(number):.{self.digits}f}{self._unit()}".replace("-", MINUS)
        )

    def change(self, number: float) -> str:
        """0.0312 -> '+0.031'; a change of a share is in percentage points."""
        return signed_number(self._scale(number), self.digits) + (" pp" if self.percent else "")

    def interval(self, low: float, high: float) -> str:
        """(0.01, 0.05) -> '+0.010 to +0.050'."""
        ends = (signed_number(self._scale(end), self.digits) for end in (low, high))
        return " to ".join(ends)

    def _scale(self, number: float) -> float:
        return 100 * number if self.percent else number

    def _unit(self) -> str:
        return " %" if self.percent else ""


METRICS = (
    Metric("cosine", "Cosine", 3),
    Metric("cosine_held_out", "Held-out cosine", 3),
    Metric("chrf", "chrF", 2),
    Metric("bleu", "BLEU", 2),
    Metric("rouge_l", "ROUGE-L", 3, newer=True),
    Metric("consistent_share", "Script consistency", 1, percent=True),
    Metric("length_ratio", "Length ratio", 2, better=0),
    Metric("empty_share", "Empty outputs", 1, percent=True, better=-1),
    Metric("copied_share", "Copies", 1, percent=True, newer=True, better=-1),
)
METRIC = {metric.key: metric for metric in METRICS}
TAX = Metric("tax", "Tax", 4, better=-1)
MAIN_METRICS = ("cosine", "cosine_held_out", "chrf", "bleu", "consistent_share")
BITS = Metric("bits_per_character", "bits per character", 3, better=-1)
ACCURACY = Metric("accuracy", "accuracy", 1, percent=True)
SHARE = Metric("share", "share", 1, percent=True)
PROBES = (
    ("english", "English text, bits per character", BITS),
    ("chinese", "Chinese text, bits per character", BITS),
    ("capitals_accuracy", "Capital cities, accuracy", ACCURACY),
    ("capitals_accuracy_per_character", "Capital cities, accuracy (score per character)", ACCURACY),
    ("analogies_accuracy", "Word analogies, accuracy", ACCURACY),
    ("analogies_accuracy_per_character", "Word analogies, accuracy (score per character)", ACCURACY),
    ("idioms_accuracy", "Chinese idioms, accuracy", ACCURACY),
    ("idioms_accuracy_per_character", "Chinese idioms, accuracy (score per character)", ACCURACY),
    ("bigbench_agreement_accuracy", "BIG-bench, verb after an intervening noun, accuracy", ACCURACY),
    ("bigbench_agreement_linzen_accuracy", "BIG-bench, verb in sentences as written, accuracy", ACCURACY),
    ("bigbench_adjectives_accuracy", "BIG-bench, order of adjectives, accuracy", ACCURACY),
    (
        "bigbench_past_tense_accuracy_per_character",
        "BIG-bench, past tense, accuracy (score per character)",
        ACCURACY,
    ),
    ("bigbench_facts_accuracy", "BIG-bench, facts of Wikidata, accuracy", ACCURACY),
)
MAIN_PROBES = (
    "english",
    "chinese",
    "capitals_accuracy",
    "analogies_accuracy",
    "idioms_accuracy_per_character",
)


def signed_number(number: float, digits: int) -> str:
    """-0.5 -> '\u22120.50', 0.5 -> '+0.50', anything that rounds to zero -> '0.00'."""
    text = f"{number:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", MINUS)


def direction(difference: Mapping[str, Any]) -> int:
    """1 or -1 where the whole interval is above or below 0, 0 where it includes 0."""
    return (difference["low"] > 0) - (difference["high"] < 0)


def are_too_few(n: int) -> bool:
    """Whether a bootstrap interval over `n` items is too narrow to decide anything."""
    return n < MIN_ITEMS


def duration(seconds: float) -> str:
    """75 -> '1 min 15 s', 8.25 -> '8.2 s', 7500 -> '2 h 5 min'."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def estimate(seconds: float) -> str:
    """A time that is only expected: 50 -> '50 s', 360 -> '6 min', 9000 -> '2.5 hours'.

    >>> [estimate(seconds) for seconds in (0, 0.4, 59.6, 360, 7199, 9000)]
    ['0 s', '1 s', '1 min', '6 min', '2.0 hours', '2.5 hours']
    """
    if math.ceil(seconds) < 60:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} hours"


def estimate_range(low: float, high: float) -> str:
    """Two expected times in seconds, with their unit once where it is the same.

    >>> [estimate_range(*ends) for ends in ((1, 20), (30, 300), (1200, 4800), (4800, 9000), (9000, 36000))]
    ['under a minute', '30 s to 5 min', '20 to 80 min', '80 min to 2.5 hours', '2.5 to 10.0 hours']
    """
    first, last = estimate(low), estimate(high)
    unit = last.partition(" ")[2]
    if unit == "s":
        return "under a minute"
    return f"{first.removesuffix(f' {unit}')} to {last}"


def share_of_resamples(p: float) -> str:
    """0.0155 -> '0.015', 0 -> '< 0.001'."""
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def place_label(name: str) -> str:
    """'bo' -> 'Tibetan (bo)', 'origin:mediawiki' -> 'mediawiki', 'all' -> 'all'."""
    language = name if name == ALL or ":" in name else short_name(name)
    return f"{language} ({name})" if language != name else name.removeprefix("origin:")


def plain_number(value: Any) -> str:
    """A setting or count as text: whole numbers grouped, floats to 4 significant digits, lists joined."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ABSENT}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return ", ".join(map(plain_number, value))
    return str(value)
