"""A run with a further test set, from data to report."""

import json
from pathlib import Path

import pytest
from sacrebleu.metrics.chrf import CHRF
from tiny_run import HAN, SYLLABLES, arguments, quick_reward

from grpo.run import main

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_further_test_set_is_scored_beside_the_own_one(
    tiny_folder: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(3, 1, 4, 1, 5, 9, 2, 6), (2, 7, 1, 8, 2, 8, 1, 8)]
    texts = {
        "flores.src": ["་".join(SYLLABLES[n] for n in row) for row in rows],
        "flores.ref": ["".join(HAN[n] for n in row) for row in rows],
        "flores.second": ["".join(HAN[n] for n in reversed(row)) for row in rows],
    }
    for name, lines in texts.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = json.dumps([str(tmp_path / name) for name in texts])
    run = tmp_path / "run"
    reward = quick_reward(tiny_folder)
    steps = ["threads=1", "train.num_steps=1", "sft.num_steps=1"]
    assert main(arguments(corpus, tiny_folder, run, *reward, *steps, f"data.tests.flores={files}")) == 0
    assert "Results on flores" in capsys.readouterr().out
    results = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in (run / "eval" / "flores").iterdir()
    }
    assert results.keys() == {"untouched", "translation_memory", "warm_start", "trained", "comparison"}
    memory = results["translation_memory"]
    references = [item["references"] for item in memory["items"]]
    assert references == [[texts["flores.ref"][i], texts["flores.second"][i]] for i in range(2)]
    assert all(item["output"] for item in memory["items"])
    for item in memory["items"]:
        scores = [CHRF().sentence_score(item["output"], [text]).score for text in item["references"]]
        assert item["chrf"] == pytest.approx(max(scores))
    assert "nrefs:2" in memory["signatures"]["bleu"] and "nrefs:2" in memory["signatures"]["chrf"]
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "## Test set flores" in report and "| tests.flores | 2 | 2 |" in report
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["tests"]["flores"]["metrics"]["trained"]["all"]["n"] == 2
    assert summary["metrics"]["trained"]["all"]["n"] == 12
    (run / "eval" / "flores" / "trained.json").unlink()
    assert (
        main(
            arguments(
                corpus, tiny_folder, run, "--stages", "eval", *reward, *steps, f"data.tests.flores={files}"
            )
        )
        == 0
    )
    assert (run / "eval" / "flores" / "trained.json").exists()


def test_a_run_learns_from_prompts_without_reference_texts(
    tiny_folder: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    term = tmp_path / "mine.py"
    term.write_text(
        "def long(sources, completions, references):\n    return [len(c) / 40 for c in completions]\n"
    )
    prompts = tmp_path / "prompts.txt"
    rows = [(3, 1, 4, 1, 5, 9, 2, n) for n in range(16)]
    prompts.write_text("\n".join("་".join(SYLLABLES[n] for n in row) for row in rows), encoding="utf-8")
    run = tmp_path / "run"
    reward = [f"reward.encoder=static:{tiny_folder}", 'reward.gates=["script"]', "reward.shown=[]"]
    weights = f'reward.weights={{"{term}:long" = 1.0}}'
    more = [
        "threads=1",
        "train.num_steps=12",
        "sft.num_steps=1",
        "rollout.num_prompts=8",
        f"data.prompts={prompts}",
    ]
    stages = ["--stages", "data,model,sft,train"]
    assert main(arguments(corpus, tiny_folder, run, *stages, *reward, weights, *more)) == 0
    assert "16 prompts without reference texts read" in capsys.readouterr().out
    assert (run / "policy").is_dir()
