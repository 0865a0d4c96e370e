"""A first configuration: what is found in files, what is asked, and that `--check` accepts it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import outcome
from tiny_run import write_corpus

from grpo.config_file import load_config
from grpo.init import __main__ as init
from grpo.init.__main__ import main
from grpo.init.corpus_facts import look
from grpo.run import main as run
from grpo.stages import duration

HAN = "天地人"
TIBETAN = "ཀ་ཁ་ག"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, and a cache that has nothing."""
    monkeypatch.setattr(duration, "matmul_rate", lambda compute: 1e11)
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    shutil.copytree(tiny_folder, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_it_writes_is_what_check_accepts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(place / "pairs.tsv")
    assert main(["pairs.tsv", "--model", "model"]) == 0
    text = (place / "pairs.toml").read_text(encoding="utf-8")
    assert f"{text}\nwritten: pairs.toml" in capsys.readouterr().out
    config = load_config("pairs.toml")
    assert (config.run_dir, config.model.policy, config.data.corpus) == ("runs/pairs", "model", "pairs.tsv")
    assert (config.data.source_language, config.data.target_language) == ("bo", "zh")
    assert (config.data.max_source_units, config.data.max_target_units) == (4, 4)
    assert (config.data.test_size, config.data.dev_size) == (16, 8)
    assert config.model.max_prompt_tokens == 48  # 41 tokens, in steps of 8
    assert config.rollout.max_new_tokens == config.eval.max_new_tokens == 24  # 13 tokens: 16, and a quarter
    assert config.train.optim.schedule == "constant" and config.reward.encoder == "use"
    assert run(["--config", "pairs.toml", "--check"]) == 0


def test_a_file_that_is_there_stays(place: Path) -> None:
    write_corpus(place / "pairs.tsv")
    (place / "pairs.toml").write_text("mine")
    code, said = outcome(main, ["pairs.tsv", "--model", "model"])
    assert (code, said) == (
        2,
        "error: pairs.toml: is there already and stays as it is; name another file by --out\n",
    )
    assert (place / "pairs.toml").read_text() == "mine"


def jsonl(*records: dict[str, str]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


FILES: dict[str, tuple[str, str, tuple[str, str] | None, str, str]] = {  # name -> text, columns, languages
    "a.tsv": (f"{TIBETAN}\t{HAN}\n", "", None, "bo", "zh"),
    "source.tsv": (f"source\treference\n{TIBETAN}\t{HAN}\n", "", None, "bo", "zh"),
    "codes.tsv": ("sw\ten\nhabari yako\tyour news\n", "", ("sw", "en"), "sw", "en"),
    "names.csv": ("Swahili,English\nhabari yako,your news\n", "", ("Swahili", "English"), "sw", "en"),
    "words.jsonl": (jsonl({"id": "1", "src": TIBETAN, "tgt": HAN}), "", ("src", "tgt"), "bo", "zh"),
    "nested.jsonl": (
        json.dumps({"translation": {"dz": TIBETAN, "zh": HAN}}) + "\n", "", ("translation.dz", "translation.zh"), "dz", "zh",
    ),
    "sw-en.tsv": ("habari yako\tyour news\n", "", None, "sw", "en"),
    "said.tsv": ("habari yako\tyour news\n", "--from sw --to en", None, "sw", "en"),
    "three.tsv": (f"n\tx\ty\n1\t{TIBETAN}\t{HAN}\n", "--columns x y", ("x", "y"), "bo", "zh"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_columns_and_languages_are_found(name: str, place: Path) -> None:
    text, flags, columns, source, target = FILES[name]
    (place / name).write_text(text, encoding="utf-8")
    options = init.arguments([name, *flags.split()])
    facts = look(name, (options.source, options.target), tuple(options.columns) if options.columns else None)
    assert facts.columns == columns
    assert (facts.source.language, facts.reference.language) == (source, target)
    assert len(facts.pairs) == 1


def test_aligned_files_and_their_languages(place: Path) -> None:
    (place / "c.dz").write_text(f"{TIBETAN}\n" * 3, encoding="utf-8")
    (place / "c.zh").write_text(f"{HAN}\n" * 3, encoding="utf-8")
    facts = look("c.dz,c.zh", ("", ""), None)
    assert (facts.source.language, facts.reference.language, len(facts.pairs)) == ("dz", "zh", 3)
    assert (facts.source.longest, facts.reference.longest) == (3, 3)


def test_a_language_that_the_encoder_does_not_know_is_rewarded_by_form(place: Path) -> None:
    rows = "".join(f"the house number {n} of the street\tnyumba namba {n} ya mtaa\n" for n in range(80))
    (place / "p.tsv").write_text(rows, encoding="utf-8")
    assert outcome(main, ["p.tsv", "--model", "model", "--from", "en", "--to", "sw"]) == (0, "")
    config = load_config("p.toml")
    assert (
        config.reward.weights == {"chrf": 1.0} and "does not know Swahili" in (place / "p.toml").read_text()
    )
    assert (
        outcome(
            main,
            ["p.tsv", "--model", "model", "--from", "en", "--to", "sw", "--encoder", "e", "--out", "q.toml"],
        )[0]
        == 0
    )
    assert load_config("q.toml").reward.encoder == "e"


def test_a_small_machine_gets_small_batches(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bill of 1 byte a prompt, and 5 bytes of memory, of which 4 may be used."""
    write_corpus(place / "pairs.tsv")
    monkeypatch.setattr("grpo.init.text.bill", lambda rows, compute: (rows["rollout"][0][1], 5.0))
    assert outcome(main, ["pairs.tsv", "--model", "model"]) == (0, "")
    config = load_config("pairs.toml")
    assert config.rollout.num_prompts == config.sft.batch_size == 4


def test_it_asks_in_a_terminal(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(place / "pairs.tsv")
    answers = iter(["pairs.tsv", ""])
    questions: list[str] = []

    def typed(question: str) -> str:
        questions.append(question)
        return next(answers)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", typed)
    assert outcome(main, []) == (0, "")
    assert questions[0].startswith("parallel file (") and questions[1].endswith("[gemma-3-270m]: ")
    assert load_config("pairs.toml").model.policy == "gemma-3-270m"


def nothing(place: Path) -> None:
    """All files stay as they are."""


def latin(place: Path) -> None:
    (place / "pairs.tsv").write_text("habari yako\tyour news\n")


def three_columns(place: Path) -> None:
    (place / "pairs.jsonl").write_text(jsonl({"a": "x", "b": "y", "c": "z"}))


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (nothing, ["nowhere.tsv"], "nowhere.tsv is not a file"),
        (nothing, ["pairs.tsv", "--model", "nowhere"], "nowhere: no model there"),
        (nothing, ["pairs.tsv", "--columns", "a", "b"], "no columns 'a' and 'b'"),
        (nothing, [], "init: no parallel file"),
        (
            latin,
            ["pairs.tsv"],
            "the source texts are in Latin script, which many languages have; say which by --from CODE",
        ),
        (latin, ["pairs.tsv", "--from", "sw"], "the reference texts are in Latin script"),
        (nothing, ["pairs.tsv", "--from", "swahili"], 'init: --from swahili: a code is needed; write "sw"'),
        (nothing, ["pairs.tsv", "--to", "?"], "init: --to ?: a code is needed; write one of ISO 639"),
        (three_columns, ["pairs.jsonl"], "has the columns a, b, c; name two by --columns SOURCE REFERENCE"),
    ],
)
def test_refusals(change: Callable[[Path], None], arguments: list[str], said: str, place: Path) -> None:
    write_corpus(place / "pairs.tsv")
    change(place)
    code, sentence = outcome(main, arguments)
    assert code == 2 and said in sentence and sentence.count("\n") == 1
    assert not list(place.glob("*.toml"))
