"""Several tasks one after the other: each recipe learns them in order, and after each it is measured on all of them.

A stage is an ordinary run (stages data, model, sft, train) in sequence/RECIPE/seedK/TASK of the study's folder, whose
untouched model is what the stage before has left. What a recipe can do after a stage on a task is
sequence/RECIPE-STAGE-TASK-seedK.json: {"recipe", "stage", "task", "tasks", "seed", "config", "target"}; stage 0 is the
untouched model. What was finished is skipped, and a stopped stage goes on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from data.errors import InputError
from eval.study.layout import sequence_file
from eval.study.points import UNTOUCHED
from grpo.config import Config
from grpo.config_file import load_config
from grpo.engine.source import ModelSource
from grpo.runtime.run_folder import check_config, study_lock
from grpo.stages.context import Run, untouched_model
from grpo.stages.evaluate import Measures
from grpo.study.children import Job, run_child
from grpo.study.config import SequenceConfig, Study
from grpo.study.tasks import Say, has_result, measure_on_task, measures_of, task_run


@dataclass(frozen=True)
class Stage:
    """One recipe after its first `number` tasks, in one seed; 0 is the untouched model."""

    study: Study
    sequence: SequenceConfig
    recipe: str
    number: int
    seed: int

    @property
    def folder(self) -> Path:
        """The run folder of the stage."""
        place = self.study.folder / "sequence" / self.recipe / f"seed{self.seed}"
        return place / (self.sequence.tasks[self.number - 1] if self.number else UNTOUCHED)

    @property
    def before(self) -> "Stage":
        return Stage(self.study, self.sequence, self.recipe, self.number - 1, self.seed)

    @property
    def start(self) -> str:
        """What the stage before has left; "" = the untouched model."""
        return str(self.before.folder / "policy") if self.number > 1 else ""

    def overrides(self) -> list[str]:
        """The settings of a run by the recipe of the stage, from its start."""
        own = self.study.run_overrides(self.seed, self.folder)
        recipe = self.sequence.recipes.get(self.recipe, ())
        return [*self.sequence.settings, *recipe, *self.study.model_overrides(self.seed, self.start), *own]

    def config(self, task: int) -> Config:
        return load_config(self.sequence.configs[task], self.overrides())

    def result(self, task: int) -> Path:
        name = self.sequence.tasks[task]
        return sequence_file(self.study.folder, self.recipe, self.number, name, self.seed)


def stages_of(study: Study, sequence: SequenceConfig, recipe: str, seed: int) -> Iterator[Stage]:
    for number in range(1, len(sequence.configs) + 1):
        yield Stage(study, sequence, recipe, number, seed)


def run_sequence(study: Study, seed: int, say: Say) -> None:
    """Every stage of one seed that is not finished. Raises InputError, after the other recipes, for one that failed."""
    if study.sequence is None:
        return
    tasks = study.sequence.tasks
    untouched = Stage(study, study.sequence, UNTOUCHED, 0, seed)

    def run_of(task: int) -> Run:  # what is measured of a corpus, as its limits, lies in the folder
        return task_run(untouched.config(task), untouched.folder / tasks[task], say)

    measures = cache(lambda task: measures_of(run_of(task)))  # of each task, when it is first needed
    measure_stage(untouched, untouched_model(run_of(0)), measures)
    failed = []
    for recipe in study.sequence.recipes:
        for stage in stages_of(study, study.sequence, recipe, seed):
            with study_lock(stage.folder, say) as lock:
                if train_stage(stage, lock) != 0:
                    failed.append(f"{recipe}, seed {seed} (see {stage.folder / 'log.txt'})")
                    break
                measure_stage(stage, stage.folder / "policy", measures)
    if failed:
        raise InputError(
            f"sequence: {', '.join(failed)} failed; put right what the log says and run the same command again"
        )


def train_stage(stage: Stage, lock: int) -> int:
    """The stages data, model, sft and train of the task in a process of their own; exit code."""
    task = stage.number - 1
    if (stage.folder / "policy").exists():
        check_config(stage.config(task), stage.folder)
        return 0
    config = stage.sequence.configs[task]
    command = ["grpo.run", "--config", config, "--stages", "data,model,sft,train", *stage.overrides()]
    name = f"sequence {stage.recipe} {stage.sequence.tasks[task]} seed{stage.seed}"
    return run_child(Job(command, name, stage.folder, [lock]))


def measure_stage(stage: Stage, model: Path | ModelSource, measures: Callable[[int], Measures]) -> None:
    """Write the results on all tasks that are not there yet."""
    for task, name in enumerate(stage.sequence.tasks):
        if has_result(stage.result(task), stage.config(task)):
            continue
        about = {
            "recipe": stage.recipe, "stage": stage.number, "task": name, "tasks": list(stage.sequence.tasks), "seed": stage.seed,
        }  # fmt: skip
        measure_on_task(measures(task), model, stage.result(task), about, stage.config(task))
