"""The exception for what a user can put right, and what a command says and returns when it ends early."""

import signal
import sys
from collections.abc import Callable


class InputError(ValueError):
    """Says in one sentence what is wrong, where (file, line or key) and what to write instead; ends a command with exit code 2."""


LONGEST, END = 600, 200  # characters of a sentence on a terminal, and how many of them are its end


def one_line(error: BaseException | str) -> str:
    """What is said to the user: one line without control characters, the middle of a very long one left out."""
    words = " ".join(str(error).split())
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in words)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - END]} ... {line[-END:]}"


class Interrupted(Exception):
    """The user asked to stop; what is done is saved. Carries the signal number."""


def in_words(error: Exception) -> str:
    """An error of the operating system as the file, what is wrong and what to do; any other as it is."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}; put that right and run the same command, which goes on from what was last saved"


def exit_code_of(work: Callable[[], int]) -> int:
    """What a command returns: its own code, 2 for what the user can put right, 130 or 143 when asked to stop."""
    try:
        return work()
    except (InputError, OSError) as error:
        print(f"error: {one_line(in_words(error))}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print("stopped and saved; the same command goes on from there", file=sys.stderr)
        return 128 + (stop.args[0] or signal.SIGINT)
    except KeyboardInterrupt:
        print("stopped at once; the same command goes on from what was last saved", file=sys.stderr)
        return 128 + signal.SIGINT
