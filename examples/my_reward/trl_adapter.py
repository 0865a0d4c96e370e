"""A reward function written for TRL, and a term of a run made of it."""

from collections.abc import Sequence
from typing import Any

from reward.trl import as_term


def short_answer(completions: Sequence[str], reference: Sequence[str], **columns: Any) -> list[float]:
    """1 for an output of at most twice the characters of the reference text, else 0."""
    return [float(len(text) <= 2 * len(other)) for text, other in zip(completions, reference, strict=True)]


short_answer_term = as_term(
    short_answer
)  # "examples/my_reward/trl_adapter.py:short_answer_term" in a configuration
