"""The files of a study as its report reads them: whatever is damaged is named in one sentence, with its file."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented_points import even, invented_point, invented_study, write_points

from data.errors import InputError, one_line
from eval.study.points import read_study

Json = dict[str, Any]


def damage_point(study: Path, change: Callable[[Json], Any]) -> Path:
    """The study with one change to the second checkpoint of the main arm."""
    path = write_points(study, invented_study()) / "points" / "grpo" / "seed0" / "step-000020.json"
    point = json.loads(path.read_text(encoding="utf-8"))
    change(point)
    path.write_text(json.dumps(point), encoding="utf-8")
    return path


def test_every_point_is_read_with_what_it_says(tmp_path: Path) -> None:
    study = read_study(write_points(tmp_path, invented_study((0, 2))))
    assert len(study.points) == 1 + 2 * 9
    point = next(point for point in study.points if (point.arm, point.seed) == ("held", 2))
    assert (point.kind, point.step, point.settings, point.is_trained) == (
        "grpo",
        20,
        ("tax.budget=0.02",),
        True,
    )
    assert point.tax["drift"]["general"]["nll_change_mean"] == pytest.approx(0.017)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda point: point.pop("tax"), "tax is missing"),
        (lambda point: point.update(step="20"), "step is no int"),
        (lambda point: point.update(seed=True), "seed is no int"),
        (lambda point: point["cost"].update(tokens=None), "cost.tokens is missing"),
        (lambda point: point["target"].update(items=[]), "target.items is empty"),
        (lambda point: point["target"]["items"][3].update(cosine="high"), "target.items[3] has no number 'cosine'"),
        (lambda point: point["target"]["items"][3].update(cosine=math.nan), "target.items[3].cosine = nan"),
        (lambda point: point["tax"]["drift"]["general"]["items"][0].update(nll=math.inf), "tax.drift.general.items[0].nll = inf"),
        (lambda point: point["tax"]["drift"]["general"]["items"][1].pop("kl"), "tax.drift.general.items[1] has no number 'kl'"),
        (lambda point: [item.update(tokens=0) for item in point["tax"]["drift"]["general"]["items"]], "hold no token"),
        (lambda point: point.update(arm="other"), "it belongs at"),
        (lambda point: point["target"]["items"].pop(), "other test items than"),
        (lambda point: point["tax"]["drift"]["general"]["items"].reverse(), "other tax texts than"),
    ],
)  # fmt: skip
def test_a_damaged_point_is_one_sentence_with_its_file(
    tmp_path: Path, change: Callable[[Json], Any], message: str
) -> None:
    path = damage_point(tmp_path, change)
    with pytest.raises(InputError) as error_info:
        read_study(tmp_path)
    assert message in str(error_info.value) and str(path) in str(error_info.value)
    assert len(one_line(error_info.value).splitlines()) == 1


def test_seeds_may_have_different_test_items(tmp_path: Path) -> None:
    points = [
        invented_point("warm_start", "warm_start", even(0.3, 8 + seed), even(0.0), seed=seed)
        for seed in (0, 1)
    ]
    assert [len(point.target["items"]) for point in read_study(write_points(tmp_path, points)).points] == [
        8,
        9,
    ]


def test_a_folder_without_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name the study_dir"):
        read_study(tmp_path)


def test_transfer_and_judgements_are_checked_like_points(tmp_path: Path) -> None:
    write_points(tmp_path, invented_study())
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "a.json").write_text(
        '{"before": "a", "after": "b", "judge": "c", "n": 3, "win": 0.5, "tie": 0.1}'
    )
    with pytest.raises(InputError, match=r"judge/a\.json: loss is missing"):
        read_study(tmp_path)
    (tmp_path / "transfer").mkdir()
    target = {"target_language": "zh", "items": [3]}
    path = tmp_path / "transfer" / "grpo-5-seed0.json"
    path.write_text(json.dumps({"start": "grpo", "examples": 5, "seed": 0, "target": target}))
    # past bug: the report ended with "int has no attribute get"
    with pytest.raises(InputError, match=r"seed0\.json: target\.items\[0\] has no str 'id'"):
        read_study(tmp_path)
