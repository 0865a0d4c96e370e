"""Length limits that come from the corpus: a limit of 0 becomes the length that keeps KEPT of the pairs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from data.clean import Limits, units
from data.examples import Example

KEPT = 0.99


def limits_of(limits: Limits, examples: Iterable[Example], place: str = "") -> tuple[Limits, list[str]]:
    """The limits with each largest length of 0 replaced, and a sentence about each that was. `place`: the setting of
    the file, where it is not the corpus.
    """
    names = [name for name in ("max_source", "max_target") if not getattr(limits, name)]
    if not names:
        return limits, []
    counts = {name: Counter[int]() for name in names}
    for example in examples:
        sides = dict(zip(("max_source", "max_target"), units(example), strict=True))
        for name in names:
            counts[name][sides[name]] += 1
    values = {
        name: max(shortest_keeping(counts[name], KEPT), getattr(limits, name.replace("max", "min")))
        for name in names
    }
    remarks = [
        f"data.{name}_units=0: up to {value} units are kept, as {KEPT:.0%} of the pairs {f'of {place} ' if place else ''}have"
        for name, value in values.items()
        if counts[name]
    ]
    return replace(limits, **values), remarks


def shortest_keeping(counts: Counter[int], share: float) -> int:
    """The smallest length that at least this share of the counted ones does not exceed; 0 for none."""
    rest = counts.total() * share
    for length, count in sorted(counts.items()):
        rest -= count
        if rest <= 1e-9 * counts.total():
            return length
    return 0
