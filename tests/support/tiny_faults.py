"""Faults for a run in a process of its own: each is a function that is called before the run begins, and can
be pickled.
"""

import importlib
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

Fault = Callable[[], object]


def at_call(target: str, number: int, action: Fault, after: bool = False) -> None:
    """From now on the `number`-th call of "module:name" is preceded, or followed, by `action`."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real = getattr(owner, name)
    calls = 0

    def faulty(*arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        ours = calls == number
        if ours and not after:
            action()
        result = real(*arguments, **settings)
        if ours and after:
            action()
        return result

    setattr(owner, name, faulty)


def send(number: int) -> None:
    """This process gets a signal."""
    os.kill(os.getpid(), number)


def full_disk(size: int) -> None:
    """From now on no file grows beyond `size` bytes: the write fails as on a full disk, and really."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def poison(first: int, count: int) -> None:
    """The GRPO loss of `count` updates of this process is NaN, the `first`-th (from 1) being the first."""
    from grpo import loop

    real = loop.grpo_loss
    calls = 0

    def poisoned(*arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        value, stats = real(*arguments, **settings)
        return value * (float("nan") if first <= calls < first + count else 1.0), stats

    loop.grpo_loss = poisoned


KILL: Fault = partial(send, signal.SIGKILL)
RENAME = "data.cache:os.replace"


def save_phases(number: int) -> dict[str, Fault]:
    """kill -9 at each phase of the `number`-th checkpoint that a process writes; in phase "pruning" it must
    have one to delete.
    """
    written = partial(at_call, "grpo.runtime.checkpoint:write_checksums", number)
    return {
        "after the parameters": partial(
            at_call, "grpo.runtime.checkpoint:save_file", 2 * number - 1, KILL, after=True
        ),
        "after the moments": partial(
            at_call, "grpo.runtime.checkpoint:save_file", 2 * number, KILL, after=True
        ),
        "before the checksums": partial(written, KILL),
        "before the rename": partial(written, partial(at_call, RENAME, 1, KILL), after=True),
        "after the rename": partial(written, partial(at_call, RENAME, 1, KILL, after=True), after=True),
        "pruning": partial(
            at_call, "grpo.runtime.checkpoint:remove_folder", 1, partial(at_call, RENAME, 1, KILL, after=True)
        ),
    }
