"""Backward and forward transfer by hand, and a sequence's results in the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented_points import even, invented_study, study_report, target_items

from data.errors import InputError
from eval.report.wording import Metric
from eval.study.estimates import Estimate
from eval.study.report import write_study_report
from eval.study.sequence import backward_transfer, forward_transfer, sequence_figures
from eval.study.sequence_tables import sequence_table

TASKS = ["one", "two", "three"]
SCORES = [[0.1, 0.2, 0.3], [0.8, 0.3, 0.3], [0.6, 0.9, 0.5], [0.5, 0.6, 0.7]]  # [stage][task]


def estimates() -> list[list[Estimate]]:
    return [[np.array([score, score, 2 * score]) for score in row] for row in SCORES]


def result(recipe: str, stage: int, task: str, score: float, seed: int = 0) -> dict[str, Any]:
    target = {"target_language": "zh", "items": target_items(even(score, 4))}
    return {"recipe": recipe, "stage": stage, "task": task, "tasks": TASKS, "seed": seed, "target": target}


def results() -> list[dict[str, Any]]:
    return [
        result("grpo" if stage else "untouched", stage, task, score)
        for stage, row in enumerate(SCORES)
        for task, score in zip(TASKS, row, strict=True)
    ]


def write_results(study: Path, documents: list[dict[str, Any]]) -> None:
    (study / "sequence").mkdir()
    for one in documents:
        name = f"{one['recipe']}-{one['stage']}-{one['task']}-seed0.json"
        (study / "sequence" / name).write_text(json.dumps(one, ensure_ascii=False), encoding="utf-8")


def test_transfer_by_hand() -> None:
    """Backward: (0.5 - 0.8 + 0.6 - 0.9) / 2. Forward: (0.3 - 0.2 + 0.5 - 0.3) / 2. Each resample alike."""
    backward, forward = backward_transfer(estimates()), forward_transfer(estimates())
    assert backward == pytest.approx([-0.3, -0.3, -0.6]) and forward == pytest.approx([0.15, 0.15, 0.3])


def test_results_become_figures_and_tables(tmp_path: Path) -> None:
    write_results(tmp_path, results())
    _, plain, summary = study_report(tmp_path, invented_study())
    (row,) = summary["sequence"]["recipes"]
    assert row["accuracy"]["value"] == pytest.approx(0.6)
    assert (row["backward"]["value"], row["forward"]["value"]) == pytest.approx((-0.3, 0.15))
    assert [score["value"] for score in row["scores"][2]] == pytest.approx([0.6, 0.9, 0.5])
    assert "| grpo | 1 | 0.600 | \u22120.300 (\u22120.300 to \u22120.300) |" in plain


def test_a_sequence_alone_has_a_report_of_its_own(tmp_path: Path) -> None:
    """Two recipes, the second one worse on every task at the end."""
    signed = results()
    for one in signed:
        one["target"]["signatures"] = {"cosine_held_out": f"encoder of {one['task']}"}
    worse = [result("sft", stage, task, 0.1 * stage) for stage in (1, 2, 3) for task in TASKS]
    write_results(tmp_path, [*signed, *worse])
    page, plain, summary = (path.read_text(encoding="utf-8") for path in write_study_report(tmp_path))
    figures = json.loads(summary)
    assert [row["recipe"] for row in figures["sequence"]["recipes"]] == ["grpo", "sft"]
    assert figures["conclusions"][0].startswith(
        "grpo: after 3 tasks their mean Held-out cosine is 0.600, the backward transfer \u22120.300 ("
    )
    assert "**grpo has the best mean Held-out cosine at the end, 0.600, over 3 tasks" in plain
    assert (
        "| sft | 1 | 0.300 | +0.150 (+0.150 to +0.150) |" in plain and "| two | 4 | encoder of two |" in plain
    )
    assert "Gain against tax" not in plain and "Tasks one after the other" in page


def test_a_sequence_alone_without_a_whole_seed_is_refused(tmp_path: Path) -> None:
    write_results(tmp_path, results()[:-1])
    with pytest.raises(
        InputError, match="no recipe has results on all tasks after all of them; run the study"
    ):
        write_study_report(tmp_path)


def test_a_seed_that_lacks_a_result_does_not_count() -> None:
    more = [result("grpo", 3, "one", 0.0, seed=1)]
    figures = sequence_figures([*results(), *more], "cosine_held_out", 20, 0)
    assert figures is not None and figures["recipes"][0]["seeds"] == [0]
    assert sequence_figures(more, "cosine_held_out", 20, 0) is None


def test_results_on_other_test_items_are_refused() -> None:
    other = results()
    other[3]["target"]["items"].pop()
    with pytest.raises(InputError, match=r"sequence/grpo-1-one-seed0\.json: other test items than"):
        sequence_figures(other, "cosine_held_out", 20, 0)


@pytest.mark.parametrize(("better", "side"), [(1, "below"), (-1, "above")])
def test_the_note_says_on_which_side_of_0_a_task_is_forgotten(better: int, side: str) -> None:
    """Past bug: of a metric that is better when lower a rise, which is forgetting, was called the opposite."""
    figures = sequence_figures(results(), "cosine_held_out", 20, 0)
    assert figures is not None
    table = sequence_table(figures, Metric("errors", "errors", 3, better=better), "")
    assert f"{side} 0 is forgetting" in table.notes[0]
