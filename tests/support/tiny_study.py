"""Studies of the tiny model on the made-up corpus, their children called in this process, with a tax panel
that needs no package.
"""

from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_run import CONFIG, arguments

from data.sources.news import TextItem
from eval.forgetting.probe_items import ChoiceItem, Panel
from grpo import run
from grpo.study import __main__ as study
from grpo.study import points as study_points
from grpo.study.children import Job

PANEL = Panel(
    english=(
        TextItem("e1", "The rain came late this year."),
        TextItem("e2", "A ship left the harbour at noon."),
    ),
    chinese=(TextItem("c1", "今天天气很好。"), TextItem("c2", "山上有一座庙。")),
    capitals=(ChoiceItem("k1", "The capital of France is", (" Paris", " Rome"), 0),),
)
STUDY = """
study_dir = "{folder}"
config = "{config}"
seeds = [0]
settings = [
  "threads=1", "train.optim.lr=1e-3", "reward.encoder=static:{model}", "reward.gates=[]", "reward.threshold=-1.0", "reward.shown=[]",
]
snapshots = 2
keep_snapshots = "none"
[arms.grpo]
[arms.sft]
settings = ["train.method=sft"]
"""
PARTS = ("--only", "train,evaluate")


class Children:
    """In place of processes: the same commands, called; what they print is in their log.txt. `broken`: name -> exit code
    or exception instead.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.called: list[str] = []
        self.broken: dict[str, int | BaseException] = {}
        monkeypatch.setattr("grpo.study.children.Child", self.start)
        for place in ("eval.forgetting.tax.load_tax_panel", "grpo.study.points.load_tax_panel"):
            monkeypatch.setattr(place, lambda cache, extended: PANEL)

    def start(self, job: Job) -> Any:
        """A child that has ended."""
        code = self.run(job)
        return SimpleNamespace(process=SimpleNamespace(poll=lambda: code), close=lambda: code)

    def run(self, job: Job) -> int:
        self.called.append(job.name)
        module, *argv = job.command
        fault = self.broken.get(job.name, 0) if module != "grpo.study" else 0
        if isinstance(fault, BaseException):
            raise fault
        mains = {"grpo.run": run.main, "grpo.study": study.main, "grpo.study.points": study_points.main}
        job.folder.mkdir(parents=True, exist_ok=True)
        with (
            open(job.folder / "log.txt", "a", encoding="utf-8") as log,
            redirect_stdout(log),
            redirect_stderr(log),
        ):
            return fault or mains[module](argv)

    @property
    def names(self) -> list[str]:
        """Who was called, in order; forgotten afterwards."""
        names = [*self.called]
        self.called.clear()
        return names


def write_study(folder: Path, corpus: Path, model: Path, more: str = "") -> list[str]:
    """Arguments of `grpo.study.__main__.main` for a study in `folder`/study."""
    arguments(corpus, model, folder / "unused")
    file = folder / "study.toml"
    file.write_text(
        STUDY.format(folder=folder / "study", config=folder / "tiny.toml", model=model) + more,
        encoding="utf-8",
    )
    return ["--config", str(file)]


def two_tasks(folder: Path, corpus: Path, model: Path) -> tuple[str, str]:
    """The configurations of a task and of the same pairs turned round."""
    text = CONFIG.format(run=folder / "unused", corpus=corpus, model=model)
    for name, more in (("there", ""), ("back", "reverse = true\n")):
        (folder / f"{name}.toml").write_text(text.replace("[data]\n", f"[data]\n{more}"), encoding="utf-8")
    return str(folder / "there.toml"), str(folder / "back.toml")


def quick_task(model: Path) -> tuple[str, ...]:
    """Settings by which a task is learned in a second; the first two are for any run."""
    encoder = f"reward.encoder=static:{model}"
    return encoder, "threads=1", "sft.num_steps=2", "sft.max_completion_tokens=64"


def points(folder: Path) -> dict[str, Path]:
    """arm-step -> file of every point of seed 0."""
    found = (folder / "study" / "points").glob("*/seed0/step-*.json")
    return {f"{path.parent.parent.name}-{int(path.stem.removeprefix('step-'))}": path for path in found}
