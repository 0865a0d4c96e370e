"""Studies of the tiny model on the made-up corpus, their children called in this process, with a tax panel
that needs no package.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny_run import arguments

from data.sources.news import TextItem
from eval.forgetting.probe_items import ChoiceItem, Panel
from grpo import run
from grpo.study import points as study_points

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
    """In place of processes: the same commands, called; `commands` says which. `broken`: name -> exit code or
    exception instead.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.commands: list[list[str]] = []
        self.broken: dict[str, int | BaseException] = {}
        for module in ("grpo.study.__main__", "grpo.study.arms"):
            monkeypatch.setattr(f"{module}.run_child", self)
        for place in ("eval.forgetting.tax.load_tax_panel", "grpo.study.points.load_tax_panel"):
            monkeypatch.setattr(place, lambda cache, extended: PANEL)

    def __call__(self, command: Sequence[str], name: str, folder: Path, keep: Sequence[int] = ()) -> int:
        self.commands.append([name, *command])
        fault = self.broken.get(name, 0)
        if isinstance(fault, BaseException):
            raise fault
        module, *argv = command
        return fault or {"grpo.run": run.main, "grpo.study.points": study_points.main}[module](argv)

    @property
    def names(self) -> list[str]:
        """Who was called, in order; forgotten afterwards."""
        names = [name for name, *_ in self.commands]
        self.commands.clear()
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


def points(folder: Path) -> dict[str, Path]:
    """arm-step -> file of every point of seed 0."""
    found = (folder / "study" / "points").glob("*/seed0/step-*.json")
    return {f"{path.parent.parent.name}-{int(path.stem.removeprefix('step-'))}": path for path in found}
