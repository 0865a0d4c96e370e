"""What a recipe keeps and carries over when it learns several tasks one after the other.

R[i][j] is the score on task j after the stages 1 to i; stage 0 is the untouched model. With T tasks, after Lopez-Paz
and Ranzato, "Gradient Episodic Memory" (arXiv 1706.08840, section 2):

average accuracy   mean over j of R[T][j]
backward transfer  mean over j < T of R[T][j] - R[j][j]: what later stages did to a task; below 0 is forgetting
forward transfer   mean over j > 1 of R[j - 1][j] - R[0][j]: what earlier stages gave to a task before its own

The items of each task are drawn anew in every resample, the same for all models.
"""

from collections.abc import Sequence
from pathlib import Path

from eval.report.learned import common_facts
from eval.run_folder import Json
from eval.study.estimates import Estimate, average, interval, result_scores
from eval.study.layout import sequence_file
from eval.study.points import UNTOUCHED, check_same, identities

Matrix = list[list[Estimate]]  # [stage][task], the untouched model first


def sequence_figures(documents: Sequence[Json], metric: str, resamples: int, seed: int) -> Json | None:
    """For each recipe the seeds with all results, every score, and the three means; None without a whole seed."""
    if not documents:
        return None
    check_same(
        "test items",
        (((one["task"], one["seed"]), name_of(one), identities(one["target"])) for one in documents),
    )
    tasks = documents[0]["tasks"]
    estimates = {
        (one["recipe"], one["stage"], one["task"], one["seed"]): result_scores(
            one, name_of(one), resamples, seed + 1 + tasks.index(one["task"])
        )[metric]
        for one in documents
        if one["tasks"] == tasks
    }
    recipes = sorted({recipe for recipe, *_ in estimates} - {UNTOUCHED})
    rows = [recipe_figures(recipe, tasks, estimates) for recipe in recipes]
    whole = [row for row in rows if row is not None]
    return {"metric": metric, "tasks": tasks, "recipes": whole} if whole else None


def learned_sequences(documents: Sequence[Json], resamples: int, seed: int) -> Json:
    """`learned_sequences`: name -> facts of each learned metric that every result has, and its figures as in
    `sequence_figures`; empty without such a metric.
    """
    facts = common_facts([one["target"] for one in documents])
    sequences = {
        name: {"facts": own, "figures": sequence_figures(documents, name, resamples, seed)}
        for name, own in facts.items()
    }
    return {"learned_sequences": sequences} if sequences else {}


def name_of(document: Json) -> str:
    """The file that a result is read from, from the study's folder."""
    keys = ("recipe", "stage", "task", "seed")
    return sequence_file(Path(), *(document[key] for key in keys)).as_posix()


def recipe_figures(
    recipe: str, tasks: Sequence[str], estimates: dict[tuple[str, int, str, int], Estimate]
) -> Json | None:
    """The figures of one recipe over its whole seeds; None without one."""
    matrices: dict[int, Matrix] = {}
    for seed in sorted({key[3] for key in estimates}):
        keys = [
            [(recipe if stage else UNTOUCHED, stage, task, seed) for task in tasks]
            for stage in range(len(tasks) + 1)
        ]
        if all(key in estimates for row in keys for key in row):
            matrices[seed] = [[estimates[key] for key in row] for row in keys]
    if not matrices:
        return None
    return {
        "recipe": recipe,
        "seeds": [*matrices],
        "scores": [
            [interval([matrix[stage][task] for matrix in matrices.values()]) for task in range(len(tasks))]
            for stage in range(len(tasks) + 1)
        ],
        "accuracy": interval([average(matrix[-1]) for matrix in matrices.values()]),
        "backward": interval([backward_transfer(matrix) for matrix in matrices.values()]),
        "forward": interval([forward_transfer(matrix) for matrix in matrices.values()]),
    }


def backward_transfer(matrix: Matrix) -> Estimate:
    """Of R[0..T][1..T] with T > 1."""
    last = len(matrix) - 1
    return average([matrix[last][task] - matrix[task + 1][task] for task in range(last - 1)])


def forward_transfer(matrix: Matrix) -> Estimate:
    """Of R[0..T][1..T] with T > 1."""
    return average([matrix[task][task] - matrix[0][task] for task in range(1, len(matrix) - 1)])
