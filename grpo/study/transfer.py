"""Few-shot transfer: train the untouched model and a study's models on a few examples of another task.

Each start and number of examples is an ordinary run (stages data, model, sft) in transfer/START/N/seedK of
the study's folder. What it can then do on the other task's test set is transfer/START-N-seedK.json: {"start",
"examples", "seed", "config", "target"}. All are judged by one set of instruments (grpo/study/tasks.py).
"""

from dataclasses import dataclass
from pathlib import Path

from data.cache import remove_folder
from data.errors import InputError
from eval.study.layout import transfer_file
from grpo.config import Config
from grpo.config_file import load_config
from grpo.runtime.run_folder import study_lock
from grpo.stages.context import Run, corpus_of, load_prompt, untouched_model
from grpo.stages.evaluate import Measures
from grpo.stages.lengths import fit, pair_limits, warm_start_pairs
from grpo.study.children import Job, run_child
from grpo.study.config import Study, TransferConfig
from grpo.study.tasks import Say, has_result, measure_on_task, measures_of, task_run

# of the pairs that are neither test nor dev: nearly all, as GRPO needs no prompts here
WARM_START_SHARE = 0.9


@dataclass(frozen=True)
class Course:
    """One start that learns from one number of examples."""

    study: Study
    transfer: TransferConfig
    start: str
    examples: int
    seed: int

    @property
    def name(self) -> str:
        return self.result.stem

    @property
    def folder(self) -> Path:
        return self.study.folder / "transfer" / self.start / str(self.examples) / f"seed{self.seed}"

    @property
    def result(self) -> Path:
        return transfer_file(self.study.folder, self.start, self.examples, self.seed)

    @property
    def model(self) -> str:
        """The folder of a trained model; "" = the untouched model."""
        return "" if self.start == "untouched" else str(self.study.model_of(self.start, self.seed))

    def overrides(self) -> list[str]:
        model = self.study.model_overrides(self.seed, self.model)
        own = [f"sft.max_pairs={self.examples}", *self.study.run_overrides(self.seed, self.folder)]
        return [f"data.warm_start_share={WARM_START_SHARE}", *self.transfer.settings, *model, *own]

    def config(self) -> Config:
        return load_config(self.transfer.config, self.overrides())


def run_transfer(study: Study, seed: int, say: Say) -> None:
    """Every course of one seed that has no result yet. Raises InputError, after the others were run, where
    one could not be.
    """
    if study.transfer is None:
        return
    courses = [
        Course(study, study.transfer, start, count, seed)
        for start in study.transfer.starts
        for count in study.transfer.examples
    ]
    waiting = [course for course in courses if not has_result(course.result, course.config())]
    if not waiting:
        return
    run = untouched_run(waiting[0], say)
    check_enough(waiting, run)
    measures: Measures | None = None
    failed = []
    for course in waiting:
        with study_lock(course.folder, say) as lock:
            if train_course(course, lock) != 0:
                failed.append(f"{course.name} (see {course.folder / 'log.txt'})")
                continue
            measures = measures or measures_of(run)
            measure_course(course, measures)
    if failed:
        raise InputError(
            f"transfer: {', '.join(failed)} failed; put right what the log says and run the same command again"
        )


def untouched_run(course: Course, say: Say) -> Run:
    """A run of the other task by the untouched model, of which only corpus, test set and encoders are used."""
    start = Course(course.study, course.transfer, "untouched", course.examples, course.seed)
    return task_run(start.config(), start.folder, say)


def check_enough(courses: list[Course], run: Run) -> None:
    """InputError, before anything is trained, where pairs for the largest course or a model to begin from is
    missing.
    """
    for course in courses:
        if course.start != "untouched" and not (Path(course.model) / "config.json").exists():
            raise InputError(
                f"{course.model}: transfer begins from this model, which is not there; run the study with --only train first"
            )
    config = run.config
    prompt = load_prompt(run, untouched_model(run))
    count = len(
        fit("warm_start", warm_start_pairs(config, corpus_of(run)), prompt, pair_limits(config)).usable
    )
    largest = max(course.examples for course in courses)
    if count < largest:
        corpus = run.config.data.pairs
        raise InputError(
            f"transfer.examples: {largest} pairs are wanted, and {corpus} has {count} to learn from; write fewer"
        )


def train_course(course: Course, lock: int) -> int:
    """The stages data, model and sft in a process of their own; exit code."""
    if (course.folder / "warm_start").exists():
        return 0
    config = course.transfer.config
    command = ["grpo.run", "--config", config, "--stages", "data,model,sft", *course.overrides()]
    return run_child(Job(command, f"transfer {course.name}", course.folder, [lock]))


def measure_course(course: Course, measures: Measures) -> None:
    """Write a course's result; its weights go unless the study keeps all."""
    folder = course.folder / "warm_start"
    about = {"start": course.start, "examples": course.examples, "seed": course.seed}
    measure_on_task(measures, folder, course.result, about, course.config())
    if course.study.keep_snapshots != "all":
        remove_folder(folder)
