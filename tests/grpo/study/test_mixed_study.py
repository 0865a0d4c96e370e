"""A study over two directions of one corpus: its points, what goes on after a stop, and its report."""

import json
from pathlib import Path

import pytest
from tiny_run import use_both_directions
from tiny_study import PARTS, Children, points, write_study

from eval.report.wording import METRIC
from grpo.study.__main__ import main

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_target_is_the_mean_over_the_corpora(
    tiny_folder: Path, corpus: Path, tmp_path: Path, children: Children
) -> None:
    argv = write_study(tmp_path, corpus, tiny_folder)
    use_both_directions(tmp_path / "tiny.toml")
    file = tmp_path / "study.toml"
    held_out = f'settings = [\n  "reward.held_out=static:{tiny_folder}",'
    file.write_text(file.read_text(encoding="utf-8").replace("settings = [", held_out, 1), encoding="utf-8")
    assert main([*argv, *PARTS, "--arms", "sft"]) == 0
    assert children.names == ["warm_start seed0", "sft seed0", "points seed0"]
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in points(tmp_path).items()}
    assert sorted(found) == ["sft-2", "sft-4", "untouched-0", "warm_start-0"]
    target = found["sft-4"]["target"]
    there, back = (target["corpora"][name] for name in ("there", "back"))
    assert (there["target_language"], back["target_language"]) == ("zh", "bo")
    assert [len(one["items"]) for one in (there, back)] == [12, 12]
    for key in METRIC:
        mean = (there["metrics"]["all"][key] + back["metrics"]["all"][key]) / 2
        assert target["metrics"]["all"][key] == pytest.approx(mean)
    assert there["metrics"]["all"]["cosine"] != back["metrics"]["all"]["cosine"]
    assert found["untouched-0"]["tax"]["drift"]["general"]["nll_change_mean"] == 0
    lost = points(tmp_path)["sft-4"]
    before = lost.read_bytes()
    lost.unlink()
    assert main([*argv, *PARTS, "--arms", "sft"]) == 0
    again = json.loads(lost.read_text(encoding="utf-8"))
    assert children.names == ["points seed0"] and again["target"] == json.loads(before)["target"]
    assert main([*argv, "--only", "report"]) == 0
    report = (tmp_path / "study" / "report.md").read_text(encoding="utf-8")
    for title in (
        "Scores on 24 test items",
        "Scores on 12 test items of there",
        "Macro average over there, back",
    ):
        assert title in report
