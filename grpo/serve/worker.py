"""The one thread that runs the model. Requests wait in a queue of limited length, and decode in one batch."""

import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

import torch

from grpo.serve.batch import Batch, end
from grpo.serve.rows import Row


class BusyError(Exception):
    """Too many rows wait already, or the server ends."""


class DecodeError(Exception):
    """The model failed at a request."""


@dataclass(eq=False)
class Job:
    """The rows of a request. `gains` gets (number of the row, new text) for each token, None after the last one of all
    rows, or an error.
    """

    rows: Sequence[Row]
    gains: "SimpleQueue[tuple[int, str] | Exception | None]" = field(default_factory=SimpleQueue)

    def texts(self) -> Iterator[tuple[int, str]]:
        """Number of a row and what its text gains, until all have ended. Raises DecodeError."""
        while (gain := self.gains.get()) is not None:
            if isinstance(gain, Exception):
                raise gain
            yield gain

    def finish(self) -> None:
        """Wait for the whole. Raises DecodeError."""
        for _ in self.texts():
            pass


class Worker(threading.Thread):
    """Decodes the jobs that it is given, at most `max_rows` rows together; `max_waiting` rows may wait.

    `new_batch` makes an empty batch. Where rows cannot join one that has begun, the next jobs begin another, and the
    batches take turns.
    """

    def __init__(self, new_batch: Callable[[], Batch], max_rows: int, max_waiting: int):
        super().__init__(name="decoding", daemon=True)
        self.new_batch = new_batch
        self.max_rows = max_rows
        self.max_waiting = max_waiting
        self.waiting: deque[Job] = deque()
        self.active: list[Job] = []
        self.batches: list[Batch] = []
        self.is_closed = False
        self.change = threading.Condition()

    def submit(self, job: Job) -> Job:
        """Put a job into the queue. Raises BusyError."""
        with self.change:
            count = sum(len(one.rows) for one in self.waiting)
            if self.is_closed or (self.waiting and count + len(job.rows) > self.max_waiting):
                raise BusyError
            self.waiting.append(job)
            self.change.notify()
        return job

    def close(self) -> None:
        """Take no more jobs, and end after the token that is being decoded."""
        with self.change:
            self.is_closed = True
            self.change.notify()

    def run(self) -> None:
        with torch.inference_mode():
            while self._wait():
                try:
                    self.round()
                except Exception as error:  # the server goes on with the next request
                    traceback.print_exc(file=sys.stderr)
                    self._fail(
                        DecodeError(f"the model failed ({type(error).__name__}); see the server's terminal")
                    )
        self._fail(DecodeError("the server was stopped"))

    def _wait(self) -> bool:
        """Wait for work; whether to go on."""
        with self.change:
            self.change.wait_for(lambda: self.is_closed or self.waiting or self.active)
            return not self.is_closed

    def round(self) -> None:
        """Let jobs in, and decode one token of each row."""
        new = self._new_jobs()
        self.active += new
        if new:
            batch = next((batch for batch in self.batches if batch.takes_more), None) or self.new_batch()
            if batch not in self.batches:
                self.batches.append(batch)
            batch.join([row for job in new for row in job.rows])
        owners = {id(row): (job, number) for job in self.active for number, row in enumerate(job.rows)}
        for batch in self.batches:
            for row, text in batch.advance():
                job, number = owners[id(row)]
                if text or row.reason:
                    job.gains.put((number, text))
        self.batches = [batch for batch in self.batches if batch.rows]
        for job in [job for job in self.active if all(row.reason for row in job.rows)]:
            self.active.remove(job)
            job.gains.put(None)

    def _new_jobs(self) -> list[Job]:
        """The first jobs of the queue that there is room for."""
        room = self.max_rows - sum(not row.reason for job in self.active for row in job.rows)
        jobs = []
        with self.change:
            while self.waiting and len(self.waiting[0].rows) <= room:
                jobs.append(self.waiting.popleft())
                room -= len(jobs[-1].rows)
        return jobs

    def _fail(self, error: DecodeError) -> None:
        """End all jobs that are active; of a server that ends also those that wait."""
        with self.change:
            jobs = self.active + (list(self.waiting) if self.is_closed else [])
            self.waiting = deque() if self.is_closed else self.waiting
        self.active = []
        self.batches = []
        for job in jobs:
            end(job.rows)
            job.gains.put(error)
