"""The bridge to lm-evaluation-harness: its log-likelihoods are ours. In a process of its own, on a local
task, without a network.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT
from tiny import tiny_gemma

from data.errors import InputError
from eval.forgetting.probes import text_ids
from eval.harness import check_task, item_record, main
from grpo.engine.likelihood import first_ids, log_likelihoods

HAS_HARNESS = importlib.util.find_spec("lm_eval") is not None
QUESTIONS = [
    ("The sky is", ["blue", "made of cheese"], 0),
    ("Two and two are", ["five", "four"], 1),
    ("水是", ["湿的", "干的"], 0),
]
TASK = """task: tiny_local
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
  - metric: acc_norm
"""


def write_task(folder: Path) -> Path:
    data = folder / "questions.jsonl"
    rows = (
        {"question": question, "choices": choices, "answer": answer}
        for question, choices, answer in QUESTIONS
    )
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = folder / "task.yaml"
    task.write_text(TASK.format(data=data), encoding="utf-8")
    return task


@pytest.mark.skipif(not HAS_HARNESS, reason="lm_eval is not installed: pip install -e '.[harness]'")
def test_log_likelihoods_of_harness_and_probes_agree(
    tiny_folder: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    command = [
        "--model",
        tiny_folder,
        "--tasks",
        write_task(tmp_path),
        "--out",
        out,
        "--batch-size",
        "2",
        "--device",
        "cpu",
    ]
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    process = subprocess.run(
        [sys.executable, "-m", "eval.harness", *map(str, command)], env=environment, capture_output=True, text=True, check=False,
        cwd=ROOT,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    result = json.loads(out.read_text(encoding="utf-8"))
    contexts = [
        first_ids(tiny_tokenizer) + text_ids(tiny_tokenizer, question) for question, _, _ in QUESTIONS
    ]
    choices = [[text_ids(tiny_tokenizer, f" {choice}") for choice in group] for _, group, _ in QUESTIONS]
    ours = log_likelihoods(tiny_gemma(), contexts, choices)
    rows = sorted(result["items"]["tiny_local"], key=lambda row: row["doc_id"])
    for row, expected in zip(rows, ours, strict=True):
        assert [float(answer[0]) for answer in row["filtered_resps"]] == pytest.approx(expected, rel=1e-4)
    right = [
        scores.index(max(scores)) == answer for scores, (_, _, answer) in zip(ours, QUESTIONS, strict=True)
    ]
    assert [row["acc"] == 1.0 for row in rows] == right
    assert result["results"]["tiny_local"]["acc,none"] == pytest.approx(sum(right) / 3)


@pytest.mark.skipif(HAS_HARNESS, reason="lm_eval is installed")
def test_without_the_extra_one_sentence_says_how_to_get_it(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(tiny_folder), "--tasks", "hellaswag", "--out", str(tmp_path / "x.json")]) == 2
    assert capsys.readouterr().err == (
        'error: harness needs lm_eval, which is not installed; type: pip install "semantic-grpo[harness]"\n'
    )


def test_a_task_that_is_nowhere_is_named(tmp_path: Path) -> None:
    check_task("known", ["known"])
    for task, said in (
        (str(tmp_path / "no.yaml"), "no such file"),
        ("hella", "not a task of lm-evaluation-harness"),
    ):
        with pytest.raises(InputError, match=said):
            check_task(task, ["known"])


def test_no_tasks_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "x", "--tasks", " , ", "--out", str(tmp_path / "x.json")]) == 2
    assert "--tasks is empty" in capsys.readouterr().err


def test_an_items_text_is_not_kept() -> None:
    row = {
        "doc_id": 3,
        "doc": {"question": "secret"},
        "target": 1,
        "filtered_resps": [["-1", "True"]],
        "metrics": ["acc"],
        "acc": 1.0,
    }
    assert item_record(row) == {"doc_id": 3, "target": 1, "filtered_resps": [["-1", "True"]], "acc": 1.0}
