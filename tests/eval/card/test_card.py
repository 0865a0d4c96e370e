"""The card of a model: a head that the hub reads, and nothing that the run folder does not say."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import outcome
from earlier_version import write_old_settings
from huggingface_hub import ModelCardData, metadata_load
from invented_run import change_results, write_run
from tiny import change

from data.template import Wording
from eval.card.__main__ import MARK, main, write_card
from grpo.config import Config
from grpo.engine.licences import NOTICE_FILE, copy_licences, licence_files, licence_of, licence_of_texts


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the default model."""
    run = write_run(tmp_path_factory.mktemp("card") / "my_run", count=40, resamples=20)
    config = json.loads(json.dumps(dataclasses.asdict(Config(run_dir="/secret/place/my_run"))))
    (run / "config.json").write_text(json.dumps(config))
    policy = run / "policy"
    policy.mkdir()
    (policy / "config.json").write_text('{"model_type": "gemma3_text"}')
    kind = {
        "source_language": "bo",
        "target_language": "zh",
        "task": "mt",
        "prompt": "藏文：{source}\n中文：",
    }
    wording = dataclasses.asdict(Wording())
    facts = {"kinds": [kind], "end": 1, "stops": [1, 5], "servers_ask_rightly": True, "wording": wording}
    (policy / "prompt.json").write_text(json.dumps(facts))
    rows = [
        {"name": name, "cosine": 0.5, "margin": {"reward": margin}}
        for name, margin in (("copy", 0.9), ("empty", -0.2))
    ]
    (run / "attacks.json").write_text(json.dumps({"rows": rows}))
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "my_run")


def section(card: str, title: str) -> str:
    return card.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_head_is_what_the_hub_reads(run: Path) -> None:
    path = write_card(run, "policy")
    head = metadata_load(path)
    assert head is not None
    assert {key: head[key] for key in ("language", "license", "base_model", "library_name", "pipeline_tag")} == {
        "language": ["bo", "dz", "zh"], "license": "gemma", "base_model": "google/gemma-3-270m",
        "library_name": "transformers", "pipeline_tag": "text-generation",
    }  # fmt: skip
    data = ModelCardData(**head, ignore_metadata_errors=False)
    scores = json.loads((run / "eval" / "trained.json").read_text())["metrics"]["all"]
    found = {one.metric_type: one.metric_value for one in data.eval_results or []}
    assert found == {
        key: round(scores[key], 4) for key in ("cosine", "cosine_held_out", "chrf", "bleu", "rouge_l")
    }
    assert yaml.safe_load(path.read_text().split("---")[1]) == head


def test_the_body_says_data_method_results_cost_attacks_and_limits(run: Path) -> None:
    card = write_card(run, "policy").read_text(encoding="utf-8")
    assert "```text\n藏文：{source}\n中文：\n```" in section(card, "How to ask it")
    assert "decoding stops at the tokens 1, 5." in section(card, "How to ask it")
    assert "60 updates of 32 pairs, adamw, lr 0.0001" in section(card, "How it was trained")
    results = section(card, "Results")
    (row,) = re.findall(r"^\| chrF \| 40 \|.*$", results, re.M)
    comparison = json.loads((run / "eval" / "comparison.json").read_text())
    pair = next(
        one for one in comparison["pairs"] if (one["before"], one["after"]) == ("warm_start", "trained")
    )
    facts = pair["slices"]["all"]["chrf"]
    assert f"| +{facts['difference']:.2f} | +{facts['low']:.2f} to +{facts['high']:.2f} |" in row
    assert "English text, bits per character" in section(card, "What it cost elsewhere")
    attacks = section(card, "Attacks on the reward")
    assert attacks.index("| empty | 0.500 | -0.200 |") < attacks.index("| copy | 0.500 | +0.900 |")
    assert "| origin0 | none | 800 |" in section(card, "Data and licences")
    assert "One seed." in section(card, "Limits")
    assert "Gemma Terms of Use" in section(card, "Licence") and "`Notice`" in section(card, "Licence")
    assert "/secret" not in card and "<script>" not in card


@pytest.mark.parametrize(("setting", "limit", "tokens"), [(216, None, 216), (0, 88, 88), (0, None, 64)])
def test_the_code_of_the_card_allows_as_many_tokens_as_the_evaluation(
    run: Path, setting: int, limit: int | None, tokens: int
) -> None:
    """Past bug: always 64, and the answers of a language with many tokens a word were cut."""
    change(run / "config.json", eval={"max_new_tokens": setting})
    if limit:
        change(run / "corpus.json", limits={"eval.max_new_tokens": limit})
    asking = section(write_card(run, "policy").read_text(encoding="utf-8"), "How to ask it")
    assert f"model.generate(**ids, max_new_tokens={tokens}, do_sample=False)" in asking


def test_the_same_folder_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    first = write_card(run, "policy").read_bytes()
    assert write_card(run, "policy").read_bytes() == first
    moved = shutil.copytree(run, tmp_path / "elsewhere" / "my_run")
    assert write_card(moved, "policy").read_bytes() == first


PARTS = {  # what is missing -> what the card says instead
    "corpus.json": "has no corpus.json, so data and licences are not recorded",
    "eval": "The run was not evaluated: its folder has no results.",
    "attacks.json": "was not measured (no attacks.json in the run folder)",
    "policy/prompt.json": "so how the model was asked in training is not recorded",
    "eval/comparison.json": "was not compared with the warm start, so there are no intervals",
}


@pytest.mark.parametrize("name", PARTS)
def test_what_is_missing_is_said_and_not_invented(name: str, run: Path) -> None:
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    card = write_card(run, "policy").read_text(encoding="utf-8")
    assert PARTS[name] in card
    if name == "eval":
        assert "model-index" not in card


def test_a_readme_of_others_stays(run: Path) -> None:
    (run / "policy" / "README.md").write_text("mine")
    code, said = outcome(main, [str(run)])
    assert code == 2 and "was not written by this command and stays as it is" in said
    assert (run / "policy" / "README.md").read_text() == "mine"


def test_refusals(run: Path, tmp_path: Path) -> None:
    code, said = outcome(main, [str(tmp_path / "nowhere")])
    assert code == 2 and "no such run folder" in said
    code, said = outcome(main, [str(run), "--model", "policy_best"])
    assert code == 2 and "there is no model; finish the run first" in said
    prompt = (run / "policy" / "prompt.json").read_bytes()
    (run / "policy" / "prompt.json").write_text("{")
    code, said = outcome(main, [str(run)])
    # past bug: "more than one part of RUN is damaged"
    assert code == 2 and said.startswith(f"error: {run}/policy/prompt.json: not a readable JSON file")
    (run / "policy" / "prompt.json").write_bytes(prompt)
    (run / "eval" / "comparison.json").write_text(
        '{"pairs": [{"before": "warm_start", "after": "trained"}], "resamples": 1}'
    )
    code, said = outcome(main, [str(run)])
    assert code == 2 and "comparison.json is damaged" in said and said.count("\n") == 1


def test_a_gemma_without_a_notice_gets_one(run: Path) -> None:
    write_card(run, "policy")
    notice = (run / "policy" / NOTICE_FILE).read_text()
    assert (
        notice.startswith("Gemma is provided under and subject to the Gemma Terms of Use")
        and "all weights" in notice
    )
    (run / "policy" / NOTICE_FILE).write_text("older")
    write_card(run, "policy")
    assert (run / "policy" / NOTICE_FILE).read_text() == "older"
    assert MARK in (run / "policy" / "README.md").read_text()


def test_learned_metrics_are_shown_rewarded_ones_in_brackets_and_the_head_has_the_others(run: Path) -> None:
    """comet was rewarded; metricx, where lower is better, was not."""
    facts = {
        "comet": {"rewarded": True, "better": 1, "signature": "comet:abc"},
        "metricx": {"rewarded": False, "better": -1, "signature": "metricx:def"},
    }

    def change(result: dict[str, Any]) -> None:
        for pair in result.get("pairs", []):
            rise = pair["slices"]["all"]["chrf"] | {"before": 0.5, "after": 0.75, "difference": 0.25}
            pair["slices"]["all"] |= {"comet": rise, "metricx": rise}
        if "metrics" in result:
            result["metrics"]["all"] |= {"comet": 0.75, "metricx": 4.5}
            result["learned"] = facts

    change_results(run, change)
    path = write_card(run, "policy")
    results = section(path.read_text(encoding="utf-8"), "Results").replace("\\", "")
    assert "| System | n | [comet] | metricx, lower is better |" in results
    assert results.count("| 40 | 0.750 | 4.500 |") == 4 and "comet:abc" in results
    assert re.search(r"^\| \[comet\] \| 40 \| 0.500 \| 0.750 \| \+0.250 \|", results, re.M)
    head = metadata_load(path)
    found = {one["type"]: one["value"] for one in head["model-index"][0]["results"][0]["metrics"]}
    assert found["metricx"] == 4.5 and "comet" not in found


def with_reward(run: Path, **reward: Any) -> str:
    """How the model was trained, with other settings of the reward."""
    config = json.loads((run / "config.json").read_text())
    config["reward"] |= reward
    (run / "config.json").write_text(json.dumps(config))
    return section(write_card(run, "policy").read_text(encoding="utf-8"), "How it was trained")


REWARDS: dict[str, dict[str, Any]] = {  # what the card says -> the reward
    "Reward: 1 x cosine; gates: script; encoder: use.": {"weights": {"cosine": 1.0}, "gates": ["script"]},
    "Reward: 2 x chrf; gates: none; no encoder.": {"weights": {"cosine": 0.0, "chrf": 2.0}, "gates": []},
    "Reward: 1 x comet; gates: script; no encoder.": {"weights": {"comet": 1.0}, "gates": ["script"]},
    "Reward: 1 x chrf; gates: cosine; encoder: use.": {"weights": {"chrf": 1.0}, "gates": ["cosine"]},
    "Reward: 1 x own.py:term; gates: none; encoder, if an own term asks one: vectors.": {
        "weights": {"/secret/own.py:term": 1.0}, "gates": [], "encoder": "vectors",
    },
}  # fmt: skip


@pytest.mark.parametrize("said", REWARDS)
def test_only_what_counts_is_named_of_the_reward(said: str, run: Path) -> None:
    assert said in with_reward(run, **REWARDS[said])


def test_the_encoders_of_target_languages_are_named(run: Path) -> None:
    assert "encoder: use, student for Swahili." in with_reward(run, encoders={"sw": "static:/secret/student"})


def test_settings_of_an_earlier_version_are_read_by_their_names_of_now(run: Path) -> None:
    """Past bug: the card called such a folder damaged, and left its anchor out."""
    path = run / "config.json"
    anchor = json.loads(path.read_text())["anchor"]
    change(path, anchor=anchor | {"sft": 2.0, "train": 0.5})
    old = write_old_settings(path)
    for stage in ("sft", "train"):
        del old[stage]["optim"]["name"]
    path.write_text(json.dumps(old), encoding="utf-8")
    said = section(write_card(run, "policy").read_text(encoding="utf-8"), "How it was trained")
    assert (
        "adamw" in said and "anchor to the untouched model of weight 2." in said and "of weight 0.5." in said
    )


def test_a_signature_has_no_folders_of_the_machine(run: Path) -> None:
    """Past bug: a card to publish named the place of the encoder on the machine."""
    change_results(
        run, lambda result: result.get("signatures", {}).update(cosine="encoder:static:/secret/a_b:123")
    )
    with_reward(run, encoder="static:/secret/a_b")
    card = (run / "policy" / "README.md").read_text(encoding="utf-8")
    assert "cosine: encoder:a_b:123" in card.replace("\\_", "_") and "secret" not in card


def test_how_it_was_trained_is_that_of_the_model_itself(run: Path) -> None:
    """Past bug: the card of the warm start said that GRPO had followed."""
    config = json.loads((run / "config.json").read_text())
    said = {}
    for name, sft, train in (
        ("warm_start", 60, 40),
        ("policy_best", 60, 40),
        ("policy", 0, 40),
        ("policy", 60, 0),
    ):
        config["sft"]["num_steps"], config["train"]["num_steps"] = sft, train
        (run / "config.json").write_text(json.dumps(config))
        if name != "policy":
            shutil.copytree(run / "policy", run / name)
        path = write_card(run, name)
        said[name, sft, train] = section(path.read_text(encoding="utf-8"), "How it was trained").split(
            "\n\n"
        )[:-1]
    assert [len(texts) for texts in said.values()] == [1, 2, 2, 2]
    assert (
        "40 steps, of which the step that did best on the dev set was kept, lr "
        in said["policy_best", 60, 40][1]
    )
    assert (
        "There was no warm start." in said["policy", 0, 40][0] and "40 steps, lr " in said["policy", 0, 40][1]
    )
    assert (
        "SFT with 60 updates" in said["warm_start", 60, 40][0]
        and said["policy", 60, 0][1] == "No training followed."
    )


def test_an_architecture_says_no_licence(run: Path) -> None:
    """A Gemma that was initialised at random is under no terms of Google's."""
    config = json.loads((run / "config.json").read_text())
    config["model"]["policy"] = "/secret/random_gemma"
    (run / "config.json").write_text(json.dumps(config))
    path = write_card(run, "policy")
    head = metadata_load(path)
    assert head is not None and head["license"] == "unknown"
    licence = section(path.read_text(encoding="utf-8"), "Licence")
    assert "The licence of the base model is not known" in licence and "Gemma" not in licence
    assert not (run / "policy" / NOTICE_FILE).exists()
    config["model"]["policy"] = "hub:google/gemma-3-1b-pt"
    (run / "config.json").write_text(json.dumps(config))
    head = metadata_load(write_card(run, "policy"))
    assert head is not None and head["license"] == "gemma" and (run / "policy" / NOTICE_FILE).exists()


READMES = {  # README.md of the base -> the licence
    "---\nlicense: apache-2.0\n---\n# x\n": "apache-2.0",
    "---\nlicense: other\nlicense_name: own-1.0\n---\n": "own-1.0",
    "---\nlicense: [mit, gpl-3.0]\n---\n": "",
    "---\nlicense: unknown\n---\n": "",
    "---\nlicense: {\n---\n": "",
    "# no head\n": "",
    "---\nlicense: gemma\n---\n": "gemma",
}


@pytest.mark.parametrize("readme", READMES)
def test_the_licence_that_only_a_readme_names_goes_along(readme: str, tmp_path: Path) -> None:
    base, policy = tmp_path / "base", tmp_path / "policy"
    base.mkdir()
    policy.mkdir()
    (base / "README.md").write_text(readme)
    assert licence_of(base) == READMES[readme]
    copy_licences(base, policy)
    assert licence_of_texts(policy) == READMES[readme]
    assert [path.name for path in licence_files(policy)] == ["LICENSE_OF_BASE.txt"] * bool(READMES[readme])
    (base / "LICENSE").write_text("MIT License")
    assert licence_of(base) == "mit"


LICENCES = {  # text of a licence file -> the licence
    "                                 Apache License\n   Version 2.0": "apache-2.0",
    "MIT License\n\nCopyright (c)": "mit",
    "LLAMA 3.2 COMMUNITY\nLICENSE AGREEMENT": "llama3.2",
    "All rights reserved.": "",
}


@pytest.mark.parametrize("text", LICENCES)
def test_the_licence_follows_from_the_text_of_the_base(text: str, tmp_path: Path) -> None:
    base, policy = tmp_path / "base", tmp_path / "policy"
    for folder in (base, policy):
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "llama"}')
    for name in ("LICENSE.txt", "USE_POLICY.md", "tokenizer.json", "licenses.py.orig", "noticeable"):
        (base / name).write_text(text if name.startswith("LIC") else "x")
    copy_licences(base, policy)
    assert [path.name for path in licence_files(policy)] == ["LICENSE.txt", "USE_POLICY.md"]
    assert licence_of(policy) == LICENCES[text]
