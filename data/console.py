"""Prints lines for a person at a terminal. A terminal that goes away (a closed window, a broken pipe) never
ends a run.
"""

import os
import sys


def silent(text: str) -> None:
    """Print nothing: for the processes after the first, whose lines would all be said twice."""


def say(text: str) -> None:
    """Print one line now. Where it cannot be printed, this line and all later ones are dropped."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
