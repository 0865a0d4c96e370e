"""A run on two directions of one corpus, from data to report, and its resume."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import byte_tokenizer, tiny_gemma
from tiny_hooks import stop_after
from tiny_run import arguments, assert_same_run, metrics, use_both_directions
from tiny_team import start_team

from data.errors import InputError
from data.examples import Example
from data.script import script_share
from data.settings import build
from grpo.config import Config
from grpo.config_check import check
from grpo.run import main
from grpo.training import by_language, reward_examples
from reward.encoders.static import load_static

pytestmark = pytest.mark.usefixtures("own_cache")


def example(number: int, language: str) -> Example:
    return Example(str(number), f"source {number}", f"reference {number}", "o", "l", "en", language)


def test_every_text_is_judged_by_the_reward_of_its_language() -> None:
    calls = []

    def reward(language: str, value: float):  # type: ignore[no-untyped-def]
        def function(sources, texts, references, group_size):  # type: ignore[no-untyped-def]
            calls.append((language, list(sources), list(texts), [*references]))
            numbers = torch.tensor([value + float(text) for text in texts]).view(-1, group_size)
            return numbers, {"term": numbers * 2}

        return function

    examples = [example(number, language) for number, language in enumerate("bzb") for _ in range(2)]
    rewards, terms = reward_examples(
        {"b": reward("b", 10), "z": reward("z", 20)}, examples, ["0", "1", "2", "3", "4", "5"], 2
    )
    assert rewards.tolist() == [[10, 11], [22, 23], [14, 15]]
    assert terms["term"].tolist() == [[20, 22], [44, 46], [28, 30]]
    assert calls[1] == ("z", ["source 1"] * 2, ["2", "3"], [("reference 1",)] * 2)
    alone = reward("z", 1)
    assert by_language({"z": alone}) is alone


def command(corpus: Path, model: Path, run: Path, *more: str) -> list[str]:
    arguments(corpus, model, run)
    path = run.parent / "tiny.toml"
    use_both_directions(path)
    reward = [f"reward.encoder=static:{model}", f"reward.held_out=static:{model}", 'reward.gates=["script"]']
    reward += [
        "reward.threshold=mean",
        "reward.shown=[]",
        "threads=1",
        "sft.num_steps=2",
        "train.num_steps=3",
    ]
    return ["--config", str(path), *more, *reward]


def test_two_directions_go_from_data_to_report(
    tiny_folder: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(command(corpus, tiny_folder, run, "eval.every=2")) == 0
    printed = capsys.readouterr().out
    assert "drawn from there " in printed and "Macro average over the corpora" in printed
    assert "Macro average over 2 corpora" in (run / "report.md").read_text(encoding="utf-8")
    assert {path.name for path in run.glob("reward*.json")} == {"reward.zh.json", "reward.bo.json"}
    results = {
        name: json.loads((run / "eval" / name / "trained.json").read_text(encoding="utf-8"))
        for name in ("there", "back")
    }
    assert [results[name]["target_language"] for name in ("there", "back")] == ["zh", "bo"]
    assert "tok:zh" in results["there"]["signatures"]["bleu"]
    assert "tok:tsheg-13a" in results["back"]["signatures"]["bleu"]
    for name, script in (("there", "Hani"), ("back", "Tibt")):
        assert all(script_share(item["reference"], script) == 1 for item in results[name]["items"])
    memory = json.loads((run / "eval" / "back" / "translation_memory.json").read_text(encoding="utf-8"))
    assert all(item["consistent"] and script_share(item["output"], "Tibt") == 1 for item in memory["items"])
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    mean = sum(summary["tests"][name]["metrics"]["trained"]["all"]["chrf"] for name in results) / 2
    assert summary["macro"]["trained"]["chrf"] == pytest.approx(mean)
    (change,) = [
        pair["slices"]["all"]["chrf"]
        for pair in summary["comparison"]["pairs"]
        if pair["before"] == "warm_start"
    ]
    assert change["after"] == pytest.approx(mean) and change["n"] == 12
    assert change["low"] <= change["difference"] <= change["high"]
    report = (run / "report.md").read_text(encoding="utf-8")
    for title in ("### Macro average over the corpora", "## Test set there", "## Test set back"):
        assert title in report
    prompt = json.loads((run / "policy" / "prompt.json").read_text(encoding="utf-8"))
    assert {kind["prompt"] for kind in prompt["kinds"]} == {
        "Tibetan: {source}\nChinese:",
        "Chinese: {source}\nTibetan:",
    }


def test_each_language_has_the_reward_of_its_own_encoder(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training, on the dev set and in the evaluation; each encoder is another matrix, and that of reward.encoder is
    no language's.
    """
    folders = {"zh": tmp_path / "zh", "bo": tmp_path / "bo"}
    for seed, folder in enumerate(folders.values(), 1):
        tiny_gemma(seed).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
    seen: list[tuple[Sequence[Example], Sequence[str], torch.Tensor]] = []

    def reward(*arguments: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        found = reward_examples(*arguments)
        seen.append((arguments[1], arguments[2], found[1]["cosine_raw"].flatten()))
        return found

    monkeypatch.setattr("grpo.samples.reward_examples", reward)
    monkeypatch.setattr("grpo.stages.hooks.reward_examples", reward)
    run = tmp_path / "run"
    encoders = [f"reward.encoders.{language}=static:{folder}" for language, folder in folders.items()]
    more = ["eval.every=1", "reward.weights={cosine_raw = 1.0}", "rollout.num_prompts=6"]
    assert main([*command(corpus, tiny_folder, run, *encoders, *more), "train.num_steps=1"]) == 0

    def cosine(text: str, references: Sequence[str], language: str) -> float:
        vectors = load_static(folders[language]).encode([text, *references])
        return float((vectors[0] @ vectors[1:].T).max()) if text.strip() else 0.0

    rows = [row for one in seen for row in zip(*one, strict=True) if any(map(str.isalnum, row[1]))]
    for language in folders:
        own_rows = [row for row in rows if row[0].target_language == language]
        values = [cosine(text, example.references, language) for example, text, _ in own_rows]
        assert len(values) > 3 and [float(row[2]) for row in own_rows] == pytest.approx(values, abs=1e-5)
    for name, language in (("there", "zh"), ("back", "bo")):
        result = json.loads((run / "eval" / name / "trained.json").read_text(encoding="utf-8"))
        assert result["signatures"]["cosine"].startswith(f"encoder:static:{folders[language]}:")
        for item in result["items"]:
            own = cosine(item["output"], item["references"], language)
            assert item["cosine"] == pytest.approx(own, abs=1e-5)
    assert "Macro average over the corpora" in (run / "report.md").read_text(encoding="utf-8")


def test_a_stopped_mixture_goes_on_exactly(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole" / "run", tmp_path / "parts" / "run"
    more = ["--stages", "data,model,sft,train", "train.optim.lr=1e-3", "checkpoint.every=1"]
    assert main(command(corpus, tiny_folder, whole, *more)) == 0
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        assert main(command(corpus, tiny_folder, parts, *more)) != 0
    assert main(command(corpus, tiny_folder, parts, *more)) == 0
    assert_same_run(parts, whole)


def test_two_processes_with_new_pieces_end_as_one(
    tiny_folder: Path, corpus: Path, tmp_path: Path, empty_cache: None
) -> None:
    """From an empty cache: the processes make the mixture and the longer model together."""
    alone, team = tmp_path / "alone" / "run", tmp_path / "team" / "run"
    more = ["--stages", "data,model,sft,train,eval", "model.add_pieces=12", "train.optim.lr=1e-3"]
    for code, output in start_team(command(corpus, tiny_folder, team, *more), 2).ends():
        assert code == 0, output
    assert main(command(corpus, tiny_folder, alone, *more)) == 0
    for one, several in zip(metrics(alone), metrics(team), strict=True):
        assert several == pytest.approx(one, abs=1e-5)
    facts = [json.loads((run / "corpus.json").read_text(encoding="utf-8")) for run in (alone, team)]
    assert facts[0] == facts[1] and facts[0]["new_pieces"]["pieces"] == 12
    for name in ("comparison", "there/trained", "back/trained", "back/translation_memory"):
        results = [(run / "eval" / f"{name}.json").read_text(encoding="utf-8") for run in (alone, team)]
        assert results[0] == results[1]


def two_languages(**more: dict[str, str]) -> Config:
    corpora = {
        "a": {"train": "a.tsv", "source_language": "en", "target_language": "sw"},
        "b": {"train": "b.tsv", "source_language": "en", "target_language": "bo"},
    }
    return build(Config, {"data": {"corpora": corpora}, **more}, "test")  # type: ignore[no-any-return]


def test_encoders_are_of_languages_of_the_run() -> None:
    check(two_languages(reward={"encoders": {"sw": "folder"}}))
    with pytest.raises(InputError) as refusal:
        check(two_languages(reward={"encoders": {"fr": "folder"}}))
    assert str(refusal.value) == "reward.encoders.fr: no target language of this run; they are sw, bo"
    with pytest.raises(
        InputError, match=r"^prompt\.target_label would name every language of data\.corpora so"
    ):
        check(two_languages(prompt={"target_label": "Swahili"}))
