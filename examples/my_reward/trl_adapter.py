"""A reward function written for TRL as a term here, and a term of ours as a reward function for TRL.

TRL calls reward(prompts=..., completions=..., completion_ids=..., **columns): a list per column of the data
set, a row per completion. It takes a list of floats, with None where a function has nothing to say. A
completion is a text, or a list of messages in a chat data set. Nothing here imports TRL.
"""

from collections.abc import Callable, Sequence
from typing import Any

Texts = Sequence[str]


def as_term(
    reward: Callable[..., Sequence[float | None]], column: str = "reference"
) -> Callable[..., list[float | None]]:
    """`reward` as a term: it gets our sources as `prompts`, and the first reference text of each row as
    `column`.
    """

    def term(sources: Texts, completions: Texts, references: Sequence[Texts]) -> list[float | None]:
        columns = {column: [texts[0] for texts in references]}
        return list(reward(prompts=list(sources), completions=list(completions), **columns))

    return term


def as_trl_reward(
    term: Callable[..., Any], source: str = "source", reference: str = "reference", **settings: Any
) -> Callable[..., list[float | None]]:
    """`term` for `GRPOTrainer(reward_funcs=...)`: `source` and `reference` are columns of the data set; a NaN
    becomes None.
    """

    def reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        texts = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
        references = [[one] if isinstance(one, str) else one for one in columns[reference]]
        values = [
            None if value is None else float(value)
            for value in term(columns[source], texts, references, **settings)
        ]
        return [None if value != value else value for value in values]

    reward.__name__ = term.__name__  # the name in TRL's log
    return reward


def short_answer(completions: Texts, reference: Texts, **columns: Any) -> list[float]:
    """A reward as one writes it for TRL: 1 for an output of at most twice the characters of the reference
    text, else 0.
    """
    return [float(len(text) <= 2 * len(other)) for text, other in zip(completions, reference, strict=True)]


short_answer_term = as_term(
    short_answer
)  # "examples/my_reward/trl_adapter.py:short_answer_term" in a configuration
