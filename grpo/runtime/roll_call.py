"""The sign of life that each process gives every second, and the rules by which one of them has failed.

Nothing here talks to another process or reads a clock (that is grpo/runtime/alive.py), so every rule can be
tested by itself. Seconds are counted by this process's own looks: where it was suspended itself, nobody else
is blamed for that time.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

LOOK_SECONDS = 2.0  # that one look counts at most
STAGGER = 3.0  # seconds by which the last beats of processes that died together may lie apart; waited for
LONG = 10  # times `patience`: to start, and to come to where the others wait although it works
UNKNOWN = -1

AS_BEFORE = "all processes stop; what was saved stays, and the same command goes on from it"
RAISE = "raise parallel.patience where that is to be expected"


@dataclass(frozen=True)
class Beat:
    """What a process says of itself.

    number       of its beats so far
    doing        its stage, step and phase, in words
    idle         seconds without a sign of work: no new phase, no exchange, no processor time
    waits        whether it waits for the others, for as long as that takes
    has_child    whether a process that it started may be at work
    collectives  that it has begun so far; UNKNOWN where torch does not say
    stop         the signal that asked it to stop; 0 = none
    end          how it has ended: "done", "stopped", or "" for not yet
    """

    rank: int
    machine: str
    pid: int
    number: int = 0
    doing: str = "starting"
    idle: float = 0.0
    waits: bool = False
    has_child: bool = False
    collectives: int = UNKNOWN
    stop: int = 0
    end: str = ""

    @property
    def name(self) -> str:
        """The process in words, with what it was last doing."""
        return f"process {self.rank} on {self.machine} (process id {self.pid}; last at: {self.doing})"

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_text(text: bytes | str) -> "Beat | None":
        """None for the empty text: no beat yet."""
        return Beat(**json.loads(text)) if text else None


class RollCall:
    """The newest beat of each process, and for how long it has been silent or behind the others."""

    def __init__(self, size: int, patience: float) -> None:
        self.patience = patience
        self.beats: list[Beat | None] = [None] * size
        self.silent = [0.0] * size
        self.behind = [0.0] * size

    def hear(self, beats: Sequence[Beat | None], seconds: float) -> None:
        """Take up the beats that were read `seconds` after the last ones."""
        seconds = min(seconds, LOOK_SECONDS)
        furthest = max((beat.collectives for beat in beats if beat), default=UNKNOWN)
        for rank, beat in enumerate(beats):
            before = self.beats[rank]
            is_new = beat is not None and (before is None or beat.number != before.number)
            has_moved = beat is None or before is None or beat.collectives != before.collectives
            is_behind = beat is not None and UNKNOWN < beat.collectives < furthest
            self.silent[rank] = 0.0 if is_new else self.silent[rank] + seconds
            self.behind[rank] = self.behind[rank] + seconds if is_behind and not has_moved else 0.0
        self.beats = list(beats)

    def active(self) -> list[int]:
        """The processes that have not ended."""
        return [rank for rank, beat in enumerate(self.beats) if beat is None or not beat.end]

    def stop(self) -> int:
        """The signal by which a process that ended was stopped; 0 where none was."""
        return next((beat.stop for beat in self.beats if beat and beat.end == "stopped"), 0)

    def failure(self, silence: float) -> str:
        """A sentence that names the processes that failed; "" where none did. No beat for `silence` seconds, and
        STAGGER more, is a failure.
        """
        ranks = [rank for rank in self.active() if self.beats[rank]]
        longest = max((self.silent[rank] for rank in ranks), default=0.0)
        if longest > silence + STAGGER:
            silent = [rank for rank in ranks if self.silent[rank] > silence]
            return f"{self.names(silent)} gave no sign of life for {longest:.0f} s; {AS_BEFORE}"
        if missing := [
            rank
            for rank, beat in enumerate(self.beats)
            if not beat and self.silent[rank] > LONG * self.patience
        ]:
            return f"{self.names(missing)} did not start within {LONG * self.patience:.0f} s; {AS_BEFORE}"
        if idle := [rank for rank in ranks if self._is_stuck(rank)]:
            return f"{self.names(idle)} did nothing for {self.patience:.0f} s; {AS_BEFORE}; {RAISE}"
        if late := [rank for rank in ranks if self.behind[rank] > LONG * self.patience]:
            return f"{self.names(late)} kept the others waiting for {LONG * self.patience:.0f} s; {AS_BEFORE}; {RAISE}"
        return ""

    def _is_stuck(self, rank: int) -> bool:
        """Whether a process does nothing, and neither waits for the others nor for a process it started."""
        beat = self.beats[rank]
        if beat is None or beat.idle <= self.patience or beat.waits or beat.collectives == UNKNOWN:
            return False
        others = [other.collectives for other in self.beats if other and not other.end]
        is_ahead = beat.collectives > min(others)
        is_behind = beat.collectives < max(others)
        return not is_ahead and (is_behind or not beat.has_child)

    def names(self, ranks: Sequence[int]) -> str:
        """Some processes in words."""
        beats = {rank: self.beats[rank] for rank in ranks}
        return " and ".join(beat.name if beat else f"process {rank}" for rank, beat in beats.items())
