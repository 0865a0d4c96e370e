"""Chooses the groups that learned metrics score where they score a share of them only (`reward.metric_share`), as some
cost more than the whole step.

The choice is a hash of a group's own texts. So it is a function of (seed, step) as they are, the same for any number of
processes, and the same after a resume.
"""

from collections.abc import Sequence

from torch import Tensor

from reward.control import random_numbers


def chosen_groups(
    sources: Sequence[str], completions: Sequence[str], group_size: int, share: float
) -> Tensor:
    """(P,) bool of N = P * G rows: true for each group with probability `share`, and for all of them where it is 1.

    >>> chosen_groups(["s"] * 4, ["a", "b", "c", "d"], 2, 1.0).tolist()
    [True, True]
    """
    starts = range(0, len(completions), group_size)
    texts = ["\0".join([sources[i], *completions[i : i + group_size]]) for i in starts]
    return random_numbers(texts) < share
