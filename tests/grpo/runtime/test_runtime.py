"""A file that shadows one of our packages is named before it can do harm; sampling logs can be cut back;
signals are remembered.
"""

import json
import math
import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from repository import ROOT

from eval.run_folder import read_metrics
from grpo import intruders
from grpo.runtime import device
from grpo.runtime.interrupt import StopRequest
from grpo.runtime.run_log import RunLog, cut_back


def test_our_own_packages_are_no_intruders() -> None:
    assert intruders(ROOT) == []


def test_a_stray_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eval.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "eval", raising=False)
    assert intruders(ROOT, ("eval",)) == [str(tmp_path / "eval.py")]


def test_log_is_cut_back_to_the_step_and_loses_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"stage": "sft", "step": 9}, *({"stage": "train", "step": step} for step in range(4))]
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in rows) + '{"stage": "train", "st', encoding="utf-8"
    )
    cut_back(path, "train", 2)
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows[:3]


def test_means_are_sums_over_counts_and_peaks_are_peaks(tmp_path: Path) -> None:
    with RunLog(tmp_path, "train", 0, 1, {}) as log:
        log.add({"kl_mean": (3.0, 1.0)})
        log.add({"kl_mean": (0.0, 5.0)})
        log.put_max({"gap": 1.0})
        log.put_max({"gap": 0.5})
        log.write(0)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (row["kl_mean"], row["gap"]) == (0.5, 1.0)


def test_what_is_no_number_is_null_in_the_files_and_nan_to_readers(tmp_path: Path) -> None:
    sample = {"id": "a", "group": [{"reward": 0.5, "kiwi": math.nan}]}
    with RunLog(tmp_path, "train", 0, 2, {}, quiet=True) as log:
        log.add({"loss": (math.inf, 2.0)})
        log.put({"kiwi_mean": math.nan, "reward_mean": 0.5})
        log.write(0, [sample])
        log.note("train_dev", 0, {"kiwi_mean": math.nan})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["kiwi_mean"] for row in rows] == [None, None] and rows[0]["loss"] is None
    assert rows[0]["reward_mean"] == 0.5
    (shown,) = map(json.loads, (tmp_path / "rollouts.jsonl").read_text().splitlines())
    assert shown["group"] == [{"reward": 0.5, "kiwi": None}]
    for found in (
        read_metrics(tmp_path / "metrics.jsonl")[0],
        cut_back(tmp_path / "metrics.jsonl", "train", 1)[0],
    ):
        assert math.isnan(found["loss"]) and math.isnan(found["kiwi_mean"]) and found["reward_mean"] == 0.5


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("freebsd14", 1024), ("darwin", 1)])
def test_peak_memory_is_in_bytes_whatever_the_system_counts_in(
    system: str, unit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past bug: macOS gives bytes, and a peak was said to be 1,024 times what it was."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=5_000_000))
    assert device.peak_memory_bytes() == 5_000_000 * unit


def test_steps_are_logged_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with RunLog(tmp_path, "sft", 0, 1, {}, quiet=True) as log:
        log.add({"loss": (3.0, 2.0)})
        log.write(0)
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] == 1.5
    assert not (tmp_path / "tensorboard").exists()


def test_first_signal_is_remembered_and_the_second_acts(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    # a shell's background job comes with SIGINT ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with StopRequest() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_hang_up_is_ignored_under_nohup(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP)))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    """The reader of the pipe has left before anything is printed."""
    code = "from data.console import say; say('one'); say('two'); import sys; print('still here', file=sys.stderr)"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == "still here\n" and child.wait() == 0


def test_going_offline_comes_before_transformers() -> None:
    """huggingface_hub reads HF_HUB_OFFLINE when it is imported, so the entry point must not import it on its
    way in.
    """
    code = "import sys, grpo.run, grpo.study; sys.exit(any(name in sys.modules for name in ('transformers', 'huggingface_hub')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
