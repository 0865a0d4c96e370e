"""A reward function written for TRL as a term here, and a reward or term of ours as a reward function for TRL.

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
    """`reward` as a term: it gets our sources as `prompts`, and the first reference text of each row as `column`."""

    def term(sources: Texts, completions: Texts, references: Sequence[Texts]) -> list[float | None]:
        columns = {column: [texts[0] for texts in references]}
        return list(reward(prompts=list(sources), completions=list(completions), **columns))

    return term


def as_trl_reward(
    reward: Callable[..., Any], source: str = "source", reference: str = "reference", **settings: Any
) -> Callable[..., list[float | None]]:
    """A `SemanticReward` or a term for `GRPOTrainer(reward_funcs=...)`: `source` and `reference` are columns of
    the data set; a NaN becomes None.
    """

    def trl_reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        texts = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
        references = [[one] if isinstance(one, str) else one for one in columns[reference]]
        values = [
            None if value is None else float(value)
            for value in reward(columns[source], texts, references, **settings)
        ]
        return [None if value != value else value for value in values]

    trl_reward.__name__ = getattr(reward, "__name__", type(reward).__name__)  # the name in TRL's log
    return trl_reward
