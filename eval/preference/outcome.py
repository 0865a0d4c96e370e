"""Computes which of two systems is preferred: from answers on single items to shares with intervals.

An item is a win of `after`, a loss or a tie. If a judge answers in both orders, an item is decided only where
both answers point to the same output; so a judge that always takes the first text, or always gives the same
answer, produces only ties. Identical outputs are ties and are not asked about. Two biases of the judge are
measured: choosing the first text (position) and choosing the longer one (length).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.metrics.significance import (
    mcnemar,
    mean_statistics,
    paired_bootstrap,
    ratio_of_sums,
    resample_counts,
    wilson_interval,
)
from eval.preference.pairs import Pair
from eval.report.blocks import Table
from eval.report.wording import SHARE, signed_number

SIGNS = ("1", "2", "=")
OUTCOMES = {1: "win", 0: "tie", -1: "loss"}


@dataclass(frozen=True)
class Answer:
    """One sign given to one item; `sign` is "1", "2", "=", or None for an answer that says none of them."""

    after_first: bool
    sign: str | None

    @property
    def side(self) -> int:
        """1 = for `after`, -1 = for `before`, 0 = neither."""
        if self.sign not in ("1", "2"):
            return 0
        return 1 if (self.sign == "1") == self.after_first else -1


def common_side(answers: Sequence[Answer]) -> int:
    """1 or -1 where every answer points to the same output, else 0, also without answers."""
    sides = {answer.side for answer in answers}
    return sides.pop() if len(sides) == 1 else 0


def preference(
    names: tuple[str, str],
    judge: str,
    pairs: Sequence[Pair],
    outcomes: Sequence[int],
    answers: Sequence[Sequence[Answer]],
    seed: int,
) -> dict[str, Any]:
    """The result as JSON: shares of win, tie and loss of `after` with Wilson intervals, win - loss with a
    bootstrap interval, biases.

    `pairs`, `outcomes` (1, 0, -1) and `answers` (empty for a pair that was not asked about) have one row for
    each pair. Raises ValueError without pairs.
    """
    n = len(pairs)
    counts = {name: sum(outcome == value for outcome in outcomes) for value, name in OUTCOMES.items()}
    wins, losses = ([outcome == value for outcome in outcomes] for value in (1, -1))
    resamples = resample_counts(n, np.random.default_rng(seed))
    net = paired_bootstrap(mean_statistics(losses), mean_statistics(wins), ratio_of_sums, resamples)
    all_answers = [answer for group in answers for answer in group]
    return {
        "before": names[0],
        "after": names[1],
        "judge": judge,
        "seed": seed,
        "n": n,
        "identical": sum(pair.is_identical for pair in pairs),
        **{name: count / n for name, count in counts.items()},
        **{f"{name}_interval": wilson_interval(count, n) for name, count in counts.items()},
        "counts": counts,
        "net": {"difference": net.difference, "low": net.low, "high": net.high},
        "sign_test_p": mcnemar(losses, wins).p_value,
        "answers": len(all_answers),
        "unparsable": sum(answer.sign is None for answer in all_answers),
        "first_chosen": share([answer.sign == "1" for answer in all_answers if answer.sign in ("1", "2")]),
        "longer_preferred": share(longer_wins(pairs, outcomes)),
        "after_longer": share(
            [
                length(pair.after) > length(pair.before)
                for pair in pairs
                if length(pair.after) != length(pair.before)
            ]
        ),
        "items": [item(*row) for row in zip(pairs, outcomes, answers, strict=True)],
    }


def share(flags: Sequence[bool]) -> dict[str, Any]:
    """The share of true flags with its Wilson interval and n; null without flags."""
    return {
        "share": sum(flags) / len(flags) if flags else None,
        "interval": wilson_interval(sum(flags), len(flags)),
        "n": len(flags),
    }


def length(text: str) -> int:
    """Characters without space."""
    return len("".join(text.split()))


def longer_wins(pairs: Sequence[Pair], outcomes: Sequence[int]) -> list[bool]:
    """Whether the longer output was preferred, for every decided item with outputs of different lengths."""
    differences = [
        (length(pair.after) - length(pair.before)) * outcome
        for pair, outcome in zip(pairs, outcomes, strict=True)
    ]
    return [difference > 0 for difference in differences if difference]


def item(pair: Pair, outcome: int, answers: Sequence[Answer]) -> dict[str, Any]:
    """The record of one item."""
    return {"id": pair.id, "outcome": OUTCOMES[outcome], "answers": [asdict(answer) for answer in answers]}


def share_text(figures: dict[str, Any]) -> str:
    """'62.0 % (55.1 % to 68.4 %) of 200', or '-' where there is none."""
    if figures["share"] is None:
        return "-"
    low, high = figures["interval"]
    return f"{SHARE.value(figures['share'])} ({SHARE.value(low)} to {SHARE.value(high)}) of {figures['n']}"


def preference_table(result: dict[str, Any]) -> Table:
    """The result for the console."""
    rows = tuple(
        (
            name,
            str(result["counts"][name]),
            SHARE.value(result[name]),
            " to ".join(map(SHARE.value, result[f"{name}_interval"])),
        )
        for name in ("win", "tie", "loss")
    )
    net, low, high = (signed_number(100 * result["net"][key], 1) for key in ("difference", "low", "high"))
    notes = [
        f"Win minus loss {net} points ({low} to {high}); sign test p = {result['sign_test_p']:.3g}.",
        f"{result['identical']} of {result['n']} outputs are identical and count as ties.",
        f"{result['unparsable']} of {result['answers']} answers name no side and count as ties.",
        f"The first text was chosen in {share_text(result['first_chosen'])} decided answers.",
        f"The longer text was preferred in {share_text(result['longer_preferred'])} decided items of different lengths; "
        f"the second system's is the longer one in {share_text(result['after_longer'])}.",
    ]
    title = f"{result['after']} against {result['before']}, judged by {result['judge']}"
    return Table(title, ("outcome", "items", "share", "95 % interval"), rows, tuple(notes))
