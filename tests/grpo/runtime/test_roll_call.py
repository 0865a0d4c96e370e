"""By which beats a process counts as failed: silent, idle, late, never there; and by which it does not."""

from dataclasses import replace

import pytest

from grpo.runtime.roll_call import LONG, UNKNOWN, Beat, RollCall

PATIENCE = 60.0
SECONDS = 1.0
PROCESSES = [Beat(rank, f"node{rank // 2}", 100 + rank, doing="train, step 3, rollout") for rank in range(4)]


def listen(looks: int, *changes: dict[str, object], silent: tuple[int, ...] = ()) -> RollCall:
    """So many looks at four processes, whose beats differ by `changes`; the silent ones beat once."""
    roll = RollCall(4, PATIENCE)
    beats = [replace(beat, **change) for beat, change in zip(PROCESSES, [*changes, {}, {}, {}, {}])]  # type: ignore[arg-type]  # noqa: B905
    for look in range(looks):
        roll.hear([replace(beat, number=0 if beat.rank in silent else look) for beat in beats], SECONDS)
    return roll


def failure(roll: RollCall) -> str:
    return roll.failure(PATIENCE)


def test_a_beat_is_read_back_as_it_was_written() -> None:
    beat = replace(PROCESSES[1], idle=1.25, stop=15, end="stopped", collectives=7)
    assert Beat.from_text(beat.to_text().encode()) == beat
    assert Beat.from_text(b"") is None


def test_who_beats_has_not_failed() -> None:
    assert failure(listen(10_000)) == ""


def test_a_silent_process_is_named_with_what_it_was_last_doing() -> None:
    assert failure(listen(64, silent=(2,))) == ""
    assert failure(listen(65, silent=(2,))) == (
        "process 2 on node1 (process id 102; last at: train, step 3, rollout) gave no sign of life for 64 s; "
        "all processes stop; what was saved stays, and the same command goes on from it"
    )


def test_processes_that_died_together_are_named_together() -> None:
    """A machine that is gone took all its processes, and their last beats are up to some seconds apart."""
    roll = RollCall(4, PATIENCE)
    for look in range(65):
        numbers = [look, min(look, 10), 0, min(look, 2)]
        roll.hear([replace(beat, number=n) for beat, n in zip(PROCESSES, numbers, strict=True)], SECONDS)
    assert "process 2 on node1" in failure(roll) and "process 3 on node1" in failure(roll)
    assert "process 0" not in failure(roll) and "process 1" not in failure(roll)  # late, and perhaps alive


def test_the_time_in_which_this_process_was_suspended_itself_does_not_count() -> None:
    roll = listen(2)
    roll.hear(roll.beats, seconds=1e6)
    assert failure(roll) == ""


def test_a_process_that_has_ended_may_be_silent() -> None:
    assert failure(listen(1000, {}, {"end": "done"}, silent=(1,))) == ""
    assert listen(2, {}, {"end": "done"}).active() == [0, 2, 3]


def test_a_process_that_never_starts() -> None:
    roll = RollCall(2, PATIENCE)
    for look in range(int(LONG * PATIENCE) + 1):
        assert failure(roll) == ""
        roll.hear([replace(PROCESSES[0], number=look), None], SECONDS)
    assert failure(roll).startswith("process 1 did not start within 600 s; ")


def test_a_main_thread_that_does_nothing_is_named_although_its_beats_go_on() -> None:
    """It hangs before an exchange that the others have begun, or alone while nobody has."""
    ahead = {"collectives": 8}
    assert failure(listen(2, ahead, {"collectives": 7, "idle": 61.0}, ahead, ahead)).startswith(
        "process 1 on node0 (process id 101; last at: train, step 3, rollout) did nothing for 60 s; "
    )
    same = {"collectives": 7, "waits": True}
    assert failure(listen(2, {"collectives": 7, "idle": 61.0}, same, same, same)).startswith("process 0 ")


@pytest.mark.parametrize(
    "beat",
    [
        {"collectives": 8, "idle": 61.0},  # waits in an exchange for the others
        {"collectives": 7, "idle": 61.0, "waits": True},  # waits by the store
        {"collectives": UNKNOWN, "idle": 61.0},  # torch does not say what it waits for
        {"collectives": 7, "idle": 59.0},  # works
    ],
)
def test_who_waits_is_not_blamed(beat: dict[str, object]) -> None:
    late = {"collectives": 7}
    assert failure(listen(2, beat, late, late, late)) == ""


def test_a_child_at_work_counts_as_work_until_others_wait_in_an_exchange() -> None:
    idle = {"collectives": 7, "idle": 61.0, "has_child": True}
    same = {"collectives": 7, "waits": True}
    assert failure(listen(2, idle, same, same, same)) == ""
    assert failure(listen(2, idle, same, same, {"collectives": 8})).startswith("process 0 ")


def test_a_process_that_works_without_end_keeps_nobody_waiting_without_end() -> None:
    """It is late only from the moment at which others have begun the next exchange."""
    roll = RollCall(2, PATIENCE)
    for look in range(5000):  # alone, and long
        roll.hear([replace(beat, number=look, collectives=7) for beat in PROCESSES[:2]], SECONDS)
    for look in range(5000, 5000 + int(LONG * PATIENCE) + 1):
        assert failure(roll) == ""
        roll.hear(
            [
                replace(PROCESSES[0], number=look, collectives=8),
                replace(PROCESSES[1], number=look, collectives=7),
            ],
            SECONDS,
        )
    assert failure(roll).startswith("process 1 on node0") and "kept the others waiting for 600 s" in failure(
        roll
    )


def test_a_stop_of_one_is_known_to_all() -> None:
    assert listen(2).stop() == 0
    assert listen(2, {}, {"stop": 15}).stop() == 0  # asked, not ended
    assert listen(2, {}, {"stop": 15, "end": "stopped"}).stop() == 15
