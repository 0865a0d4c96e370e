"""Few-shot transfer on the tiny model: from two starts, twice as many examples, judged alike; what is
finished is skipped.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_study import quick_task, two_tasks

from data.errors import InputError
from eval.study.transfer import transfer_figures
from grpo.study.config import ArmConfig, Study, TransferConfig
from grpo.study.transfer import Course, run_transfer

pytestmark = pytest.mark.usefixtures("own_cache", "children")


@pytest.fixture
def study(tmp_path: Path, corpus: Path, tiny_folder: Path) -> Study:
    """A study that has trained one arm, whose result is the tiny model itself; the other task is the same
    pairs turned round.
    """
    there, back = two_tasks(tmp_path, corpus, tiny_folder)
    quick = quick_task(tiny_folder)
    made = Study(
        str(tmp_path / "study"), there, settings=quick[:2], arms=(ArmConfig("grpo"),),
        transfer=TransferConfig(back, examples=(4, 8), starts=("untouched", "grpo"), settings=quick),
    )  # fmt: skip
    shutil.copytree(tiny_folder, made.arm_folder("grpo", 0) / "policy")
    return made


def results(study: Study) -> dict[str, dict]:
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in (study.folder / "transfer").glob("*.json")
    }


def test_every_start_learns_from_every_number_of_examples_and_all_are_judged_alike(
    study: Study, tiny_folder: Path
) -> None:
    run_transfer(study, 0, say=print)
    found = results(study)
    assert set(found) == {f"{start}-{count}-seed0" for start in ("untouched", "grpo") for count in (4, 8)}
    first = found["untouched-4-seed0"]
    assert (first["start"], first["examples"], first["seed"], first["target"]["target_language"]) == (
        "untouched",
        4,
        0,
        "bo",
    )
    for one in found.values():
        assert one["config"]["sft"]["max_pairs"] == one["examples"]
        assert [item["id"] for item in one["target"]["items"]] == [
            item["id"] for item in first["target"]["items"]
        ]
        assert one["target"]["signatures"] == first["target"]["signatures"]
        # both starts are the same weights, so they learn the same
        same = found[f"untouched-{one['examples']}-seed0"]
        assert [item["output"] for item in one["target"]["items"]] == [
            item["output"] for item in same["target"]["items"]
        ]
    assert found["grpo-4-seed0"]["config"]["model"]["policy"] == str(study.arm_folder("grpo", 0) / "policy")
    log = (study.folder / "transfer" / "grpo" / "4" / "seed0" / "log.txt").read_text(encoding="utf-8")
    assert "only the first 4 of them are used" in log
    assert not list((study.folder / "transfer").rglob("*.safetensors"))  # evaluated, and not kept
    figures = transfer_figures(list(found.values()), resamples=50, seed=0)
    assert [(row["examples"], row["start"]) for row in figures["rows"]] == [
        (4, "untouched"),
        (4, "grpo"),
        (8, "untouched"),
        (8, "grpo"),
    ]
    starts = [(pair["examples"], pair["first"], pair["second"]) for pair in figures["pairs"]]
    assert starts == [(4, "untouched", "grpo"), (8, "untouched", "grpo")]
    assert figures["pairs"][0]["changes"]["chrf"]["value"] == 0.0

    said: list[str] = []
    run_transfer(study, 0, said.append)
    assert said == [] and results(study) == found


def test_a_result_of_other_settings_is_named_with_the_key(study: Study) -> None:
    assert study.transfer is not None
    course = Course(study, study.transfer, "untouched", 4, 0)
    course.result.parent.mkdir(parents=True)
    course.result.write_text(json.dumps({"config": {"seed": 1}}), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"untouched-4-seed0\.json: was made with seed = 1, not 0; remove it"
    ):
        run_transfer(study, 0, print)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"examples": (4, 500)},
            r"transfer\.examples: 500 pairs are wanted, and .*pairs\.tsv has \d+ to learn from; write fewer",
        ),
        (
            {"starts": ("warm_start",)},
            r"seed0/warm_start: transfer begins from this model, which is not there;",
        ),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_anything_is_trained(
    study: Study, changes: dict, message: str
) -> None:
    assert study.transfer is not None
    with pytest.raises(InputError, match=message):
        run_transfer(replace(study, transfer=replace(study.transfer, **changes)), 0, print)
    assert not (study.folder / "transfer").exists()


def test_a_course_that_fails_is_named_and_the_others_go_on(study: Study) -> None:
    (study.arm_folder("grpo", 0) / "policy" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(
        InputError, match=r"transfer: grpo-4-seed0 \(see .*log\.txt\) failed; put right what the log says"
    ):
        run_transfer(
            replace(study, transfer=replace(study.transfer, examples=(4,), starts=("grpo", "untouched"))),
            0,
            print,
        )
    assert set(results(study)) == {"untouched-4-seed0"}
