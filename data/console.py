"""Prints lines for a person at a terminal. A terminal that goes away (a closed window, a broken pipe) never ends a run."""

import os
import sys

LOUD = ("WARNING", "ALARM", "CONTROL")  # lines that begin so stand out
BOLD_YELLOW = "\033[1;33m"
PLAIN = "\033[0m"


def silent(text: str) -> None:
    """Print nothing: for the processes after the first, whose lines would all be said twice."""


def say(text: str) -> None:
    """Print one line now. Where it cannot be printed, this line and all later ones are dropped."""
    try:
        print(terminal_text(text), flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def terminal_text(text: str) -> str:
    """The text as a terminal shows it: in bold yellow where it begins with a word of LOUD, unless NO_COLOR is set
    (no-color.org).
    """
    stream = getattr(sys.stdout, "rich_proxied_file", sys.stdout)  # under a live table
    is_loud = text.lstrip().startswith(LOUD) and stream.isatty() and not os.environ.get("NO_COLOR")
    return f"{BOLD_YELLOW}{text}{PLAIN}" if is_loud else text


def number_of(number: int, noun: str) -> str:
    """A number with its noun.

    >>> number_of(1, "line"), number_of(2000, "line")
    ('1 line', '2,000 lines')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
