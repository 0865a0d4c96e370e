"""Faults on real small runs: after each, what was saved is whole, one sentence says what happened, and the
next start ends bit-equal.
"""

import json
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tiny_faults import Fault, at_call, full_disk, poison, save_phases, send
from tiny_run import arguments, assert_same_run, metrics, nothing, quick, start, wait_for_exit, write_corpus

from grpo.runtime.timings import timings_of

TWO_UPDATES = ["train.passes=2"]  # SFT: updates 1 to 3, one a step; GRPO: 4 to 11, two a step
EVERY_STEP = ["checkpoint.every=1", "checkpoint.keep=1"]
STEP = "grpo.optim:Optimizer.step"
TINY_FILE = (
    20_000  # bytes: less than the tiny model's parameters, more than anything else that these runs write
)


class Runs:
    """Runs of one corpus and model, each in a folder of its own, and the uninterrupted ones that they must
    equal.
    """

    def __init__(self, root: Path, model: Path):
        self.root = root
        self.model = model
        self.corpus = write_corpus(root / "pairs.tsv")
        self.whole: dict[tuple[str, ...], Path] = {}

    def start(self, folder: Path, *more: str, fault: Fault = nothing) -> tuple[int | None, str]:
        """Exit code and output of a run in `folder`/run."""
        return wait_for_exit(
            *start(arguments(self.corpus, self.model, folder / "run", *quick(self.model), *more), fault)
        )

    def uninterrupted(self, *more: str, fault: Fault = nothing, name: str = "") -> Path:
        """A run that nothing disturbs, made once for each setting."""
        key = (name, *more)
        if key not in self.whole:
            folder = self.root / f"whole-{len(self.whole)}"
            code, output = self.start(folder, *more, fault=fault)
            assert code == 0, output
            self.whole[key] = folder / "run"
        return self.whole[key]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Runs]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield Runs(tmp_path_factory.mktemp("faults"), tiny_folder)


def assert_equal(run: Path, whole: Path) -> None:
    """The same policy, the same log, and nothing left lying about."""
    assert_same_run(run, whole)
    assert not list(run.rglob(".unfinished-*")) and not (run / "checkpoints" / "train").exists()


def saved(folder: Path, stage: str) -> list[str]:
    return sorted(path.name for path in (folder / "run" / "checkpoints" / stage).iterdir())


def sentence(output: str) -> str:
    """The one line that begins with `error: `, in an output without traceback."""
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    return line


def test_the_runs_of_these_tests_learn(runs: Runs) -> None:
    """A policy that stands still would make every comparison below empty."""
    rows = metrics(runs.uninterrupted(*TWO_UPDATES))
    assert all(row["grad_norm"] > 0 for row in rows) and rows[-1]["clip_share"] > 0


@pytest.mark.parametrize(
    ("number", "code", "update", "stage", "name"),
    [
        (signal.SIGTERM, 143, 2, "sft", "step-000002"),
        (signal.SIGINT, 130, 6, "train", "step-000001.1"),  # between the two updates of a step
        (signal.SIGTERM, 143, 9, "train", "step-000003"),
        (signal.SIGHUP, 129, 9, "train", "step-000003"),  # the terminal was closed
    ],
)
def test_a_signal_saves_after_the_update_and_the_next_start_goes_on(
    number: int, code: int, update: int, stage: str, name: str, runs: Runs, tmp_path: Path
) -> None:
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("this signal is ignored here, as under nohup, and a run keeps that")
    stopped, output = runs.start(
        tmp_path, *TWO_UPDATES, fault=partial(at_call, STEP, update, partial(send, number))
    )
    assert (
        stopped == code
        and "stopped and saved; the same command goes on" in output
        and "Traceback" not in output
    )
    assert saved(tmp_path, stage)[-1] == name
    again, output = runs.start(tmp_path, *TWO_UPDATES)
    assert again == 0 and f"resuming {stage} at step {int(name[5:11])}" in output
    assert_equal(tmp_path / "run", runs.uninterrupted(*TWO_UPDATES))


@pytest.mark.parametrize("phase", save_phases(1))
def test_a_kill_inside_a_checkpoint_write_costs_nothing(phase: str, runs: Runs, tmp_path: Path) -> None:
    """The third checkpoint of GRPO, after two of SFT; the kill in the middle of pruning comes at the first
    deletion, in SFT. The time before it counts: the first step is made to have taken a million seconds.
    """
    code, output = runs.start(tmp_path, *EVERY_STEP, fault=save_phases(5)[phase])
    assert code == -signal.SIGKILL and "Traceback" not in output
    assert list((tmp_path / "run").rglob(".unfinished-*"))
    log = tmp_path / "run" / "metrics.jsonl"
    first, *rest = log.read_text(encoding="utf-8").splitlines(keepends=True)
    row = json.loads(first)
    slow = row | {"seconds": row["seconds"] | {"step": 1e6}}
    log.write_text("".join([f"{json.dumps(slow)}\n", *rest]), encoding="utf-8")
    again, output = runs.start(tmp_path, *EVERY_STEP)
    assert again == 0 and "resuming" in output and "set aside" not in output
    assert timings_of(tmp_path / "run")["stages"][row["stage"]] > 1e6
    assert_equal(tmp_path / "run", runs.uninterrupted(*EVERY_STEP))


@pytest.fixture(scope="module")
def half_done(runs: Runs) -> Path:
    """A run stopped in the middle of step 2 of GRPO, with the checkpoints step-000002 and step-000002.1."""
    folder = runs.root / "half"
    code, _ = runs.start(folder, *TWO_UPDATES, fault=partial(at_call, STEP, 8, partial(send, signal.SIGTERM)))
    assert code == 143 and saved(folder, "train") == ["step-000002", "step-000002.1"]
    shutil.copytree(folder, runs.root / "half kept")
    return folder


def spoil(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    if how != "deleted":
        file.write_bytes(content if how == "flipped" else content[:-7])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("parameters.safetensors", "flipped"),
        ("moments.safetensors", "cut"),
        ("step.safetensors", "deleted"),
        ("state.json", "flipped"),
        ("checksums.json", "cut"),
    ],
)
def test_a_checkpoint_damaged_at_rest_is_stepped_over(
    name: str, how: str, half_done: Path, runs: Runs
) -> None:
    shutil.rmtree(half_done)
    shutil.copytree(runs.root / "half kept", half_done)
    spoil(half_done / "run" / "checkpoints" / "train" / "step-000002.1" / name, how)
    code, output = runs.start(half_done, *TWO_UPDATES)
    assert code == 0 and output.count("set aside") == 1
    assert (
        f"step-000002.1: {name} " in output
        and "going on from step-000002" in output
        and "resuming train at step 2\n" in output
    )
    assert_equal(half_done / "run", runs.uninterrupted(*TWO_UPDATES))


def test_with_every_checkpoint_damaged_the_stage_starts_anew(half_done: Path, runs: Runs) -> None:
    shutil.rmtree(half_done)
    shutil.copytree(runs.root / "half kept", half_done)
    for name in ("step-000002", "step-000002.1"):
        spoil(half_done / "run" / "checkpoints" / "train" / name / "parameters.safetensors", "flipped")
    code, output = runs.start(half_done, *TWO_UPDATES)
    assert code == 0 and output.count("this stage starts anew") == 2 and "resuming" not in output
    assert_equal(half_done / "run", runs.uninterrupted(*TWO_UPDATES))


def test_a_full_disk_while_a_checkpoint_is_written(runs: Runs, tmp_path: Path) -> None:
    # the second checkpoint of GRPO
    fault = partial(at_call, "grpo.runtime.checkpoint:save_file", 7, partial(full_disk, TINY_FILE))
    code, output = runs.start(tmp_path, *EVERY_STEP, fault=fault)
    assert code == 2
    said = sentence(output)
    assert (
        f"{tmp_path}/run/checkpoints/train/step-000002: this checkpoint could not be written (File too large"
        in said
    )
    assert "it needs 0.4 MB" in said and "step-000001 is intact; free space and run the same command" in said
    assert saved(tmp_path, "train") == ["step-000001"] and not list((tmp_path / "run").rglob(".unfinished-*"))
    assert runs.start(tmp_path, *EVERY_STEP)[0] == 0
    assert_equal(tmp_path / "run", runs.uninterrupted(*EVERY_STEP))


@pytest.mark.parametrize(
    ("target", "number", "size", "file"),
    [
        ("grpo.runtime.run_log:RunLog.write", 5, 1, "metrics.jsonl"),
        ("transformers:PreTrainedModel.save_pretrained", 1, TINY_FILE, "warm_start"),
        ("transformers:PreTrainedModel.save_pretrained", 2, TINY_FILE, "policy"),
        ("grpo.run:add_timing", 2, 1, "timings.json"),
    ],
)
def test_a_full_disk_anywhere_else(
    target: str, number: int, size: int, file: str, runs: Runs, tmp_path: Path
) -> None:
    code, output = runs.start(
        tmp_path, *EVERY_STEP, fault=partial(at_call, target, number, partial(full_disk, size))
    )
    assert code == 2
    assert sentence(output).startswith(
        f"error: {tmp_path}/run/{file}: File too large; put that right and run the same command"
    )
    assert not list((tmp_path / "run").rglob(".unfinished-*"))
    assert runs.start(tmp_path, *EVERY_STEP)[0] == 0
    assert_equal(tmp_path / "run", runs.uninterrupted(*EVERY_STEP))


LONGER = ["train.num_steps=9", "checkpoint.every=2"]


def test_an_update_with_a_loss_that_is_nan_is_skipped_and_counted(runs: Runs, tmp_path: Path) -> None:
    code, _ = runs.start(tmp_path, *LONGER, fault=partial(poison, 3, 4))
    assert code == 0
    rows = metrics(tmp_path / "run", "train")
    assert [row["skipped_updates"] for row in rows] == [0, 0, 1, 2, 3, 4, 4, 4, 4]


def test_five_such_updates_in_a_row_end_the_run_with_the_last_good_parameters(
    runs: Runs, tmp_path: Path
) -> None:
    """Updates 3 to 7 fail. The checkpoint of step 6, with four of them behind it, has the parameters of step
    2, and its count of four.
    """
    code, output = runs.start(tmp_path, *LONGER, fault=partial(poison, 3, 5))
    assert code == 1 and "5 updates in a row" in sentence(output)
    assert saved(tmp_path, "train") == ["step-000004", "step-000006"]
    good = runs.root / "good"
    assert runs.start(good, *LONGER, fault=partial(at_call, STEP, 5, partial(send, signal.SIGTERM)))[0] == 143
    names = (tmp_path / "run/checkpoints/train/step-000006", good / "run/checkpoints/train/step-000002")
    after, before = ((path / "parameters.safetensors").read_bytes() for path in names)
    assert after == before
    # the fifth running, counted over the stop
    assert runs.start(tmp_path, *LONGER, fault=partial(poison, 1, 1))[0] == 1
    assert runs.start(tmp_path, *LONGER)[0] == 0
    assert_equal(
        tmp_path / "run", runs.uninterrupted(*LONGER, fault=partial(poison, 3, 4), name="four skipped")
    )
