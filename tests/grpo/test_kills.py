"""kill -9 at random moments of a real small run, again and again: no traceback, and the run ends bit-equal to one that nobody killed."""

import random
import shutil
import time
from pathlib import Path

import pytest
from tiny_run import arguments, ended, metrics, quick, start, weights, write_corpus

WRITING = ".unfinished-*"  # what a process that was killed while it wrote a checkpoint leaves behind


def assert_equal(run: Path, whole: Path) -> None:
    assert weights(run) == weights(whole)
    assert metrics(run) == metrics(whole)
    assert not list(run.rglob(WRITING))


def latest_moment(argv: list[str], whole: Path, further: int) -> float:
    """Run it once, undisturbed: the seconds until some `further` steps after a start."""
    process, printed = start(argv)
    printed.poll(None)  # the processes' common ancestor has now imported everything
    started = time.perf_counter()
    code, output = ended(process, printed)
    assert code == 0, output
    seconds = [row["seconds"]["step"] for row in metrics(whole, everything=True)]
    return time.perf_counter() - started - sum(seconds) + further * sum(seconds) / len(seconds)


@pytest.mark.parametrize(("kills", "further"), [(5, 5), pytest.param(50, 20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_bit_equal(
    kills: int, further: int, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that ends before it could be killed so often is compared, and another is begun."""
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    steps = [f"sft.num_steps={kills}", f"train.num_steps={kills * further // 4}", "train.passes=2", "checkpoint.every=1"]
    corpus, whole, run = write_corpus(tmp_path / "pairs.tsv"), tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    settings = [*quick(tiny_folder), *steps]
    latest = latest_moment(arguments(corpus, tiny_folder, whole, *settings), whole, further)

    moment, inside, done, ends = random.Random(kills), set(), 0, 0
    while done < kills or not ends:
        process, printed = start(arguments(corpus, tiny_folder, run, *settings))
        if done < kills:
            process.join(moment.uniform(0, latest))
            process.kill()
        code, output = ended(process, printed)
        assert code in (0, -9) and "Traceback" not in output and "set aside" not in output
        inside |= {str(path) for path in (run / "checkpoints").rglob(WRITING)}
        done += code == -9
        if code == 0:
            assert_equal(run, whole)
            ends += 1
            shutil.rmtree(run)
    with capsys.disabled():
        print(f"\n{done} kills, {len(inside)} of them inside a checkpoint write, {ends} runs ended")
    assert kills < 50 or inside
