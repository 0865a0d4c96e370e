"""The one exception for what a user can put right: a file, a line of it, a setting."""


class InputError(ValueError):
    """Says in one sentence what is wrong, where (file, line or key) and what to write instead; ends a command with exit code 2."""


LONGEST, END = 600, 200  # characters of a sentence on a terminal, and how many of them are its end


def one_line(error: BaseException | str) -> str:
    """What is said to the user: one line without control characters, the middle of a very long one left out."""
    words = " ".join(str(error).split())
    line = "".join(character if character.isprintable() else repr(character)[1:-1] for character in words)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - END]} ... {line[-END:]}"
