"""A completion that is being written: its tokens, its text so far, and why it ended."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from grpo.engine.draw import uniforms_for

STOP = "stop"  # reasons to end, as OpenAI names them
LENGTH = "length"
UNFINISHED = "\ufffd"  # stands at the end of a text whose last character lacks some bytes
Read = Callable[[Sequence[int]], str]  # token ids of a completion -> its text


@dataclass(frozen=True)
class Wish:
    """How a completion is made. `temperature` 0 takes the most likely token; a draw is a function of seed, number of
    the sample and token. `stops` are texts that end it; they are no part of it.
    """

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    stops: tuple[str, ...] = ()


@dataclass
class Row:
    """A prompt with its completion. `shown` is what of the text no later token can change; `reason` is "" until the
    end.
    """

    prompt: Sequence[int]
    wish: Wish
    uniforms: Tensor
    ids: list[int] = field(default_factory=list)
    shown: str = ""
    reason: str = ""

    @classmethod
    def of(cls, prompt: Sequence[int], wish: Wish, number: int) -> "Row":
        """Sample `number` of a prompt."""
        return cls(prompt, wish, uniforms_for((wish.seed,), [number], wish.max_tokens)[0])

    def take(self, token: int, stop_ids: Collection[int], read: Read) -> str:
        """Add a token; what the text that is shown gains by it."""
        self.ids.append(token)
        text = read(self.ids)
        place = first_stop(text, self.wish.stops)
        if place is not None or token in stop_ids:
            self.reason = STOP
        elif len(self.ids) == self.wish.max_tokens:
            self.reason = LENGTH
        text = text if place is None else text[:place]
        return self._show(text if self.reason else cut_open_end(text, self.wish.stops))

    def _show(self, text: str) -> str:
        if not text.startswith(self.shown):  # the end of a text that is about to change
            return ""
        new = text[len(self.shown) :]
        self.shown = text
        return new


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of the stops begins.

    >>> first_stop("one, two", (" ", ","))
    3
    """
    return min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)


def cut_open_end(text: str, stops: Sequence[str]) -> str:
    """The text without an end that may be the beginning of a stop or of a character.

    >>> cut_open_end("one END", ("ENDE",)), cut_open_end("caf\\ufffd", ())
    ('one ', 'caf')
    """
    text = text.rstrip(UNFINISHED)
    begun = (
        size
        for stop in stops
        for size in range(min(len(stop) - 1, len(text)), 0, -1)
        if text.endswith(stop[:size])
    )
    return text[: len(text) - max(begun, default=0)]
