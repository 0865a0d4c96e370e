"""Reports the progress of a long loop: a line at its beginning and one after each tenth, none for a short
loop. No clock.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Say = Callable[[str], None]
LONG = 30_000  # items


def with_progress(items: Sequence[Item], work: str, say: Say) -> Iterator[Item]:
    """Yield the items and report progress; `work` says what is done with them, as in "comparing 20,000 source
    texts".
    """
    if len(items) < LONG:
        yield from items
        return
    say(f"data: {work} ...")
    for number, item in enumerate(items):
        if number and number * 10 // len(items) > (number - 1) * 10 // len(items):
            say(f"data: {work}: {number * 100 // len(items)} %")
        yield item
