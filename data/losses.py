"""Reports what cleaning dropped: each rule with its count, one example and the setting that changes it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from data.clean import LENGTH_LIMITS, OTHER_REFERENCE, Limits, Tally

MANY = 0.1  # a limit that drops a larger share of the pairs gets a remark; TO_KEEP: the share to keep
TO_KEEP = 0.99

Loss = Mapping[str, Any]


def losses(tally: Tally, limits: Limits) -> list[dict[str, Any]]:
    """One entry per rule, the most frequent first: reason, pairs, setting (where there is one), example."""
    return [
        {
            "reason": reason,
            "pairs": count,
            "setting": _setting(reason, limits),
            "example": tally.samples[reason],
        }
        for reason, count in sorted(tally.num_dropped.items(), key=lambda entry: -entry[1])
    ]


def _setting(reason: str, limits: Limits) -> str:
    name = LENGTH_LIMITS.get(reason)
    return f"data.{name}_units={asdict(limits)[name]}" if name else ""


def loss_lines(entries: Sequence[Loss]) -> list[str]:
    """A line for each rule, for a terminal."""
    return [f"data: {_what(entry)}, e.g. {entry['example']}" for entry in entries]


def _what(entry: Loss) -> str:
    if entry["reason"] == OTHER_REFERENCE:
        return (
            f"{entry['pairs']:,} further reference text{'s' if entry['pairs'] > 1 else ''} of a source kept"
        )
    return f"dropped {entry['pairs']:,} {_rule(entry)}"


def _rule(entry: Loss) -> str:
    return f"{entry['reason']} ({entry['setting']})" if entry["setting"] else str(entry["reason"])


def limit_remarks(tally: Tally, limits: Limits) -> list[str]:
    """A sentence for each length limit that drops many pairs, with the value that would keep nearly all of
    them.

    The share is of the pairs that reached the limits: those that no rule but the one on equal pairs dropped
    before.
    """
    num_dropped = tally.num_dropped
    num_pairs = (
        len(tally.pairs) + tally.misfits.total() + num_dropped["duplicate"] + num_dropped[OTHER_REFERENCE]
    )
    remarks = []
    for name in LENGTH_LIMITS.values():
        sign = -1 if name.startswith("min") else 1
        side = int(name.endswith("target"))
        limit = asdict(limits)[name]
        outside = Counter[int]()
        for pair, count in tally.misfits.items():
            if sign * pair[side] > sign * limit:
                outside[sign * pair[side]] += count
        if outside.total() > MANY * num_pairs:
            share = outside.total() / num_pairs
            enough = sign * _from_above(outside, int((1 - TO_KEEP) * num_pairs))
            word = "fewer" if sign < 0 else "more"
            share_kept = "all" if enough == sign * max(outside) else f"{TO_KEEP:.0%}"
            remarks.append(
                f"data.{name}_units={limit}: {share:.0%} of the pairs have {word} units; {enough} would keep {share_kept}"
            )
    return remarks


def _from_above(counts: Counter[int], place: int) -> int:
    """The value at a place, from 0, of all counted values from the largest down."""
    for value, count in sorted(counts.items(), reverse=True):
        if place < count:
            return value
        place -= count
    raise IndexError("fewer values than the place")
