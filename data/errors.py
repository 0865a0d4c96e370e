"""The exception for what a user can put right, and what a command says and returns when it ends early."""

import signal
import sys
from collections.abc import Callable


class InputError(ValueError):
    """Says in one sentence what is wrong, where (file, line or key) and what to write instead; ends a command
    with exit code 2.
    """


class TrainingFailure(Exception):
    """The numbers of training are wrong, and to go on would be of no use; ends a command with exit code 1."""


LONGEST = 600  # characters of a sentence on a terminal, and how many of them are its end
END = 200


def one_line(error: BaseException | str) -> str:
    """What is said to the user: one line without control characters, the middle of a very long one left
    out.
    """
    words = " ".join(str(error).split())
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in words)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - END]} ... {line[-END:]}"


class Interrupted(Exception):
    """The user asked to stop; what is done is saved. Carries the signal number and, where one is known, the
    place of what is saved.
    """


GOES_ON = "goes on from what was last saved"  # what the same command does after a stop, for `run_command`


def in_words(error: Exception, again: str = "") -> str:
    """An error of the operating system as the file, what is wrong and what to do; any other as it is."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}; put that right and run the same command{again and f', which {again}'}"


def run_command(work: Callable[[], int | None], again: str = "") -> int:
    """The exit code of a command, whose last words go to standard error; `again`: what the same command does
    after a stop.

    `work`'s own code, 0 for None; 1 where training failed, 2 for what the user can put right, 128 + the
    signal when asked to stop.
    """
    try:
        return work() or 0
    except (InputError, OSError) as error:
        return _last_words(f"error: {one_line(in_words(error, again))}", 2)
    except TrainingFailure as error:
        return _last_words(f"error: {one_line(error)}", 1)
    except Interrupted as stop:
        number, *places = stop.args
        saved = "".join(f" ({place})" for place in places)
        return _last_words(
            f"stopped and saved; the same command goes on from there{saved}", 128 + (number or signal.SIGINT)
        )
    except KeyboardInterrupt:
        return _last_words(f"stopped at once{again and f'; the same command {again}'}", 128 + signal.SIGINT)


def _last_words(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
