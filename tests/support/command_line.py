"""A command called in this process."""

import contextlib
import io
from collections.abc import Callable


def outcome(command: Callable[[list[str]], int], argv: list[str]) -> tuple[int, str]:
    """Exit code and standard error; argparse's SystemExit counts as its code."""
    said = io.StringIO()
    ignored = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(ignored):
        try:
            code = command(argv)
        except SystemExit as stop:
            assert isinstance(stop.code, int), stop.code
            code = stop.code
    return code, said.getvalue()
