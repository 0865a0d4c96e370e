"""Runs commands of the project as processes of their own, some of them side by side: memory is freed, and one that is
killed takes nothing else with it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from data.console import say
from data.errors import Interrupted
from data.system import ask_to_stop, child_options
from grpo.runtime.interrupt import StopRequest

POLL = 0.1  # seconds between two looks at the children
# what makes a process one of several
TEAM = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")


@dataclass(frozen=True)
class Job:
    """`python -m *command`. What it prints goes to the console behind `name`, and to log.txt in `folder`; file
    descriptors in `keep` stay open in it.
    """

    command: Sequence[str]
    name: str
    folder: Path
    keep: Sequence[int] = ()


class Child:
    """A job that runs.

    It looks for modules where this process does, so -P leaves out the working folder, which may have a `data` of its
    own. Ctrl-C reaches only this process, as the child has a group of its own. Where this process is one of several,
    the child is none of them, but uses the same card.
    """

    def __init__(self, job: Job):
        job.folder.mkdir(parents=True, exist_ok=True)
        self.log = open(job.folder / "log.txt", "a", encoding="utf-8")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", *job.command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace", **child_options(job.keep),
            env={name: value for name, value in os.environ.items() if name not in TEAM}
            | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.copier = threading.Thread(target=copy_lines, args=(self.process.stdout, job.name, self.log))
        self.copier.start()

    def close(self) -> int:
        """The exit code of an ended child, with all that it printed copied."""
        self.process.wait()
        self.copier.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()
        return self.process.returncode


def copy_lines(lines: TextIO, name: str, log: TextIO) -> None:
    prefix = f"{name} | "
    for line in lines:
        say(prefix + line.rstrip().removeprefix(prefix))  # a child of a child may have the same name
        log.write(line)
        log.flush()


def run_child(job: Job) -> int:
    """Its exit code, or minus the signal that ended it. Raises Interrupted as `run_children`."""
    return run_children([job], 1)[0]


def run_children(jobs: Sequence[Job], at_most: int) -> list[int]:
    """Every job, in order, at most so many at a time: their exit codes, or minus the signals that ended them.

    Raises Interrupted when this process was asked to stop: it asks the children, which save and end first, and starts
    no other. A second request is passed on too.
    """
    codes: dict[int, int] = {}
    children: dict[int, Child] = {}
    is_passed_on = False
    with StopRequest() as stop:
        try:
            while children or (len(codes) < len(jobs) and not stop()):
                num_started = len(codes) + len(children)
                if num_started < len(jobs) and len(children) < at_most and not stop():
                    children[num_started] = Child(jobs[num_started])
                    continue
                numbers = [number for number, child in children.items() if child.process.poll() is not None]
                codes |= {number: children.pop(number).close() for number in numbers}
                if stop.signal is not None and not is_passed_on:
                    is_passed_on = True
                    signal_all(children, stop.signal)
                if not numbers:
                    time.sleep(POLL)
        except KeyboardInterrupt:
            signal_all(children, signal.SIGINT)
            raise
        finally:
            for child in children.values():
                child.close()
    if stop():
        raise Interrupted(stop.signal)
    return [codes[number] for number in range(len(jobs))]


def signal_all(children: dict[int, Child], number: int) -> None:
    for child in children.values():
        ask_to_stop(child.process, number)
