"""The tiny run by several processes, which a test can kill, suspend or make fail one by one; process 0 keeps the
store, as without torchrun.
"""

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from tiny_faults import Fault
from tiny_run import nothing, start, wait_for_exit

PATIENCE = 8  # seconds; the least that a configuration may have, 5, is too short on a busy machine


@dataclass
class Team:
    """Started processes in order of rank, and where to read what each prints."""

    processes: list[BaseProcess]
    printed: list[Connection]

    def wait_until_joined(self) -> None:
        """The first process prints its first line once all have joined."""
        self.printed[0].poll(None)

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to a process, unless it has ended."""
        process = self.processes[rank]
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, number)

    def ends(self) -> list[tuple[int | None, str]]:
        """Of each process its exit code, or minus the signal that killed it, and all that it printed."""
        return [wait_for_exit(*pair) for pair in zip(self.processes, self.printed, strict=True)]


def start_team(argv: Sequence[str], size: int, faults: Mapping[int, Fault] | None = None) -> Team:
    """The command as `size` processes; `faults` by rank are called before it begins."""
    port = free_port()
    argv = [*argv, f"parallel.patience={PATIENCE}"]
    started = [
        start(argv, partial(join_team, rank, size, port, (faults or {}).get(rank, nothing)))
        for rank in range(size)
    ]
    return Team([process for process, _ in started], [printed for _, printed in started])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def join_team(rank: int, size: int, port: int, fault: Callable[[], object]) -> None:
    """torchrun's variables, as the process itself would find them; signals that tests in the background ignore
    act again.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    fault()
