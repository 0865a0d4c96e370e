"""`--check` opens what a configuration names: what stops the run stops it, in the same words."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from command_line import outcome
from run_object import run_in
from tiny_run import arguments
from transformers import GPT2Config, GPT2LMHeadModel

from data.config import DataConfig
from data.errors import InputError
from data.prepare import RULES
from grpo.config import Config
from grpo.config_file import load_config
from grpo.engine import pretrained
from grpo.run import main
from grpo.runtime import device
from grpo.runtime.run_folder import write_config
from grpo.stages.dry_run import is_manifest_of, open_inputs
from grpo.stages.mixing import repeat_note, stream_of
from grpo.stages.plan import Plan
from reward.encoders import use_weights

pytestmark = pytest.mark.usefixtures("own_cache", "given_rate")


def bad_lines(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join(line.partition("\t")[0] if n % 2 else line for n, line in enumerate(lines)),
        encoding="utf-8",
    )


def no_tokenizer(path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path.parent / "model" / name).unlink()


def cut_weights(path: Path) -> None:
    weights = path.parent / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])


def few_positions(path: Path) -> None:
    """A model with a table of 40 positions."""
    folder = path.parent / "model"
    shape = GPT2Config(
        vocab_size=259, n_positions=40, n_embd=8, n_layer=1, n_head=1, eos_token_id=1, pad_token_id=0
    )
    GPT2LMHeadModel(shape).save_pretrained(folder)


def nothing(path: Path) -> None:
    """All files stay as they are."""


MISTAKES: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "bad lines": (bad_lines, [], "pairs are bad"),
    "no such column": (nothing, ["data.source_column=bo"], "bo"),
    "both columns one": (nothing, ["data.source_column=reference", "data.source_language=zh"], "equal their source"),
    "no documents": (nothing, ["eval.by_document=true"], "eval.by_document: each test item is a document of its own"),
    "no general text": (
        nothing, ["anchor.sft=1.0", 'anchor.sources={"nowhere.txt"=1.0}'], "anchor.sources.nowhere.txt = nowhere.txt: cannot be read",
    ),
    "prompts too long": (nothing, ["model.max_prompt_tokens=3"], "over model.max_prompt_tokens = 3); model.max_prompt_tokens = "),
    "completions too long": (nothing, ["sft.max_completion_tokens=3"], "sft.max_completion_tokens = 13 would keep all"),
    "no tokenizer": (no_tokenizer, [], "no tokenizer beside the model"),
    "few positions": (few_positions, [], "gpt2 has 40 positions, and "),
    "weights cut off": (cut_weights, [], "model.safetensors: not a readable safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_check_says_what_the_run_says(
    mistake: str, corpus: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = shutil.copy(corpus, tmp_path / "pairs.tsv")
    shutil.copytree(tiny_folder, tmp_path / "model")
    spoil, settings, said = MISTAKES[mistake]
    spoil(pairs)
    start = arguments(pairs, tmp_path / "model", tmp_path / "run", *settings)
    code, sentence = outcome(main, [*start, "--check"])
    assert code == 2 and said in sentence and sentence.count("\n") == 1
    assert outcome(main, [*start, "--stages", "data,model"]) == (2, sentence)


def test_a_changed_file_of_the_anchor_is_refused(
    corpus: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past bug: files of anchor.sources were not among the inputs of a run, so one that went on read other texts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "general.txt").write_text("One text.\nAnother text.\n", encoding="utf-8")
    settings = ["anchor.sft=1.0", 'anchor.sources={"general.txt"=1.0}', "eval.probes=false"]
    start = arguments(corpus, tiny_folder, tmp_path / "run", *settings)
    assert outcome(main, [*start, "--stages", "data"]) == (0, "")
    (tmp_path / "run" / "warm_start").mkdir()
    (tmp_path / "general.txt").write_text("A third text.\nAnother text.\n", encoding="utf-8")
    for more in (["--check"], ["--stages", "data"]):
        code, sentence = outcome(main, [*start, *more])
        assert (
            code == 2
            and "anchor.sources.general.txt" in sentence
            and "has changed since this run" in sentence
        )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pairs.tsv", "the corpus has changed since this run began"),
        ("model/config.json", "has changed since this run"),
    ],
)
def test_check_says_what_has_changed_since_the_run_began(
    name: str, said: str, corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Past bug: the check passed, and the same command refused to go on."""
    pairs = Path(shutil.copy(corpus, tmp_path / "pairs.tsv"))
    shutil.copytree(tiny_folder, tmp_path / "model")
    start = arguments(pairs, tmp_path / "model", tmp_path / "run")
    assert main([*start, "--stages", "data"]) == 0
    (tmp_path / "run" / "warm_start").mkdir()
    path = tmp_path / name
    *lines, last = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines if name == "pairs.tsv" else [*lines, last, "", ""]), encoding="utf-8")
    before = {one.name: one.read_bytes() for one in (tmp_path / "run").glob("*.json")}
    code, sentence = outcome(main, [*start, "--check"])
    assert code == 2 and said in sentence and sentence.count("\n") == 1
    assert {one.name: one.read_bytes() for one in (tmp_path / "run").glob("*.json")} == before
    assert outcome(main, [*start, "--stages", "data,model"]) == (2, sentence)


ABSENT = {  # a setting that names nothing -> the beginning of the sentence, which is the setting
    "data.corpus=no.tsv": "data.corpus: no.tsv is not a file",
    "data.train=no.tsv": "data.train: no.tsv is not a file",
    "data.warm_start=no.tsv": "data.warm_start: no.tsv is not a file",
    "data.dev=no.tsv": "data.dev: no.tsv is not a file",
    "data.test=no.tsv": "data.test: no.tsv is not a file",
    "data.test=no.docx": "data.test: no.docx is not a file",
    "data.test=model/config.json": "data.test=model/config.json: unknown kind of corpus",
    "data.tests.more=no.tsv": "data.tests.more: no.tsv is not a file",
    "data.prompts=no.txt": "data.prompts: no.txt is not a file",
    "model.policy=no": 'model.policy = "no": no folder with a config.json there; write ',
    "reward.encoder=labse": "reward.encoder: unknown encoder 'labse'",
    "reward.encoder=static:no": "reward.encoder: 'static:no': there is no folder no",
    "reward.encoder=bo": "reward.encoder: no Tibetan encoder yet",
    "reward.encoders.zh=static:no": "reward.encoders.zh: 'static:no': there is no folder no",
    "reward.encoders.zh=labse": "reward.encoders.zh: unknown encoder 'labse'",
    "reward.held_out=static:no": "reward.held_out: 'static:no': there is no folder no",
    "reward.held_out=labse": "reward.held_out: unknown encoder 'labse'",
    "reward.held_out=./data": "reward.held_out: './data': there is no folder data",
    "reward.held_out=bo": "reward.held_out: no Tibetan encoder yet",
    "reward.metrics.a=no reward.shown=['a']": "reward.metrics.a = 'no': there is no folder no",
    "reward.identifier=no.bin": "reward.identifier = 'no.bin': no.bin is not a file",
    "reward.metrics.comet=no": "reward.metrics.comet = 'no': there is no folder no",
    "reward.shown=['no.py:f']": "reward term 'no.py:f': no.py is not a file",
    "tax.text=no.txt": "tax.text = no.txt: cannot be read",
    "anchor.text=no.txt": "anchor.text = no.txt: cannot be read",
    "run_dir=pairs.tsv": "run_dir = pairs.tsv is a file; name a folder",
    "run_dir=pairs.tsv/x": "run_dir = pairs.tsv/x: nothing can be written into ",
    "run_dir=/proc/x/y": "run_dir = /proc/x/y: nothing can be written into /proc (",
}


@pytest.mark.parametrize("setting", ABSENT)
def test_what_is_absent_is_named_by_its_own_setting(
    setting: str, corpus: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past bug: an absent data.test was called data.corpus, an absent reward.held_out reward.encoder, and a run_dir
    that cannot be written passed.
    """
    monkeypatch.chdir(tmp_path)
    pairs = Path(shutil.copy(corpus, "pairs.tsv"))
    shutil.copytree(tiny_folder, "model")
    start = arguments(pairs.resolve(), Path("model"), Path("run"), *setting.split())
    if setting.startswith("data.train"):
        start.append("data.corpus=tibetan")
    if setting.startswith("data.prompts"):
        start += ["reward.weights={source_length=1}", "reward.gates=[]", "reward.shown=[]"]
    before = {path.name for path in Path().iterdir()}
    code, sentence = outcome(main, [*start, "--check"])
    assert {path.name for path in Path().iterdir()} == before
    assert code == 2 and sentence.startswith(f"error: {ABSENT[setting]}") and sentence.count("\n") == 1
    assert outcome(main, [*start, "--stages", "data,model"]) == (2, sentence)


def test_an_absent_file_of_one_of_several_corpora_is_named_by_both(
    corpus: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    start = arguments(corpus, tiny_folder, tmp_path / "run", "data.corpus=tibetan")
    settings = [f"data.corpora.{name}.corpus={place}" for name, place in (("a", corpus), ("b", "no.tsv"))]
    assert outcome(main, [*start, *settings, "--check"])[1].startswith(
        "error: data.corpora.b: data.corpus: no.tsv is not a file"
    )


def test_check_of_what_is_right_prints_a_prompt_and_a_range(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = arguments(corpus, tiny_folder, tmp_path / "run", "--check")
    assert main(start) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"^time +under a minute for warm start, GRPO and evaluation on this machine", printed, re.M
    )
    assert "<bos>藏文：" in printed and "token ids: 2 " in printed
    assert "train.num_steps=4" in printed and "4 steps x 2 prompts x 3 completions, 4 updates" in printed
    assert len(printed.splitlines()) < 40
    assert not (tmp_path / "run").exists()


def test_steps_with_pairs_twice_and_probes_of_other_languages_are_said(
    corpus: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both parts are counted by hand: of 160 pairs 12 are test and 4 dev, and 35 % of the rest are the warm start."""
    start = arguments(corpus, tiny_folder, tmp_path / "run")
    assert main([*start, "--check"]) == 0
    assert "NOTE" not in capsys.readouterr().out
    room = ["model.max_prompt_tokens=400"]
    large = ["sft.batch_size=51", "rollout.num_prompts=94", "eval.probes=true"]
    assert main([*start, "--check", *large]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("NOTE: ")]
    assert [note.partition(";")[0] for note in notes] == [
        "NOTE: The probes are in English and Chinese, and the corpus has no English",
        "NOTE: sft.batch_size = 51 is more than the 50 pairs to learn from, so a step has pairs twice",
    ]
    assert main([*start, "--check", "rollout.num_prompts=95", "prompt.shots=3", *room]) == 0
    assert (
        "rollout.num_prompts = 95 is more than the 91 pairs to learn from, so a step has pairs twice; write "
        "rollout.num_prompts=91, or give more pairs"
    ) in capsys.readouterr().out


def test_a_run_says_it_too(tmp_path: Path) -> None:
    said: list[str] = []
    run = run_in(tmp_path, Config(), said.append)
    stream_of(run, [], [1, 2], 2)
    assert said == []
    stream = stream_of(run, [], [1, 2], 3, "sft.batch_size")
    assert said == [f"NOTE: {repeat_note('sft.batch_size', 3, 2)}"]
    assert sorted(stream.at(0) + stream.at(1)) == [1, 1, 1, 2, 2, 2]


def test_check_refuses_what_the_run_folder_binds(corpus: Path, tiny_folder: Path, tmp_path: Path) -> None:
    start = arguments(corpus, tiny_folder, tmp_path / "run")
    (tmp_path / "run" / "warm_start").mkdir(parents=True)
    write_config(load_config(start[1]), tmp_path / "run")
    assert outcome(main, [*start, "--check", "threads=1", "loss.kl_coef=0.5"]) == (0, "")
    code, said = outcome(main, [*start, "--check", "sft.batch_size=3"])
    assert code == 2 and "sft of this run was made with sft.batch_size = 4, not 3" in said


def test_the_range_is_wider_before_the_corpus_is_counted(tmp_path: Path) -> None:
    """A bill of 40 minutes: 10 to 120 by the limits alone, 20 to 80 once lengths are known."""
    bill = Plan(1, 1, 1, 1, 1.0, 0, 1, 1, seconds=1800.0, evaluation_seconds=600.0)
    config = Config(run_dir=str(tmp_path))
    assert bill.time(config) == "10 min to 2.0 hours for warm start, GRPO and evaluation"
    tokens = {"prompt_tokens": {"p50": 3}, "completion_tokens": {"p50": 3}}
    (tmp_path / "corpus.json").write_text(json.dumps({"tokens": tokens}))
    assert bill.time(config) == "20 to 80 min for warm start, GRPO and evaluation"


def test_a_missing_package_is_said_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path))
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package_here")
    compute = device.choose("cpu")
    with pytest.raises(
        InputError, match="the default model needs no_such_package_here, which is not installed"
    ):
        open_inputs(Config(run_dir=str(tmp_path)), compute)
    monkeypatch.setattr(use_weights, "PACKAGE", "no_such_encoder_here")
    with pytest.raises(
        InputError, match="the encoder 'use' needs no_such_encoder_here, which is not installed"
    ):
        open_inputs(Config(run_dir=str(tmp_path)), compute)


def test_a_corpus_that_is_older_than_a_setting_is_found() -> None:
    """Past bug: a corpus in the cache was said to be not prepared yet, because its manifest lacked newer settings."""
    settings = json.loads(json.dumps(asdict(DataConfig(test_size=7))))
    older = {name: value for name, value in settings.items() if name not in ("tests", "task", "prompts")}
    assert is_manifest_of({"config": older, "rules": RULES}, DataConfig(test_size=7))
    assert not is_manifest_of({"config": older, "rules": RULES}, DataConfig(test_size=8))
    assert not is_manifest_of({"config": older, "rules": RULES}, DataConfig(test_size=7, task="summary"))
    assert not is_manifest_of({"config": older, "rules": RULES - 1}, DataConfig(test_size=7))
    assert not is_manifest_of({"rules": RULES}, DataConfig(test_size=7))


def test_check_lists_bad_lines_and_counts_no_header(
    corpus: Path,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    lines = corpus.read_text(encoding="utf-8").splitlines()
    path = tmp_path / "own.tsv"
    path.write_text("\n".join([*lines, *["ཀ་ཁ"] * 5]), encoding="utf-8")
    first = []
    for _ in range(2):  # the second one finds the corpus in the cache
        assert main(arguments(path, tiny_folder, tmp_path / "run", "--check", "data.max_bad_share=0.1")) == 0
        said = capsys.readouterr().out
        first.append([line for line in said.splitlines() if line.startswith((str(path), "... and "))])
    (listing,) = (tmp_path / "cache" / "corpus").glob("*.rejected.jsonl")
    places = [f"{path}:{len(lines) + n}: too few columns: 1 where 2 are needed" for n in (1, 2, 3)]
    more = f"... and 2 more: too few columns: 1 where 2 are needed; all in {listing}"
    assert first == [[*places, more]] * 2
    (folder,) = (tmp_path / "cache" / "corpus").glob("*/manifest.json")
    splits = json.loads(folder.read_text())["splits"]
    assert f" of {splits['warm_start']['pairs'] + splits['train']['pairs']} pairs" in said
