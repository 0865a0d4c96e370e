"""What operating systems do differently: locks, reads at a place, flushing, signals, processes, memory, a user's
folders. Each has something that runs where the call is missing.

Linux has all calls, macOS lacks some, Windows most. What was tried on which: docs/install.md.
"""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    resource = None  # type: ignore[assignment]

IS_WINDOWS = sys.platform == "win32"
BINARY = getattr(os, "O_BINARY", 0)  # else Windows changes the ends of lines
# the byte that stands for the file: Windows locks bytes, which nobody else may then read
LOCK_PLACE = 2**31 - 2
LOCK_POLL = 0.1  # seconds
HANGUP = getattr(signal, "SIGHUP", None)  # a terminal was closed or a connection lost
# by which a user or a scheduler asks a process to stop
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
CACHES = {"darwin": "~/Library/Caches", "win32": "~/AppData/Local"}  # by sys.platform
_place_of_descriptor = threading.Lock()  # who moves it


def link(place: Path, target: str) -> None:
    """Make `place` a link to the file `target` beside it; nothing where it is taken, or where links cannot be made."""
    with suppress(OSError):
        place.symlink_to(target)


def lock(descriptor: int, *, wait: bool = False) -> None:
    """Lock an open file for this process, and for those that it hands the descriptor to, until all have closed it.

    Raises BlockingIOError where another process has the lock and `wait` is off, OSError on a disk without locks.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    while not _has_locked_byte(descriptor):
        if not wait:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        time.sleep(LOCK_POLL)


def _has_locked_byte(descriptor: int) -> bool:
    import msvcrt

    calls: Any = msvcrt
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, LOCK_PLACE, os.SEEK_SET)
    try:
        calls.locking(descriptor, calls.LK_NBLCK, 1)
    except PermissionError:
        return False
    finally:
        os.lseek(descriptor, place, os.SEEK_SET)
    return True


def read_at(descriptor: int, size: int, place: int) -> bytes:
    """At most `size` bytes from `place` on, by any number of threads."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, place)
    with _place_of_descriptor:
        os.lseek(descriptor, place, os.SEEK_SET)
        return os.read(descriptor, size)


def write_at(descriptor: int, content: bytes | bytearray, place: int) -> int:
    """Write from `place` on, by any number of threads; how many bytes were written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, content, place)
    with _place_of_descriptor:
        os.lseek(descriptor, place, os.SEEK_SET)
        return os.write(descriptor, content)


def fsync_path(path: Path) -> None:
    """Flush one file or folder entry to disk; Windows has no flush of a folder, and flushes what is open to write."""
    if IS_WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if IS_WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def child_options(descriptors: Sequence[int] = ()) -> dict[str, Any]:
    """Options of Popen by which Ctrl-C reaches only this process, and `descriptors` stay open in the child; on Windows
    none does.
    """
    if IS_WINDOWS:
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"process_group": 0, "pass_fds": tuple(descriptors)}


def ask_to_stop(child: subprocess.Popen[str], number: int) -> None:
    """Send a signal to a child with `child_options`; Windows has only Ctrl-Break for one."""
    child.send_signal(getattr(signal, "CTRL_BREAK_EVENT", number))


def has_child() -> bool:
    """Whether this process started another one that it has not seen end; True where the system does not say."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def usable_cores() -> int:
    """Cores that this process may use; where the system does not say, all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_bytes() -> int:
    """The largest resident size of this process so far; 0 where the system does not say. macOS counts it in bytes,
    others in kilobytes.
    """
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def total_memory_bytes() -> float:
    """Memory of the machine; infinite where the system does not say."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")


def user_cache() -> Path:
    """The folder for caches of this user: XDG_CACHE_HOME, which its specification says to ignore where it is not
    absolute, or that of the platform.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return folder if folder.is_absolute() else Path(CACHES.get(sys.platform, "~/.cache"))
