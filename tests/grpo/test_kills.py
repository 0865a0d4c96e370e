"""kill -9 at random moments of a real small run, again and again: no traceback, and the run ends bit-equal to
one that nobody killed.
"""

import random
import shutil
import time
from pathlib import Path

import pytest
from tiny_run import arguments, assert_same_run, metrics, quick, start, wait_for_exit, write_corpus

pytestmark = pytest.mark.usefixtures("empty_cache")
WRITING = ".unfinished-*"  # what a process that was killed while it wrote a checkpoint leaves behind


def assert_equal(run: Path, whole: Path) -> None:
    assert_same_run(run, whole)
    assert not list(run.rglob(WRITING))


def latest_moment(argv: list[str], whole: Path, further: int) -> float:
    """Run it once, undisturbed: the seconds until some `further` steps after a start."""
    process, printed = start(argv)
    printed.poll(None)  # the processes' common ancestor has now imported everything
    started = time.perf_counter()
    code, output = wait_for_exit(process, printed)
    assert code == 0, output
    seconds = [row["seconds"]["step"] for row in metrics(whole, everything=True)]
    return time.perf_counter() - started - sum(seconds) + further * sum(seconds) / len(seconds)


def writes_killed(kills: int, further: int, tiny_folder: Path, tmp_path: Path) -> set[str]:
    """Kill a run so often, and compare what it ends as; the checkpoint writes that were killed.

    A run that ends before it could be killed so often is compared, and another is begun.
    """
    steps = [
        f"sft.num_steps={kills}",
        f"train.num_steps={kills * further // 4}",
        "train.passes=2",
        "checkpoint.every=1",
    ]
    corpus = write_corpus(tmp_path / "pairs.tsv")
    whole = tmp_path / "whole" / "run"
    run = tmp_path / "killed" / "run"
    settings = [*quick(tiny_folder), *steps]
    latest = latest_moment(arguments(corpus, tiny_folder, whole, *settings), whole, further)

    moment = random.Random(kills)
    inside = set()
    done = 0
    ends = 0
    while done < kills or not ends:
        process, printed = start(arguments(corpus, tiny_folder, run, *settings))
        if done < kills:
            process.join(moment.uniform(0, latest))
            process.kill()
        code, output = wait_for_exit(process, printed)
        assert code in (0, -9) and "Traceback" not in output and "set aside" not in output
        inside |= {str(path) for path in (run / "checkpoints").rglob(WRITING)}
        done += code == -9
        if code == 0:
            assert_equal(run, whole)
            ends += 1
            shutil.rmtree(run)
    return inside


def test_a_run_killed_at_random_moments_ends_bit_equal(tiny_folder: Path, tmp_path: Path) -> None:
    writes_killed(5, 5, tiny_folder, tmp_path)


@pytest.mark.slow
def test_a_run_killed_fifty_times_ends_bit_equal(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So many kills that some of them strike while a checkpoint is written."""
    inside = writes_killed(50, 20, tiny_folder, tmp_path)
    with capsys.disabled():
        print(f"\n50 kills, {len(inside)} of them inside a checkpoint write")
    assert inside
