"""Sees whether the processes of a run are alive, and ends this one with one sentence where another has failed.

Every process writes a beat into the store of the run each second, and reads those of the others; what follows
from them is in grpo/runtime/roll_call.py. Two threads do that, because a main thread in an exchange with a dead
process cannot be interrupted: one talks to the store, and one sees whether the store still answers. The first
failure that a process finds or has is the verdict of all. One process of each machine prints it, and all end
with its exit code.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from os import _exit as end_process  # at once, whatever the main thread is in
from typing import Any, NoReturn

import torch.distributed as dist

from data.errors import Interrupted
from data.system import has_child
from grpo.runtime.interrupt import active
from grpo.runtime.roll_call import AS_BEFORE, LOOK_SECONDS, UNKNOWN, Beat, RollCall

INTERVAL = 1.0  # seconds from one beat to the next
QUICK = 0.05  # the same while this process ends
HURRY = 10.0  # seconds of silence that are enough after a request to stop: who asks also kills, and soon
GRACE = 12.0  # seconds in which the beats can tell whose failure an error in an exchange comes from
GRACE_SILENCE = 5.0  # and of silence that are enough then
LINGER = 2.5  # seconds in which all others read the verdict, before this process ends and perhaps the store with it
BUSY = 0.01  # of a core: less is what the threads of a process take that does nothing


@dataclass(frozen=True)
class Failure:
    """How the work of this process failed. `is_doubtful`: perhaps only because another process did."""

    sentence: str
    code: int
    trace: str = ""
    is_doubtful: bool = False


class Watch:
    """The beats of this process and its look at those of the others. Made and used by the main thread."""

    def __init__(
        self,
        store: dist.TCPStore,
        rank: int,
        size: int,
        patience: float,
        *,
        store_of_agent: bool,
        prefix: str,
    ):
        """`store_of_agent`: torchrun keeps the store; otherwise process 0 does."""
        self.rank = rank
        self.size = size
        self.patience = patience
        self._stop = 0  # the signal that asked this process to stop
        self.collectives: Callable[[], int] = lambda: UNKNOWN
        self._first = Beat(rank, socket.gethostname(), os.getpid())
        self.store = store
        # a connection of its own for the beats: no thread waits for what another one reads
        self._own_store = dist.TCPStore(store.host, store.port, wait_for_workers=False)
        self.prefix = prefix
        self._keeper = "torchrun" if store_of_agent else "process 0"
        self._roll = RollCall(size, patience)
        self._doing = self._first.doing
        self._waits = False
        self._end = ""
        self._failure: Failure | None = None
        self._doubt = 0.0  # seconds since a doubtful failure
        self._signs: tuple[int, int, float] = (0, 0, 0.0)  # of work: reports, collectives, processor seconds
        self._idle = 0.0
        self._reports = 0
        self._looks = 0
        self._meetings = 0
        self._read_by_all = ""  # the key of an earlier value
        self._wake = threading.Event()
        self._over = threading.Event()
        self._keys = [self._key("verdict"), *(self._key("beat", other) for other in range(size))]

    def start(self) -> None:
        """Begin to beat and to look."""
        for key in self._keys:  # a key that is missing would be waited for
            self._own_store.compare_set(key, "", "")
        for work in (self._talk, self._guard):
            threading.Thread(target=work, name=f"watch {work.__name__}", daemon=True).start()

    @property
    def name(self) -> str:
        """This process in words."""
        return replace(self._first, doing=self._doing).name

    def report(self, doing: str) -> None:
        """Say what this process begins to do now; a sign of work."""
        self._doing = doing
        self._reports += 1

    # what the main threads of all processes do together, each wait as long as it takes while all are alive

    def meet(self) -> None:
        """Return when every process has come here. Raises Interrupted where one was stopped instead."""
        key = self._next("meeting")
        if self.store.add(key, 1) == self.size:
            self.store.set(f"{key}/all", "")
        self._wait_for(f"{key}/all")

    def exchange(self, value: Any) -> list[Any]:
        """A JSON value of each process -> those of all, in order of rank, on all."""
        key = self._next("value")
        self.store.set(f"{key}/{self.rank}", json.dumps(value))
        self.meet()
        if self._read_by_all:  # who has come here has read the values of the exchange before
            self.store.delete_key(self._read_by_all)
        self._read_by_all = f"{key}/{self.rank}"
        texts = self.store.multi_get([f"{key}/{rank}" for rank in range(self.size)])
        return [json.loads(text) for text in texts]

    def from_first(self, make: Callable[[], Any]) -> Any:
        """A JSON value that the first process makes -> the same on all."""
        key = self._next("given")
        if self.rank == 0:
            self.store.set(key, json.dumps(make()))
        self._wait_for(key)
        return json.loads(self.store.get(key))

    def _wait_for(self, key: str) -> None:
        self._waits = True
        pause = 0.005
        while not self.store.check([key]):
            if number := self._roll.stop():
                raise Interrupted(number)
            time.sleep(pause)
            pause = min(2 * pause, 0.25)
        self._waits = False
        self._reports += 1

    # how a process ends

    def leave(self, stop: int) -> None:
        """Say that this process has ended, and wait until every other one has said so too. One that was stopped,
        by the signal `stop`, waits for HURRY seconds at most.
        """
        self._stop = self._stop or stop
        self._waits = True
        self._end = "stopped" if stop else "done"
        self._wake.set()
        self._over.wait(HURRY if stop else None)
        self._over.set()

    def fail(self, failure: Failure) -> NoReturn:
        """End this process and all others by this failure, or by that of another process that it comes from."""
        self._failure = failure
        self._wake.set()
        while True:  # a thread of the watch ends the process
            time.sleep(INTERVAL)

    # the threads

    def _talk(self) -> None:
        before = time.monotonic()
        while not self._over.is_set():
            now = time.monotonic()
            try:
                self._look(now - before)
            except RuntimeError:  # all that torch raises of a store
                self._lose_store()
            before = now
            self._looks += 1
            self._wake.wait(QUICK if self._end or self._failure else INTERVAL)
            self._wake.clear()

    def _guard(self) -> None:
        """A store that does not answer blocks the other thread."""
        silent = 0.0
        looks = 0
        while not self._over.wait(INTERVAL):
            silent = silent + INTERVAL if looks == self._looks else 0.0
            looks = self._looks
            if silent > self._silence():
                self._end_without_store(f"gave no answer for {silent:.0f} s")

    def _look(self, seconds: float) -> None:
        """Write the beat, read the others', and act on them."""
        self._own_store.set(self._key("beat", self.rank), self._beat(seconds).to_text())
        verdict, *texts = self._own_store.multi_get(self._keys)
        self._roll.hear([Beat.from_text(text) for text in texts], seconds)
        if verdict:
            self._end_by(verdict)
        self._pass_on_stop()
        if self._end and not self._roll.active():
            self._over.set()
        elif self._failure and self._failure.is_doubtful:
            self._doubt += seconds
            self._resolve(self._failure)
        elif self._failure:
            self._publish(self._failure)
        elif sentence := self._roll.failure(self._silence()):
            self._publish(Failure(sentence, 1))

    def _pass_on_stop(self) -> None:
        """A request to stop of this process to the others, and theirs to this one."""
        request = active()
        if request is not None:
            for beat in self._roll.beats:
                if beat and beat.stop:
                    request.heed(beat.stop)
            self._stop = self._stop or request.signal or 0

    def _beat(self, seconds: float) -> Beat:
        collectives = self.collectives()
        used = time.process_time() - time.thread_time()  # but for this thread
        works = (self._reports, collectives) != self._signs[:2] or used - self._signs[2] > BUSY * seconds
        self._signs = (self._reports, collectives, used)
        self._idle = 0.0 if works else self._idle + min(seconds, LOOK_SECONDS)
        return Beat(
            self.rank, self._first.machine, self._first.pid, self._looks + 1, self._doing, self._idle,
            self._waits, has_child(), collectives, self._stop, self._end,
        )  # fmt: skip

    def _silence(self) -> float:
        return min(self.patience, HURRY) if self._stop else self.patience

    def _resolve(self, failure: Failure) -> None:
        """Blame another process for an error in an exchange, or this one after GRACE seconds."""
        if number := self._roll.stop():
            end_process(128 + number)
        if sentence := self._roll.failure(GRACE_SILENCE):
            self._publish(Failure(sentence, 1))
        if self._doubt > GRACE:
            self._publish(failure)

    def _publish(self, failure: Failure) -> NoReturn:
        """Make a failure the verdict of all, unless there is one."""
        if failure.trace:
            write(failure.trace)
        text = json.dumps([failure.sentence, failure.code])
        self._end_by(self._own_store.compare_set(self._key("verdict"), "", text))

    def _end_by(self, verdict: bytes) -> NoReturn:
        sentence, code = json.loads(verdict)
        if self._own_store.add(self._key("printed", self._first.machine), 1) == 1:
            write(f"error: {sentence}\n")
        time.sleep(LINGER)
        end_process(code)

    def _lose_store(self) -> None:
        if self._end:  # the others have ended, and the store with them
            self._over.set()
        else:
            self._end_without_store("is gone")

    def _end_without_store(self, what: str) -> NoReturn:
        """Without it the processes of a machine cannot agree who prints; the lowest one that may be alive does."""
        keeper = self._roll.names([0])
        keeper = keeper if self._keeper == "process 0" else f"torchrun, which started {keeper},"
        near = [beat.rank for beat in self._roll.beats if beat and beat.machine == self._first.machine]
        if self.rank == min(rank for rank in (*near, self.rank) if rank or self.rank == 0):
            write(f"error: the store of this run, kept by {keeper}, {what}; {AS_BEFORE}\n")
        end_process(1)

    def _key(self, *parts: object) -> str:
        return "/".join(map(str, (self.prefix, *parts)))

    def _next(self, kind: str) -> str:
        self._meetings += 1
        return self._key(kind, self._meetings)


def write(text: str) -> None:
    """To standard error, without a lock that another thread may hold."""
    with suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())
