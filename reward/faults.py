"""What can go wrong while completions are judged: a value that is missing, which costs that completion its
reward, and a failure.

A term says "I cannot judge this one" with NaN, None or an infinity; `judged` makes all of them NaN.
Everything else that goes wrong - a term or an encoder that raises, an answer of another shape or type, a gate
outside [0, 1], a whole batch without a reward - is a `RewardFailure`, one sentence with cause, place and
remedy. Not here: what is done about it; whoever trains can save and stop, for a reward comes before anything
has moved.
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
from reward.own_term import is_own_term

if TYPE_CHECKING:
    from reward.encoder import Encoder

Term = Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], Any]
REMEDY = "correct it and run the same command"
SHORT = 80  # characters of a completion that fit into a sentence
LONG = 300  # of an exception's message


class RewardFailure(InputError):
    """The reward of these completions cannot be had; one sentence. Nothing has been changed."""


def judged(
    name: str,
    term: Term,
    sources: Sequence[str],
    completions: Sequence[str],
    references: Sequence[Sequence[str]],
) -> Tensor:
    """What a term says of N rows: (N,) fp32 on the CPU, NaN where it cannot judge. Raises RewardFailure."""
    try:
        return _numbers(
            name, term(list(sources), list(completions), list(references)), completions
        )  # copies: it may change its own
    except (RewardFailure, MemoryError):
        raise
    except InputError as error:  # says where and what itself
        raise RewardFailure(f"{error}") from error
    except Exception as error:
        file = user_path(name.partition(":")[0]) if is_own_term(name) else None
        raise RewardFailure(
            f"reward term {name!r} {_raised(error, file)}, on {_batch(completions)}; {REMEDY}"
        ) from error


class NamedEncoder:
    """An encoder that says its name when it fails, so that no term is blamed for it."""

    def __init__(self, name: str, encoder: "Encoder") -> None:
        self.name = name
        self.encoder = encoder
        self.dim = encoder.dim
        self.fingerprint = encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim). Raises RewardFailure."""
        try:
            return self.encoder.encode(texts)
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise RewardFailure(
                f"encoder {self.name!r} {_raised(error)}, on {_batch(texts)}; {REMEDY}"
            ) from error


def check_gate(name: str, values: Tensor, completions: Sequence[str]) -> None:
    """A gate lies in [0, 1], or is missing. Raises RewardFailure naming the first row that does not."""
    if rows := ((values < 0) | (values > 1)).nonzero().flatten().tolist():
        row = rows[0]
        raise RewardFailure(
            f"gate {name!r} is {values[row].item()} in {_place(row, completions)}; a gate lies in [0, 1]; {REMEDY}"
        )


def check_any(rewards: Tensor, terms: Mapping[str, Tensor], completions: Sequence[str]) -> None:
    """Refuse a batch in which every completion lost its reward; `terms`: those that count. Raises
    RewardFailure.
    """
    if completions and rewards.isnan().all():
        causes = [line for name, values in terms.items() if (line := missing(name, values, completions))]
        raise RewardFailure(f"no completion has a reward: {' and '.join(causes)}; {REMEDY}")


def missing(name: str, values: Tensor, completions: Sequence[str]) -> str:
    """How many completions a term could not judge and the first of them; "" when there is none.

    >>> missing("fluent", torch.tensor([0.5, torch.nan]), ["yes", "no"])
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
    """A tensor, an array or a list of numbers and None -> (N,) fp32, NaN where it is not finite."""
    wanted = f"return one number, or None, for each of the {len(completions)} completions; {REMEDY}"
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        values = torch.tensor(
            [_number(name, row, value, completions) for row, value in enumerate(values)], dtype=torch.float64
        )
    if not isinstance(values, Tensor) or values.is_complex():
        found = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise RewardFailure(f"reward term {name!r} returned a {found}; {wanted}")
    if values.shape != (len(completions),):
        raise RewardFailure(f"reward term {name!r} returned shape {tuple(values.shape)}; {wanted}")
    numbers = values.detach().float().cpu()
    return numbers.where(numbers.isfinite(), torch.nan)


def _number(name: str, row: int, value: Any, completions: Sequence[str]) -> float:
    if isinstance(value, Tensor | np.generic) and value.ndim == 0:
        value = value.item()
    if value is None or isinstance(value, Real):
        return torch.nan if value is None else float(value)
    found = f"{type(value).__name__} {_brief(str(value), SHORT)!r}"
    raise RewardFailure(
        f"reward term {name!r} is {found} in {_place(row, completions)}; return a number, or None; {REMEDY}"
    )


def _raised(error: Exception, file: Path | None = None) -> str:
    """What was raised and the line: the innermost one of the user's own `file`, or of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if file is not None and Path(frame.filename).absolute() == file.absolute()
    ]
    line = (own or frames)[-1]
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


def _brief(text: str, most: int) -> str:
    """In one line, cut after `most` characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."
