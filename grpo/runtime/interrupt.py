"""Remembers Ctrl-C, SIGTERM and SIGHUP until the loops ask between two updates, so that a run stops where it can
go on.

SIGHUP comes when a terminal is closed or a connection is lost; under `nohup`, which ignores it, a run goes
on. Under torchrun a signal often comes twice, from the terminal or the cluster and from torchrun.
"""

import os
import signal
import time
from contextlib import suppress
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """While active, remembers the first of SIGNALS; a second one acts as usual, but not within `same_for`
    seconds of the first.
    """

    def __init__(self, same_for: float = 0.0) -> None:
        self.signal: int | None = None
        self._same_for = same_for
        self._first_time: float | None = None
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self.signal is not None

    def heed(self, number: int) -> None:
        """Another process got a signal."""
        self.signal = self.signal or number

    def _remember(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_time is None:
            self._first_time = now
            self.heed(number)
            # nobody may be listening; and `print` must not be entered twice, as a signal may do
            with suppress(OSError):
                os.write(2, b"\nstopping after this update, then saving; once more to stop at once\n")
        elif now - self._first_time >= self._same_for:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            is_under_nohup = number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN
            if not is_under_nohup:
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
