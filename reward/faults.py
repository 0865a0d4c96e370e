"""Handles what can go wrong while completions are judged: missing values and failures.

A term that cannot judge a completion returns NaN, None or an infinity; `term_values` turns all of them into
NaN, and only that completion loses its reward. Every other fault is a `RewardFailure`, one sentence with
cause, place and remedy: a term or encoder that raises, a wrong shape or type, a gate outside [0, 1], a batch
without any reward. The training loop decides what to do; a reward is computed before any weight changes, so
it can save and stop.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from data.documents import user_path
from data.errors import InputError
from reward.own_term import is_own_term, same_state
from reward.rows import References, Texts

if TYPE_CHECKING:
    from reward.encoder import Encoder

Term = Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], Any]
REMEDY = "correct it and run the same command"
SHORT = 80  # characters of a completion that fit into a sentence
LONG = 300  # of an exception's message


class RewardFailure(InputError):
    """The reward of these completions cannot be computed; one sentence. Nothing has changed."""


def term_values(name: str, term: Term, sources: Texts, completions: Texts, references: References) -> Tensor:
    """Call a term on N rows: (N,) fp32 on the CPU, NaN where it cannot judge. Raises RewardFailure."""
    try:
        # copies: it may change its own
        with same_state():
            values = term(list(sources), list(completions), list(references))
        return _numbers(name, values, completions)
    except (RewardFailure, MemoryError, KeyboardInterrupt):
        raise
    except InputError as error:  # says where and what itself
        raise RewardFailure(f"{error}") from error
    except BaseException as error:  # also SystemExit, by which the run would end without a word
        file = user_path(name.partition(":")[0]) if is_own_term(name) else None
        raise RewardFailure(
            f"reward term {name!r} {_exception_sentence(error, file)}, on {_batch(completions)}; {REMEDY}"
        ) from error


class NamedEncoder:
    """Wraps an encoder so that its errors name the encoder and not the term that called it."""

    def __init__(self, name: str, encoder: "Encoder") -> None:
        self.name = name
        self.encoder = encoder
        self.dim = encoder.dim
        self.fingerprint = encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim). Raises RewardFailure."""
        try:
            return self.encoder.encode(texts)
        except (InputError, MemoryError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise RewardFailure(
                f"encoder {self.name!r} {_exception_sentence(error)}, on {_batch(texts)}; {REMEDY}"
            ) from error


def check_gate(name: str, values: Tensor, completions: Sequence[str]) -> None:
    """Raises RewardFailure naming the first row in which a gate lies outside [0, 1]; a missing value may stay."""
    rows = ((values < 0) | (values > 1)).nonzero().flatten().tolist()
    if rows:
        place = _place(rows[0], completions)
        raise RewardFailure(
            f"gate {name!r} is {values[rows[0]].item()} in {place}; a gate lies in [0, 1]; {REMEDY}"
        )


def check_some_reward(rewards: Tensor, terms: Mapping[str, Tensor], completions: Sequence[str]) -> None:
    """Raises RewardFailure where no completion of the batch has a reward; `terms`: those that count."""
    if completions and rewards.isnan().all():
        causes = [
            line for name, values in terms.items() if (line := missing_sentence(name, values, completions))
        ]
        raise RewardFailure(f"no completion has a reward: {' and '.join(causes)}; {REMEDY}")


def missing_sentence(name: str, values: Tensor, completions: Sequence[str]) -> str:
    """How many completions a term could not judge, and the first of them; "" where there is none.

    >>> missing_sentence("fluent", torch.tensor([0.5, torch.nan]), ["yes", "no"])
    "reward term 'fluent' gave no number for 1 of 2 completions, the first 'no'"
    """
    rows = values.flatten().isnan().nonzero().flatten().tolist()
    first = f", the first {_brief(completions[rows[0]], SHORT)!r}" if rows else ""
    return (
        f"reward term {name!r} gave no number for {len(rows)} of {len(completions)} completions{first}"
        if rows
        else ""
    )


def _numbers(name: str, values: Any, completions: Sequence[str]) -> Tensor:
    """Convert a tensor, an array, or a list of numbers and None to (N,) fp32; NaN where a value is not finite."""
    request = f"return one number, or None, for each of the {len(completions)} completions; {REMEDY}"
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        values = torch.tensor(
            [_number(name, row, value, completions) for row, value in enumerate(values)], dtype=torch.float64
        )
    if not isinstance(values, Tensor) or values.is_complex():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise RewardFailure(f"reward term {name!r} returned a {kind}; {request}")
    if values.shape != (len(completions),):
        raise RewardFailure(f"reward term {name!r} returned shape {tuple(values.shape)}; {request}")
    numbers = values.detach().float().cpu()
    return numbers.where(numbers.isfinite(), torch.nan)


def _number(name: str, row: int, value: Any, completions: Sequence[str]) -> float:
    if isinstance(value, Tensor | np.generic) and value.ndim == 0:
        value = value.item()
    if value is None or isinstance(value, Real):
        return torch.nan if value is None else float(value)
    description = f"{type(value).__name__} {_brief(str(value), SHORT)!r}"
    raise RewardFailure(
        f"reward term {name!r} is {description} in {_place(row, completions)}; return a number, or None; {REMEDY}"
    )


def _exception_sentence(error: BaseException, file: Path | None = None) -> str:
    """The exception and its line: the innermost one in the user's own `file`, or of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own_frames = [
        frame for frame in frames if file is not None and Path(frame.filename).absolute() == file.absolute()
    ]
    line = (own_frames or frames)[-1]
    message = _brief(str(error), LONG)
    return f"raised {type(error).__name__}{f': {message}' if message else ''} ({line.filename}:{line.lineno})"


def _batch(texts: Sequence[str]) -> str:
    return f"a batch of {len(texts)}" + (
        f", the first {texts[0]!r}" if texts and len(texts[0]) <= SHORT else ""
    )


def _place(row: int, completions: Sequence[str]) -> str:
    return (
        f"row {row}, completion {_brief(completions[row], SHORT)!r}"
        if row < len(completions)
        else f"row {row}"
    )


def _brief(text: str, length: int) -> str:
    """The text in one line of at most `length` characters, then "..."."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]}..."
