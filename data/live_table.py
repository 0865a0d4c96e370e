"""How far a piece of work is, in one table at the bottom of a terminal. Lines that are printed meanwhile stay above it.

Elsewhere there is no table: in a pipe, under CI, where TERM says that the cursor cannot move, and in the processes
after the first.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from data.terminal_table import TerminalTable

Item = TypeVar("Item")
STILL = ("dumb", "unknown")  # values of TERM
UP, DOWN = "↑", "↓"
_open: list["TerminalTable"] = []  # the table of this process, if there is one: it has one terminal


def has_terminal() -> bool:
    """Whether standard error is a terminal for a table."""
    is_first = os.environ.get("RANK", "0") == "0"
    can_move = os.environ.get("TERM") not in STILL and not os.environ.get("CI")
    encoding = sys.stderr.encoding or "utf-8"
    return sys.stderr.isatty() and is_first and can_move and encoding.lower().startswith("utf")


@contextmanager
def live_table(
    *, is_shown: bool | None = None, is_transient: bool = False
) -> Iterator["TerminalTable | None"]:
    """The table of a block, which joins that of a block around it; None where there is none.

    is_shown      whether standard output leaves room for it; the default is that both streams are one terminal
    is_transient  whether it is wiped at the end of the block; else its last state remains
    """
    is_shown = sys.stdout.isatty() if is_shown is None else is_shown
    if _open or not (is_shown and has_terminal()):
        yield _open[-1] if _open else None
        return
    from data.terminal_table import TerminalTable

    _open.append(TerminalTable(is_transient))
    try:
        yield _open[-1]
    finally:
        _open.pop().close()


class CountRow:
    """A row that says how many of `total` are done, and how long the rest takes at the speed so far."""

    def __init__(self, table: "TerminalTable | None", label: str, total: int, done: int = 0) -> None:
        self.table = table
        self.label = label
        self.total = total
        self.first = self.done = done
        self.began = time.monotonic()
        self.add(0)

    def add(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        if self.table:
            self.table.put(self.label, f"{self.done:,} of {self.total:,}", self.left())
            self.table.draw_soon()

    def left(self) -> str:
        """The time for the rest, "" before there is a speed."""
        new = self.done - self.first
        seconds = (time.monotonic() - self.began) / new * (self.total - self.done) if new > 0 else 0.0
        return time_text(seconds) if seconds else ""


def with_count(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Yield the items, and count them in a row of the table."""
    with live_table(is_transient=True) as table:
        row = CountRow(table, label, total)
        for item in items:
            yield item
            row.add()


def time_text(seconds: float) -> str:
    """
    >>> time_text(11.6), time_text(207.0)
    ('12 s left', '3.5 min left')
    """
    return f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.1f} min left"


def change_text(first: float, now: float) -> str:
    """What has become of a number; "" where it is as it was.

    >>> change_text(0.5, 0.25), change_text(0.5, 2.0), change_text(0.5, 0.5)
    ('↓ from 0.5', '↑ from 0.5', '')
    """
    return f"{UP if now > first else DOWN} from {first:.3g}" if now != first else ""
