"""A child process on a pseudo-terminal, and what its screen shows at the end."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from repository import ROOT

PART = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def output_in_terminal(code: str, columns: int, *, last: str = "", **variables: str) -> str:
    """All that the Python `code` writes to a terminal of so many columns, which goes away after `last` where that is
    given. Its exit code must be 0.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    names = ("PATH", "HOME", "LD_LIBRARY_PATH")
    env = {name: os.environ[name] for name in names if name in os.environ}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    env |= {"TERM": "xterm-256color", "PYTHONUTF8": "1", **variables}
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=ROOT
    )
    os.close(theirs)
    written = b""
    while (part := read(ours)) and not (last and last.encode() in written):
        written += part
    os.close(ours)
    assert child.wait() == 0, written.decode()
    return written.decode()


def read(descriptor: int) -> bytes:
    """The next bytes; none once the other end is closed, which Linux reports as an error."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def screen_of(output: str) -> list[str]:
    """The lines that are on the screen after `output`; no more sequences than a table needs are known."""
    lines = [""]
    row = column = 0
    for arguments, command, control, text in PART.findall(output):
        if control == "\r":
            column = 0
        elif control == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif command == "A":
            row -= int(arguments or 1)
        elif command == "K":
            lines[row] = ""
        elif text:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + text + line[column + len(text) :]
            column += len(text)
        else:
            assert command in "mhl", f"{command} is not known"
    return [line.rstrip() for line in lines]
