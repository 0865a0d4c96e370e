"""How a process of several ends: all of them together, with one last line and the exit code of the first failure."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIG_IGN, SIGINT, signal

import torch

from data.errors import Interrupted, last_words, one_line
from data.system import STOP_SIGNALS
from grpo.runtime.alive import Failure
from grpo.runtime.parallel import World, leave
from grpo.runtime.roll_call import AS_BEFORE


@contextmanager
def shared_ending(world: World, after_stop: str) -> Iterator[None]:
    """End all processes where the work of one ends. `after_stop`: what the same command does after a stop.

    Raises Interrupted in the first process and SystemExit in the others where they were stopped; by any other
    error the process itself ends here, where there are several. Where one has ended, torchrun sends a signal to
    the others, which comes too early for what they still have to say.
    """
    try:
        yield
    except Interrupted as stop:
        ignore_signals(world)
        number = stop.args[0] or SIGINT
        leave(world, number)
        if world.is_first:
            raise
        raise SystemExit(128 + number) from stop
    except (Exception, KeyboardInterrupt) as error:
        ignore_signals(world)
        if world.watch:
            world.watch.fail(failure_of(error, world.watch.name, after_stop))
        raise
    leave(world)


def ignore_signals(world: World) -> None:
    """From now on, where there are several processes."""
    for number in STOP_SIGNALS if world.watch else ():
        signal(number, SIG_IGN)


def failure_of(error: BaseException, name: str, after_stop: str) -> Failure:
    """What an error of the process called `name` means for all. An exchange with a process that died raises
    RuntimeError, and so does much else.
    """
    words = last_words(error, after_stop)
    if words:
        return Failure(f"{words[0].removeprefix('error: ')} [{name}]", words[1])
    sentence = f"{name} failed: {type(error).__name__}: {one_line(error)}; {AS_BEFORE}"
    is_doubtful = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
    trace = "".join(traceback.format_exception(error))
    return Failure(sentence, 1, trace, is_doubtful)
