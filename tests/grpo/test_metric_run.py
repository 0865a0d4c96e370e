"""A run that a learned metric pays, with prompts that have no reference text, and one that is held out."""

import json
from pathlib import Path

import pytest
from metric_folders import metric_folder
from tiny_run import SYLLABLES, arguments, metrics, quick_reward

from grpo.run import main

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_metric_without_references_pays_for_prompts_without_them(
    tiny_folder: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {name: str(metric_folder(tmp_path, name)) for name in ("cometkiwi", "bleurt")}
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"{SYLLABLES[i]}་{SYLLABLES[i + 1]}་{SYLLABLES[i + 3]}\n" for i in range(5)))
    run = tmp_path / "run"
    tables = json.dumps(folders).replace(":", " =")
    settings = [
        *quick_reward(tiny_folder), f"reward.metrics={tables}", "threads=1", "train.num_steps=2", "sft.num_steps=1",
        f"data.prompts={prompts}",
    ]  # fmt: skip
    refused = arguments(corpus, tiny_folder, run, *settings, "reward.weights={bleurt = 1.0}")
    assert main(refused) == 2
    assert "the reward term bleurt needs one" in capsys.readouterr().err
    settings += ["eval.every=2", "eval.best_by=bleurt", "reward.weights={cometkiwi = 1.0}"]
    assert main(arguments(corpus, tiny_folder, run, *settings)) == 0
    paid = arguments(corpus, tiny_folder, run, *settings, "eval.best_by=cometkiwi")
    assert main(paid) == 2
    assert "eval.best_by = 'cometkiwi' would choose a checkpoint by what" in capsys.readouterr().err
    (dev,) = metrics(run, "train_dev")
    assert list(dev)[2:4] == ["bleurt", "reward_mean"] and -2 < dev["bleurt"] < 2
    rows = metrics(run, "train")
    assert [row["reward_mean"] for row in rows] == pytest.approx([row["cometkiwi_mean"] for row in rows])
    result = json.loads((run / "eval" / "trained.json").read_text(encoding="utf-8"))
    assert {name: own["rewarded"] for name, own in result["learned"].items()} == {
        "cometkiwi": True,
        "bleurt": False,
    }
    scores = [item["learned"]["bleurt"] for item in result["items"]]
    assert result["metrics"]["all"]["bleurt"] == pytest.approx(sum(scores) / len(scores))
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "Learned metrics" in report
    assert "Change of the learned metrics" in report
