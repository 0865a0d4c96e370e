"""Whole runs that ask a chat model by its template, or with examples in the prompt, from data to report."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from chat_templates import FAMILIES, with_template
from latin_pairs import write_latin_pairs
from tiny import byte_tokenizer, tiny_gemma
from tiny_run import arguments, metrics, quick_reward, write_corpus
from transformers import AutoTokenizer

from data.examples import Example
from data.prompt import Prompt
from data.saved_prompt import load, save
from eval.alarms import cut
from grpo.run import main

pytestmark = pytest.mark.usefixtures("own_cache")
CHAT = [
    "prompt.template=chat",
    "prompt.system=Be brief.",
    "prompt.target_label=Chinese",
    "model.max_prompt_tokens=512",
]


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model that has turns; its own settings name a further end token."""
    folder = tmp_path_factory.mktemp("chat") / "model"
    tokenizer = with_template(byte_tokenizer(), FAMILIES["chatml"])
    model = tiny_gemma(vocabulary=len(tokenizer))
    assert model.generation_config is not None
    model.generation_config.eos_token_id = [1, 7]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def command(corpus: Path, model: Path, run: Path, *more: str) -> list[str]:
    reward = [*quick_reward(model), f"reward.held_out=static:{model}"]
    steps = ["threads=1", "train.num_steps=2", "sft.num_steps=1"]
    return arguments(corpus, model, run, *reward, *steps, *more)


def write_pairs_of_two_lines(path: Path) -> list[dict[str, str]]:
    """The made-up corpus as JSONL, a line end in the middle of each reference text."""
    rows = [line.split("\t") for line in write_corpus(path).read_text("utf-8").splitlines()[1:]]
    pairs = [{"source": source, "reference": f"{text[:2]}\n{text[2:]}"} for source, text in rows]
    path.write_text("\n".join(map(json.dumps, pairs)) + "\n", encoding="utf-8")
    return pairs


def test_line_ends_of_a_corpus_stay_in_a_chat_from_the_file_to_the_report(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "pairs.jsonl"
    pairs = write_pairs_of_two_lines(corpus)
    completions = list[str]()
    encode = Prompt.encode_completion

    def encode_and_note(prompt: Prompt, text: str) -> list[int]:
        completions.append(text)
        return encode(prompt, text)

    monkeypatch.setattr(Prompt, "encode_completion", encode_and_note)
    stages = ["--stages", "data,sft,train,eval,report"]
    chat = command(corpus, chat_model, tmp_path / "run", *CHAT)
    assert main([*chat, "--check"]) == 0
    checked = capsys.readouterr().out
    assert "pairs.jsonl: 160 texts with several lines, which stay (" in checked
    assert "data.normalise=" not in checked  # it follows from the chat
    assert main([*chat, *stages]) == 0
    assert completions and all(re.fullmatch(r"\w\w\n\w\w", text) for text in completions)
    items = json.loads((tmp_path / "run" / "eval" / "warm_start.json").read_text(encoding="utf-8"))["items"]
    assert {tuple(item["references"]) for item in items} <= {(pair["reference"],) for pair in pairs}
    assert all(
        item["references"][0] in (tmp_path / "run" / "report.html").read_text("utf-8") for item in items[:3]
    )
    printed = capsys.readouterr().out
    assert "line ends" not in printed and "160 texts with several lines, which stay" in printed
    own = 'data.normalise=["invisible","tsheg","nfc"]'
    for name, settings in (("joined", [*CHAT, own]), ("one", [*CHAT, "prompt.lines=one"]), ("plain", [])):
        assert main(command(corpus, chat_model, tmp_path / name, *settings, "--stages", "data")) == 0
        assert "pairs.jsonl: 160 texts with line ends, which become spaces; " in capsys.readouterr().out
    lines = 'data.normalise=["nfc","line_ends"]'
    assert main(command(corpus, chat_model, tmp_path / "one", lines, "--stages", "data")) == 2
    assert "data.normalise has line_ends, but a line end ends a completion; " in capsys.readouterr().err


def test_a_chat_of_an_earlier_version_goes_on_with_one_line_a_text(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its texts became one line by default; a value that is given is bound as ever."""
    pairs = tmp_path / "pairs.jsonl"
    write_pairs_of_two_lines(pairs)
    run = tmp_path / "run"
    default = ["invisible", "tsheg", "nfc"]
    started = command(pairs, chat_model, run, *CHAT, f"data.normalise={json.dumps(default)}")
    assert main([*started, "--stages", "data,sft"]) == 0
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["data"].pop("normalise") == default  # older folders lack it
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    again = command(pairs, chat_model, run, *CHAT)
    assert main([*again, "--check"]) == 0
    assert main([*again, "--stages", "train,eval"]) == 0
    items = json.loads((run / "eval" / "trained.json").read_text(encoding="utf-8"))["items"]
    assert all(re.fullmatch(r"\w\w \w\w", text) for item in items for text in item["references"])
    capsys.readouterr()
    assert main([*again, 'data.normalise=["nfc"]', "--stages", "eval"]) == 2
    assert "data.normalise = ['invisible', 'tsheg', 'nfc'], not ['nfc']" in capsys.readouterr().err


def test_a_chat_run_goes_from_data_to_report_and_saves_how_it_asked(
    chat_model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(command(corpus, chat_model, run, *CHAT)) == 0
    printed = capsys.readouterr().out
    assert printed.count("the first prompt, ") == 2  # of the stages sft and train
    assert (
        "<|im_start|>system\\n\nBe brief.<|im_end|>\\n\n<|im_start|>user\\n\nTranslate this text from Tibetan to Chinese."
        in printed
    )
    assert (
        "a completion ends with <|im_end|> or <eos> or " in printed
        and "line end\n" not in printed.split("ends with")[1]
    )
    tokenizer = AutoTokenizer.from_pretrained(run / "policy")
    prompt = load(run / "policy", tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert prompt.end == end and set(prompt.stops) == {end, 1, 7}
    assert json.loads((run / "policy" / "generation_config.json").read_text())["eos_token_id"] == [end, 1, 7]
    test = json.loads((run / "eval" / "trained.json").read_text(encoding="utf-8"))["items"][0]
    example = Example("", test["source"], "", "", "", "bo", "zh")
    served = tokenizer.apply_chat_template(
        prompt.wording.messages(example), add_generation_prompt=True, return_dict=False
    )
    assert served == prompt.encode_prompt(example)
    assert (run / "report.html").exists() and [row["stage"] for row in metrics(run)] == [
        "sft",
        "train",
        "train",
    ]


def test_a_pair_in_one_script_goes_from_own_files_to_the_report(
    chat_model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """English to Spanish, where the script says nothing: the dev and test files are taken whole."""
    run = tmp_path / "run"
    settings = command(
        corpus, chat_model, run, *CHAT[:2], CHAT[-1], *write_latin_pairs(tmp_path), "eval.every=2"
    )
    config = tmp_path / "tiny.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(f'corpus = "{corpus}"\n', ""), encoding="utf-8")
    assert main(settings) == 0
    assert "Translate this text from English to Spanish." in capsys.readouterr().out
    splits = json.loads((run / "corpus.json").read_text(encoding="utf-8"))["manifest"]["splits"]
    assert [splits[part]["pairs"] for part in ("dev", "test")] == [4, 10]
    assert splits["warm_start"]["pairs"] + splits["train"]["pairs"] == 106
    result = json.loads((run / "eval" / "trained.json").read_text(encoding="utf-8"))
    lines = (tmp_path / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert {f"{item['source']}\t{item['reference']}" for item in result["items"]} == {*lines}
    assert result["target_language"] == "es" and "tok:13a" in result["signatures"]["bleu"]
    rows = metrics(run, "train_dev")
    assert [row["step"] for row in rows] == [1] and (run / "report.html").exists()


def test_a_run_goes_on_only_with_the_prompt_it_began_with(
    chat_model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its configuration, and by the record beside the warm start where the two folders were mixed."""
    run = tmp_path / "run"
    stages = ["--stages", "data,sft"]
    assert main([*command(corpus, chat_model, run), *stages]) == 0
    assert main([*command(corpus, chat_model, run, *CHAT), "--stages", "train"]) == 2
    assert "prompt.template" in capsys.readouterr().err
    record = json.loads((run / "warm_start" / "prompt.json").read_text(encoding="utf-8"))
    record["wording"]["source_label"] = "x"
    (run / "warm_start" / "prompt.json").write_text(json.dumps(record))
    assert main([*command(corpus, chat_model, run), "--stages", "train"]) == 2
    assert "was trained with prompt.source_label = 'x', not ''" in capsys.readouterr().err
    (run / "warm_start" / "prompt.json").unlink()  # as an earlier version left it
    assert main([*command(corpus, chat_model, run), "--stages", "train"]) == 0


def test_shots_are_pairs_that_are_not_trained_on(
    chat_model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shots = ["prompt.shots=2", "model.max_prompt_tokens=300", "train.num_steps=1"]
    assert main([*command(corpus, chat_model, run, *shots), "--stages", "data,sft,train"]) == 0
    tokenizer = AutoTokenizer.from_pretrained(run / "policy")
    prompt = load(run / "policy", tokenizer)
    ids = {shot.id for shot in prompt.wording.shots}
    manifest = json.loads((run / "corpus.json").read_text(encoding="utf-8"))["manifest"]
    rest = manifest["splits"]["train"]["pairs"] - 2
    assert len(ids) == 2 and f"GRPO on {rest} prompts (0 are over" in capsys.readouterr().out
    text = prompt.wording.text(Example("", "天", "", "", "", "bo", "zh"))
    assert all(f"{shot.source}\n中文：{shot.reference}\n" in text for shot in prompt.wording.shots)


def test_check_prints_the_first_prompt_with_its_ids_or_why_not(
    chat_model: Path,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    assert main([*command(corpus, chat_model, run, *CHAT), "--check"]) == 0
    printed = capsys.readouterr().out
    ids = list(map(int, printed.rpartition("token ids: ")[2].split()))
    shown = AutoTokenizer.from_pretrained(chat_model).decode(ids)
    assert shown.startswith("<|im_start|>system\nBe brief.") and shown.endswith("<|im_start|>assistant\n")
    assert f"the first prompt, {len(ids)} tokens" in printed and not run.exists()
    assert main([*command(corpus, chat_model, run), "data.corpus=tibetan", "--check"]) == 0
    assert "not shown: the corpus is not prepared yet" in capsys.readouterr().out
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    assert main([*command(corpus, chat_model, run), "model.policy=gemma-3-270m", "--check"]) == 0
    assert "not shown: the model's folder is not there yet" in capsys.readouterr().out


def test_a_model_without_a_chat_template_is_refused_before_training(
    tiny_folder: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command(corpus, tiny_folder, tmp_path / "run", *CHAT), "--check"]) == 2
    assert 'has no chat template; write prompt.template="plain"' in capsys.readouterr().err


def test_the_alarm_of_cut_completions_names_the_limit_and_the_run_the_stops(
    chat_model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Any]] = [{"step": 0, "cut_share": 0.51}]
    assert "rollout.max_new_tokens" in cut(rows) and cut([{"step": 0, "cut_share": 0.5}]) == ""
    settings = ["rollout.max_new_tokens=1", "train.num_steps=1", "--stages", "data,sft,train"]
    assert main([*command(corpus, chat_model, tmp_path / "run", *CHAT), *settings]) == 0
    printed = capsys.readouterr().out
    assert "ALARM step 1: " in printed
    (alarm,) = [line for line in printed.splitlines() if "were cut at rollout.max_new_tokens" in line]
    assert "; a completion ends with <|im_end|> or <eos> or " in alarm


def test_a_chat_is_refused_a_policy_that_was_trained_on_a_text(
    chat_model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = shutil.copytree(chat_model, tmp_path / "policy")
    save(Prompt.of(AutoTokenizer.from_pretrained(policy)), [("bo", "zh", "mt")], policy)
    for more in (["--check"], ["--stages", "data,sft"]):
        assert main(command(corpus, policy, tmp_path / "run", *CHAT, *more)) == 2
        said = capsys.readouterr().err
        assert f"{policy} was trained with prompt.template = 'plain', and its chat template only" in said
    assert not (tmp_path / "run" / "warm_start").exists()
    assert main(command(corpus, policy, tmp_path / "run", "--check")) == 0


def test_a_long_prompt_is_shown_by_its_ends(
    chat_model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = f"prompt.system={'a' * 3000} the end of it"
    argv = command(corpus, chat_model, tmp_path / "run", *CHAT[:1], long, "model.max_prompt_tokens=0")
    assert main([*argv, "--check"]) == 0
    printed = capsys.readouterr().out
    lines = printed.split("(\\n is a line end):\n")[1]
    shown, ids = lines.split("token ids: ")
    assert re.search(r"a{1000} \[\.\.\. 1,\d\d\d characters \.\.\.\] a+ the end of it", shown)
    assert len(ids.split()) == 401 and ids.split()[300] == "..."
