"""Ctrl-C, SIGTERM and SIGHUP as a question the loops ask between two updates, so that a run stops where it
can go on.

SIGHUP comes when a terminal is closed or a connection is lost; under `nohup`, which ignores it, a run goes
on.
"""

import os
import signal
from contextlib import suppress
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """While active, the first of SIGNALS is remembered; a second one acts as it would without us."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self.signal is not None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        with suppress(
            OSError
        ):  # nobody may be listening; and print is not to be entered twice, as a signal may
            os.write(2, b"\nstopping after this update, then saving; once more to stop at once\n")
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            if (
                number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
            ):  # `nohup` has it ignored
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
