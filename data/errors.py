"""The exception for bad input, and how a command ends: its last line and its exit code."""

import signal
import sys
from collections.abc import Callable


class InputError(ValueError):
    """Bad input: one sentence with what is wrong, where (file, line or key) and what to write instead. Ends a
    command with exit code 2.
    """


class TrainingFailure(Exception):
    """The numbers of training are wrong, and to go on would be of no use; ends a command with exit code 1."""


# what the message of an error has that comes from the machine and not from the program: what to do about it
MACHINE = {
    "CUDA out of memory": "lower eval.batch_size or --batch-size, or end what else runs on the card (nvidia-smi)",
    "can't allocate memory": "the machine has no memory left: end other programs, take a smaller model, or see docs/memory.md",
    "no kernel image is available": "this torch has no code for this card: install a build of torch for it, or write device=cpu",
    "driver version is insufficient": "update the driver of the card, or install a build of torch for its CUDA version",
    "driver on your system is too old": "update the driver of the card, or install a build of torch for its CUDA version",
}
NO_MEMORY = "can't allocate memory"
MAX_CHARACTERS = 600  # of a message on a terminal, and how many of them are its end
END_CHARACTERS = 200


def one_line(error: BaseException | str) -> str:
    """The message in one line without control characters, the middle of a very long one left out."""
    words = " ".join(str(error).split())
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in words)
    return (
        line
        if len(line) <= MAX_CHARACTERS
        else f"{line[: MAX_CHARACTERS - END_CHARACTERS]} ... {line[-END_CHARACTERS:]}"
    )


class Interrupted(Exception):
    """The user asked to stop, and the work so far is saved. Arguments: the signal number and, where known,
    the place of what is saved.
    """


RESUMES = "goes on from what was last saved"  # `after_stop` of a command that resumes


def error_sentence(error: Exception, after_stop: str = "") -> str:
    """An error of the operating system as file, problem and remedy; any other error as its own message."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}; put that right and run the same command{after_stop and f', which {after_stop}'}"


def machine_sentence(error: Exception) -> str:
    """What the machine lacks and what to do, in one sentence; "" for any other error.

    >>> machine_sentence(MemoryError())
    "can't allocate memory; the machine has no memory left: end other programs, take a smaller model, or see docs/memory.md"
    """
    message = str(error) or (NO_MEMORY if isinstance(error, MemoryError) else "")
    first = one_line(message.partition("\n")[0].partition(". ")[0])
    return next((f"{first}; {remedy}" for part, remedy in MACHINE.items() if part in message), "")


def run_command(work: Callable[[], int | None], after_stop: str = "") -> int:
    """Run a command and return its exit code; its last line goes to standard error. `after_stop`: what the
    same command does after a stop.

    `work`'s own code, 0 for None; otherwise that of `last_words`.
    """
    try:
        return work() or 0
    except (Exception, KeyboardInterrupt) as error:
        ending = last_words(error, after_stop)
        if ending is None:
            raise
        print(ending[0], file=sys.stderr)
        return ending[1]


def last_words(error: BaseException, after_stop: str = "") -> tuple[str, int] | None:
    """The last line and the exit code of a command that ends by `error`: 1 where training failed, 2 for bad
    input, 128 + the signal when asked to stop. None for an error that nobody foresaw.
    """
    match error:
        case BrokenPipeError():
            more = f"; the same command {after_stop}" if after_stop else ""
            return f"error: whoever read the output has closed the pipe before its end{more}", 2
        case InputError() | OSError():
            return f"error: {one_line(error_sentence(error, after_stop))}", 2
        case TrainingFailure():
            return f"error: {one_line(error)}", 1
        case MemoryError() | RuntimeError() if sentence := machine_sentence(error):
            return f"error: {sentence}", 2
        case Interrupted():
            number, *places = error.args
            places_text = "".join(f" ({place})" for place in places)
            return (
                f"stopped and saved; the same command goes on from there{places_text}",
                128 + (number or signal.SIGINT),
            )
        case KeyboardInterrupt():
            return (
                f"stopped at once{after_stop and f'; the same command {after_stop}'}",
                128 + signal.SIGINT,
            )
    return None
