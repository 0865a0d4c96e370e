"""Remembers Ctrl-C, SIGTERM and SIGHUP until the loops ask between two updates, so that a run stops where it can
resume.

SIGHUP comes when a terminal is closed or a connection is lost; under `nohup`, which ignores it, a run goes
on.
"""

import os
import signal
import time
from contextlib import suppress
from types import FrameType, TracebackType

from data.system import HANGUP, STOP_SIGNALS

SAME_SIGNAL = 5.0  # seconds in which torchrun passes on a signal that its process also gets itself
# those that are active, the innermost last: global, as the handlers of a process are
_active: list["StopRequest"] = []


class StopRequest:
    """While active, remembers the first of STOP_SIGNALS; a second one acts as usual, under torchrun only after
    SAME_SIGNAL seconds.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._same_for = SAME_SIGNAL if "TORCHELASTIC_RUN_ID" in os.environ else 0.0
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
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._remember:  # nobody else has set another one
                signal.signal(number, handler)  # type: ignore[arg-type]

    def __enter__(self) -> "StopRequest":
        for number in STOP_SIGNALS:
            is_under_nohup = number == HANGUP and signal.getsignal(number) == signal.SIG_IGN
            if not is_under_nohup:
                self._before[number] = signal.signal(number, self._remember)
        _active.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _active.remove(self)
        self._restore()


def active() -> StopRequest | None:
    """The innermost request that is active now."""
    return next(reversed(_active[:]), None)  # of a copy: another thread may ask
