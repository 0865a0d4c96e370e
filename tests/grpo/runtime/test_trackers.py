"""Every tool of log.to gets the rows of metrics.jsonl, under the same names and in one run of the tool; what it is
missing is said before training, and a tool that fails ends nothing. The tools are stand-ins that record their calls.
"""

import importlib
import json
import math
import struct
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny_run import Command, arguments, metrics

from data.errors import InputError
from grpo.run import main
from grpo.runtime.run_log import RunLog
from grpo.runtime.trackers import check_installed

WANDB = """
from types import SimpleNamespace
begun, logged = [], []

def Settings(**settings):
    return settings

def init(project, name, id, resume, settings):
    assert project == "semantic-grpo" and name == "run" and resume == "allow" and settings["disable_git"]
    begun.append(id)
    return SimpleNamespace(
        id=id or "w1", finish=lambda: None, define_metric=lambda name, step_metric: None,
        log=lambda values: logged.append((values["step"], {k: v for k, v in values.items() if k != "step"})),
    )
"""
MLFLOW = """
from types import SimpleNamespace
begun, logged = [], []

def set_experiment(name):
    assert name == "semantic-grpo"

def start_run(run_id=None, run_name=None):
    assert run_id or run_name == "run"
    begun.append(run_id)
    return SimpleNamespace(info=SimpleNamespace(run_id="m1"))

def log_metrics(values, step):
    logged.append((step, values))

def end_run():
    pass
"""
TRACKIO = """
from types import SimpleNamespace
begun, logged = [], []

def init(project, name, resume, **unread):
    assert project == "semantic-grpo" and name.startswith("run-") and resume == "allow" and not any(unread.values())
    begun.append(name)
    return SimpleNamespace(log=lambda values, step: logged.append((step, values)))

def finish():
    pass
"""
STAND_INS = {"wandb": WANDB, "mlflow": MLFLOW, "trackio": TRACKIO}
Modules = dict[str, ModuleType]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Modules:
    """The three tools as modules that Python finds."""
    folder = tmp_path / "installed"
    folder.mkdir()
    for name, text in STAND_INS.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # so that what is imported goes again
        del sys.modules[name]
    monkeypatch.syspath_prepend(str(folder))
    return {name: importlib.import_module(name) for name in STAND_INS}


def numbers(run: Path) -> Counter[tuple[int, str, Any]]:
    """(step, "stage/name", number) of each row of metrics.jsonl, where null stands for NaN."""
    return Counter(
        (row["step"], f"{row['stage']}/{name}", repr(math.nan if value is None else value))
        for row in metrics(run, everything=True)
        for name, value in row.items()
        if name not in ("stage", "step", "seconds")
    )


def numbers_of_tool(tool: Any) -> Counter[tuple[int, str, Any]]:
    """The same of what a tool got."""
    return Counter(
        (step, name, repr(value)) for step, values in tool.logged for name, value in values.items()
    )


@pytest.mark.usefixtures("own_cache")
def test_a_run_gives_every_tool_the_rows_of_its_log(
    command: Command, tmp_path: Path, tools: Modules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-of-the-user")
    run = tmp_path / "a" / "run"
    more = ['log.to=["tensorboard", "wandb", "mlflow", "trackio"]', "eval.every=2", "eval.best_by=reward"]
    assert main(command("a", *more)) == 0
    rows = numbers(run)
    assert {name.split("/")[0] for _, name, _ in rows} == {"sft", "train", "train_dev"}
    for name, tool in tools.items():
        assert numbers_of_tool(tool) == rows, name
    ids = json.loads((run / "trackers.json").read_text(encoding="utf-8"))
    assert ids == {"wandb": "w1", "mlflow": "m1", "trackio": tools["trackio"].begun[0]}
    first = {"wandb": None, "mlflow": None, "trackio": ids["trackio"]}
    assert {name: tool.begun for name, tool in tools.items()} == {
        name: [first[name], ids[name]] for name in tools
    }
    texts = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    assert len(texts) > 10 and not any(b"a-secret-of-the-user" in text for text in texts)


def write_steps(run: Path, steps: range, to: tuple[str, ...]) -> None:
    with RunLog(run, "train", steps.start, 5, {}, quiet=True, to=to) as log:
        for step in steps:
            log.add({"loss": (float(step), 2.0)})
            log.put({"odd": math.nan if step == 1 else 1.0})
            log.write(step)


@pytest.mark.parametrize("name", STAND_INS)
def test_a_resumed_stage_goes_on_in_the_same_run_of_the_tool(
    name: str, tmp_path: Path, tools: Modules
) -> None:
    write_steps(tmp_path / "run", range(3), (name,))
    write_steps(tmp_path / "run", range(2, 5), (name,))
    # step 2 twice, with the same numbers
    assert set(numbers_of_tool(tools[name])) == set(numbers(tmp_path / "run"))
    first, second = tools[name].begun
    assert second and first in (None, second)


def test_by_default_only_tensorboard_is_used(tmp_path: Path, tools: Modules) -> None:
    with RunLog(tmp_path / "run", "train", 0, 1, {}, quiet=True) as log:
        log.put({"loss": 1.0})
        log.write(0)
    assert [tool.begun for tool in tools.values()] == [[], [], []]
    assert (
        any((tmp_path / "run" / "tensorboard").iterdir())
        and not (tmp_path / "run" / "trackers.json").exists()
    )


def test_a_tool_that_fails_is_left_out_and_the_run_goes_on(
    tmp_path: Path, tools: Modules, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tools["mlflow"], "log_metrics", lambda values, step: 1 / 0)
    write_steps(tmp_path / "run", range(3), ("mlflow", "wandb"))
    assert numbers_of_tool(tools["wandb"]) == numbers(tmp_path / "run")
    warning = "WARNING: log.to: mlflow failed and gets no more numbers: division by zero\n"
    assert capsys.readouterr().out == warning


def test_a_tool_that_cannot_begin_is_one_sentence(
    tmp_path: Path, tools: Modules, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: Any) -> None:
        raise RuntimeError("No API key configured.")

    monkeypatch.setattr(tools["wandb"], "init", init)
    with pytest.raises(
        InputError, match=r"wandb cannot begin: No API key configured; set WANDB_MODE=offline, or"
    ):
        write_steps(tmp_path, range(1), ("wandb",))


def test_a_missing_package_is_said_before_anything_else(
    tmp_path: Path,
    corpus: Path,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folder ./wandb, as the tool leaves it, is not the package."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(InputError, match=r"wandb is not installed; type pip install wandb, or leave it out"):
        check_installed(["tensorboard", "wandb"])
    assert main(arguments(corpus, tiny_folder, tmp_path / "run", 'log.to=["trackio"]')) == 2
    assert capsys.readouterr().err == (
        "error: log.to: trackio is not installed; type pip install trackio, or leave it out of log.to\n"
    )
    assert not (tmp_path / "run").exists()


def of_wandb(folder: Path) -> Counter[tuple[int, str, Any]]:
    """The history in the file of an offline run: a head of 7 bytes, then a head of 7 bytes (checksum, length, kind) in
    front of each record.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content = path.read_bytes()
    assert content[:4] == b":W&B" and len(content) < 2**15  # the first block, in which no record is split
    rows, place = [], 7
    while place < len(content):
        _, length, _ = struct.unpack("<IHB", content[place : place + 7])
        record = Record()
        record.ParseFromString(content[place + 7 : place + 7 + length])
        items = record.history.item
        rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
        place += 7 + length
    return numbers_in(filter(None, rows))


def of_mlflow(folder: Path) -> Counter[tuple[int, str, Any]]:
    """The metrics of the only run in the store."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    (experiment,) = [one for one in client.search_experiments() if one.name == "semantic-grpo"]
    (run,) = client.search_runs([experiment.experiment_id])
    history = [one for name in run.data.metrics for one in client.get_metric_history(run.info.run_id, name)]
    return Counter((one.step, one.key, repr(one.value)) for one in history)


def of_trackio(folder: Path) -> Counter[tuple[int, str, Any]]:
    """The rows of the only run on this machine."""
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs("semantic-grpo")
    return numbers_in(SQLiteStorage.get_logs("semantic-grpo", name))


def numbers_in(rows: Iterable[dict[str, Any]]) -> Counter[tuple[int, str, Any]]:
    """(step, "stage/name", number) of each row of a tool that keeps the step among the numbers."""
    return Counter(
        (int(row["step"]), name, repr(float(value)))
        for row in rows
        for name, value in row.items()
        if "/" in name
    )


READERS = {"wandb": of_wandb, "mlflow": of_mlflow, "trackio": of_trackio}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore")
def test_the_real_tool_keeps_the_numbers_of_an_offline_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stand-in: what the tool has written is read back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # which is read at the import
    pytest.importorskip(name, reason=f"{name} is not installed here; type: pip install {name}")
    run = tmp_path / "run"
    with RunLog(run, "train", 0, 5, {}, quiet=True, to=(name,)) as log:
        for step in range(3):
            log.put({"loss": 0.5 + step, "reward_mean": 2.0 - step})
            log.write(step)
    expected = {
        (step, f"train/{key}", repr(value))
        for step in range(3)
        for key, value in (("loss", 0.5 + step), ("reward_mean", 2.0 - step))
    }
    found = READERS[name](tmp_path)
    assert expected <= set(found) and max(found.values()) == 1
    assert json.loads((run / "trackers.json").read_text(encoding="utf-8")).keys() == {name}
