"""examples/my_reward: its configuration runs as it is written, and the adapter keeps to TRL's convention both
ways.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT
from tiny_run import write_corpus

from examples.my_reward.my_reward import same_numbers
from examples.my_reward.trl_adapter import short_answer, short_answer_term
from grpo.run import main
from reward.lexical import chrf
from reward.script import script
from reward.trl import as_term, as_trl_reward

FOLDER = "examples/my_reward"
NUMBERS = f"{FOLDER}/my_reward.py:same_numbers"
SHORT = f"{FOLDER}/trl_adapter.py:short_answer_term"


def write_numbered_corpus(path: Path) -> Path:
    """The made-up pairs with a number on both sides, so that the term has something to count."""
    first, *pairs = write_corpus(path).read_text(encoding="utf-8").splitlines()
    lines = ["\t".join(f"{side} {number}" for side in pair.split("\t")) for number, pair in enumerate(pairs)]
    path.write_text("\n".join([first, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.usefixtures("own_cache")
def test_the_example_runs_and_its_terms_count(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    small = [
        f"data.corpus={write_numbered_corpus(tmp_path / 'pairs.tsv')}", "data.test_size=8", "data.test_min_per_language=0",
        f"model.policy={tiny_folder}", "model.max_prompt_tokens=128", f"reward.encoder=static:{tiny_folder}", "data.dev_size=4",
        "sft.num_steps=1", "anchor.sft=0.0", "rollout.num_prompts=2", "rollout.group_size=3", "train.num_steps=2", "threads=1",
        'reward.gates=["examples/my_reward/trl_adapter.py:short_answer_term"]', "reward.shown=[]", "reward.threshold=-1.0",
        "eval.probes=false",
    ]  # fmt: skip
    command = ["--config", f"{FOLDER}/config.toml", f"run_dir={tmp_path / 'run'}", "device=cpu", *small]
    assert main([*command, "--stages", "data,sft,train"]) == 0
    samples = [
        json.loads(line)
        for line in (tmp_path / "run" / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(samples) == 2
    for sample in samples:
        for row in sample["group"]:
            text = row["completion"]
            references = sample["references"]
            assert [row[NUMBERS]] == same_numbers(
                [""], [text], [references], least=0.1
            )  # the setting of config.toml
            assert [row[SHORT]] == short_answer([text], references[:1])
            assert row["reward"] == pytest.approx(row[SHORT] * (row["cosine"] + 0.2 * row[NUMBERS]), abs=2e-4)
    assert {row[SHORT] for sample in samples for row in sample["group"]} == {0.0, 1.0}


def test_numbers_are_compared_by_value_in_any_script() -> None:
    texts = ["3 天 10 人", "༣ 天 10 人", "3 天", "天", "3 3"]
    assert same_numbers([""] * 5, texts, [["3 天 10 人"]] * 5) == [1.0, 1.0, pytest.approx(2 / 3), 0.0, 0.5]
    assert same_numbers([""], ["4"], [["3", "4 天"]]) == [1.0]
    assert same_numbers(["", ""], ["天", "7"], [["地"], ["地"]], least=0.25) == [1.0, 0.25]


def test_a_trl_reward_is_a_term() -> None:
    def by_solution(
        prompts: list[str], completions: list[str], solution: list[str], **columns: Any
    ) -> list[float | None]:
        assert not columns
        rows = zip(prompts, completions, solution, strict=True)
        return [float(prompt + text == answer) if answer else None for prompt, text, answer in rows]

    term = as_term(by_solution, column="solution")
    assert term(("a", "a", "a"), ("b", "c", "b"), (("ab", "x"), ["ab"], [""])) == [1.0, 0.0, None]
    assert short_answer_term(["s"] * 2, ["abcd", "abcde"], [["ab"], ["ab"]]) == [1.0, 0.0]
    assert short_answer(
        prompts=["s"], completions=["abcd"], completion_ids=[[1]], reference=["ab"], trainer_state=None
    ) == [1.0]


def test_a_term_of_ours_is_a_trl_reward() -> None:
    """Called as TRL calls it, with texts and with messages; a NaN is None, and the name is what TRL logs."""
    reward = as_trl_reward(script, target_script="Hani")
    called: dict[str, Any] = {
        "prompts": ["p"] * 2,
        "completion_ids": [[1], [2]],
        "trainer_state": None,
        "source": ["s"] * 2,
    }
    assert reward(completions=["天地", "abc"], reference=["天", "地"], **called) == [1.0, 0.0]
    messages = [[{"role": "assistant", "content": "天地"}], [{"role": "assistant", "content": "abc"}]]
    assert reward(completions=messages, reference=[["天", "人"], ["地"]], **called) == [1.0, 0.0]
    assert reward.__name__ == "script"
    assert as_trl_reward(chrf, reference="answer")(completions=["天地"], source=["s"], answer=["天地"]) == [
        pytest.approx(1.0)
    ]
    missing = as_trl_reward(lambda sources, completions, references: [None, float("nan")])
    assert missing(completions=["a", "b"], reference=["a", "b"], **called) == [None, None]
