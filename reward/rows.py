"""Applies a function of one row to N rows: the shape of every term over strings.

    term(sources, completions, references, *, settings) -> fp32 (N,)

Terms that need vectors work on all rows at once and do not use it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from data.errors import InputError

Texts = Sequence[str]  # one of each row
References = Sequence[Sequence[str]]  # one or more of each row
Score = Callable[[str, str, Sequence[str]], float]  # source, completion, reference texts of one row


def per_row(
    score: Score, sources: Texts, completions: Texts, references: References, *, needs_references: bool = True
) -> Tensor:
    """`score` of every row: N strings, N strings, N lists of one or more reference texts -> (N,) fp32.

    Raises ValueError for lists of different lengths and, where the score needs one, for a row without any reference
    text.

    >>> per_row(lambda source, completion, texts: float(completion in texts), ["s", "s"], ["a", "b"], [["a"], ["c", "d"]]).tolist()
    [1.0, 0.0]
    """
    check_rows(sources, completions, references, needs_references)
    rows = zip(sources, completions, references, strict=True)
    return torch.tensor(
        [score(source, completion, texts) for source, completion, texts in rows], dtype=torch.float32
    )


def check_setting(name: str, value: float, lowest: float) -> None:
    """Raises InputError for a setting below `lowest`; `name` is TERM.KEY."""
    if not value >= lowest:
        raise InputError(f"reward.settings.{name} = {value}: must be at least {lowest}")


def check_rows(
    sources: Texts, completions: Texts, references: References, needs_references: bool = True
) -> None:
    """Raises ValueError for lists of different lengths and for a row without the reference text that it needs."""
    if not len(sources) == len(completions) == len(references):
        raise ValueError(
            f"a term needs lists of one length, got {len(sources)}, {len(completions)}, {len(references)}"
        )
    for row, texts in enumerate(references):
        if isinstance(texts, str) or (needs_references and not texts):
            raise ValueError(f"row {row}: reference texts are a list of at least one text, got {texts!r}")
