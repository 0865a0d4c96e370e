"""A first configuration: what is found in files, what is asked, and that `--check` accepts it."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
from chat_templates import CHATML
from command_line import outcome
from tiny_run import write_corpus

from data.documents import CONFIGS, read_toml
from grpo.config_file import load_config
from grpo.init import __main__ as init
from grpo.init.__main__ import main
from grpo.init.corpus_facts import look
from grpo.init.text import free_run_dir, name_of, size_rows, steps_reason
from grpo.run import main as run

HAN = "天地人"
TIBETAN = "ཀ་ཁ་ག"
DIRS = ("run_dir", "study_dir", "out")  # settings of the folder that a configuration makes


def test_what_it_writes_is_what_check_accepts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(place / "pairs.tsv")
    assert main(["pairs.tsv", "--model", "model"]) == 0
    text = (place / "pairs.toml").read_text(encoding="utf-8")
    assert f"{text}\nwritten: pairs.toml" in capsys.readouterr().out
    config = load_config("pairs.toml")
    assert (config.run_dir, config.model.policy, config.data.corpus) == ("runs/pairs", "model", "pairs.tsv")
    assert (config.data.source_language, config.data.target_language) == ("bo", "zh")
    assert (config.data.max_source_units, config.data.max_target_units) == (4, 4)
    assert (config.data.test_size, config.data.dev_size) == (30, 8)  # of 160 pairs: 30 items give a verdict
    assert config.model.max_prompt_tokens == 48  # 41 tokens, in steps of 8
    assert config.rollout.max_new_tokens == config.eval.max_new_tokens == 24  # 13 tokens: 16, and a quarter
    assert config.train.optim.schedule == "constant" and config.reward.encoder == "use"
    assert run(["--config", "pairs.toml", "--check"]) == 0


@pytest.mark.parametrize(
    ("pairs", "share", "size"),
    [(3, 10, 1), (60, 10, 6), (149, 10, 14), (149, 5, 29), (150, 10, 30), (420, 10, 42)],
)
def test_a_test_set_gives_a_verdict_where_a_fifth_of_the_pairs_is_enough(
    pairs: int, share: int, size: int
) -> None:
    rows = {key: value for key, value, _ in size_rows(pairs, share)}
    assert rows["test_size"] == size


def test_the_command_to_type_next_holds_for_a_name_with_a_space(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: the shell would have read two words."""
    write_corpus(place / "my pairs.tsv")
    assert main(["my pairs.tsv", "--model", "model"]) == 0
    assert "--config 'my pairs.toml' --check\n" in capsys.readouterr().out


def test_a_file_that_is_there_stays(place: Path) -> None:
    write_corpus(place / "pairs.tsv")
    (place / "pairs.toml").write_text("mine")
    code, said = outcome(main, ["pairs.tsv", "--model", "model"])
    assert (code, said) == (
        2,
        "error: pairs.toml: is there already and stays as it is; name another file by --out\n",
    )
    assert (place / "pairs.toml").read_text() == "mine"


OURS = sorted(path.stem for path in CONFIGS.glob("*.toml"))


@pytest.mark.parametrize("name", ["mt", "MT", *OURS])
def test_no_corpus_gets_the_folder_of_a_built_in_job(name: str) -> None:
    used = [Path(str(read_toml(path).get(key))) for path in CONFIGS.glob("*.toml") for key in DIRS]
    assert Path("runs/mt") in used and {path.name for path in used} <= {*OURS, "None"}
    assert name_of(f"texts/{name}.train.tsv,b.txt") == f"{name}_own"
    assert free_run_dir(name_of(f"{name}.tsv")) == f"runs/{name}_own" and f"{name}_own" not in OURS


def test_no_corpus_gets_the_folder_of_another_run(place: Path) -> None:
    write_corpus(place / "mt.tsv")
    (place / "runs" / "mt_own").mkdir(parents=True)  # an empty folder is nobody's
    assert main(["mt.tsv", "--model", "model"]) == 0
    assert load_config("mt_own.toml").run_dir == "runs/mt_own" and not (place / "mt.toml").exists()
    (place / "runs" / "mt_own" / "config.json").write_text("{}")
    (place / "runs" / "mt_own_2").write_text("a file")
    assert main(["mt.tsv", "--model", "model", "--out", "other.toml"]) == 0
    assert load_config("other.toml").run_dir == "runs/mt_own_3"


def words(letters: str, seed: int, count: int = 5) -> str:
    """Words of random letters."""
    draw = random.Random(f"{letters} {seed}")
    return " ".join("".join(draw.choices(letters, k=4)) for _ in range(count))


def pairs(count: int, target: str = "mnopqrstuvwxyz") -> list[tuple[str, str]]:
    """Pairs of which no two are near-duplicates."""
    return [(words("abcdefghijkl", n), words(target, n)) for n in range(count)]


def table(rows: Iterable[Sequence[str]], end: str = "\n") -> str:
    """Rows with tabs between their cells."""
    return "".join("\t".join(row) + end for row in rows)


def jsonl(*records: Mapping[str, object]) -> str:
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
    "sw_to_en.tsv": ("habari yako\tyour news\n", "", None, "sw", "en"),
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


def test_aligned_files_may_be_two_words(place: Path) -> None:
    for name, side in (("c.en", 0), ("c.sw", 1)):
        (place / name).write_text("".join(f"{pair[side]}\n" for pair in pairs(30)), encoding="utf-8")
    assert outcome(main, ["c.en", "c.sw", "--model", "model"]) == (0, "")
    assert load_config("c.toml").data.corpus == "c.en,c.sw"


def test_a_language_that_the_encoder_does_not_know_is_rewarded_by_form(place: Path) -> None:
    (place / "p.tsv").write_text(table(pairs(80)), encoding="utf-8")
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


GROUP = [(f"{a} {n}", f"{b} {n}") for a, b in pairs(5) for n in range(8)]  # 5 groups of 8 near-duplicates
CORPORA: dict[str, tuple[str, str, str]] = {  # -> name of the file, its text, what refuses it
    "empty": ("a.tsv", "", "a.tsv: there is no pair in it"),
    "blank lines": ("a.tsv", "\n\n", "a.tsv: there is no pair in it"),
    "empty JSONL": ("a.jsonl", "", "a.jsonl: there is no pair in it"),
    "header only": ("a.tsv", "source\treference\n", "a.tsv: there is no pair in it"),
    "no second column": ("a.tsv", "one\ntwo\n", "rows is a pair, from a.tsv:1 (too few columns: 1 where 2 are needed)"),
    "1 pair": ("a.tsv", table(pairs(1)), "nothing is left for test: 1 of 1 pairs are usable"),
    "4 pairs": ("a.tsv", table(pairs(4)), "nothing is left for test"),
    "5 pairs": ("a.tsv", table(pairs(5)), ""),
    "12 pairs": ("a.tsv", table(pairs(12)), ""),
    "near-duplicates": (
        "a.tsv", table((f"the house number {n} of the street", f"nyumba namba {n} ya mtaa") for n in range(40)),
        "all 40 pairs are one near-duplicate group",
    ),
    "groups that only a fifth holds": ("a.tsv", table(GROUP), ""),
    "several references": (
        "a.jsonl", jsonl(*({"source": a, "reference": [b, words("mnopq", n)]} for n, (a, b) in enumerate(pairs(30)))), "",
    ),
    "three columns": ("a.tsv", table([("source", "reference", "note"), *((a, b, "x") for a, b in pairs(30))]), ""),
    "CRLF": ("a.tsv", table(pairs(30), "\r\n"), ""),
    "BOM": ("a.tsv", "\ufeff" + table([("source", "reference"), *pairs(30)]), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CORPORA)
def test_check_accepts_what_it_writes_and_it_refuses_the_rest(case: str, place: Path) -> None:
    name, text, refusal = CORPORA[case]
    (place / name).write_bytes(text.encode())
    code, said = outcome(main, [name, "--model", "model", "--from", "en", "--to", "sw"])
    assert code == (2 if refusal else 0) and refusal in said and said.count("\n") == bool(refusal)
    assert [path.name for path in place.glob("*.toml")] == ([] if refusal else ["a.toml"])
    if not refusal:
        assert outcome(run, ["--config", "a.toml", "--check"])[0] == 0


@pytest.mark.parametrize(
    ("passes", "reason"),
    [
        (60 * 16 / 178, "5 passes over the pairs, as fewer steps teach little"),
        (3.01, "3 passes over the pairs"),
        (0.3, "0.3 passes over the pairs; more takes longer"),
    ],
)
def test_the_reason_for_the_steps_of_the_warm_start(passes: float, reason: str) -> None:
    assert steps_reason(passes) == reason


def test_how_many_steps_the_warm_start_has(place: Path) -> None:
    """Three passes over the training pairs in updates of 16, between 60 steps and 300 on a CPU; and GRPO keeps all pairs."""
    for count, steps in ((12, 60), (500, 80), (2000, 300)):
        (place / "a.tsv").write_text(table(pairs(count)), encoding="utf-8")
        assert (
            outcome(
                main, ["a.tsv", "--model", "model", "--from", "en", "--to", "sw", "--out", f"{count}.toml"]
            )[0]
            == 0
        )
        config = load_config(f"{count}.toml", [])
        assert (config.sft.num_steps, config.sft.pairs, config.data.warm_start_share) == (steps, "all", 0.0)


def test_a_target_that_is_written_from_right_to_left(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its prompt is in English words: those of "plain" are Chinese."""
    (place / "zh-ug.tsv").write_text(
        table((words(HAN, n, 2), words("ئابپتجچخدرزژ", n)) for n in range(40)), "utf-8"
    )
    assert outcome(main, ["zh-ug.tsv", "--model", "model"]) == (0, "")
    assert load_config("zh-ug.toml").data.target_language == "ug"
    capsys.readouterr()
    assert run(["--config", "zh-ug.toml", "--check"]) == 0
    prompt = capsys.readouterr().out.partition("the first prompt, ")[2].splitlines()
    assert prompt[1].startswith("<bos>Chinese: ") and prompt[2] == "Uyghur:"


def test_two_latin_languages_and_a_chat_model(place: Path) -> None:
    settings = json.loads((place / "model" / "tokenizer_config.json").read_text())
    settings["chat_template"] = CHATML
    (place / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
    (place / "en-sw.tsv").write_text(table(pairs(40)), "utf-8")
    assert outcome(main, ["en-sw.tsv", "--model", "model"]) == (0, "")
    config = load_config("en-sw.toml")
    assert (config.prompt.template, config.data.source_language, config.data.target_language) == (
        "chat",
        "en",
        "sw",
    )
    assert outcome(run, ["--config", "en-sw.toml", "--check"])[0] == 0


def test_parts_that_are_smaller_than_wanted_are_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """6 groups of 5: a tenth (3 pairs) holds none, a fifth holds one; dev (3 pairs) holds none."""
    rows = [(f"{a} {n}", f"{b} {n}") for a, b in pairs(6) for n in range(5)]
    (place / "en-sw.tsv").write_text(table(rows), "utf-8")
    assert main(["en-sw.tsv", "--model", "model"]) == 0
    said = capsys.readouterr().out
    assert "data: test 5 of the 6 wanted (data.test_size): no near-duplicate group fits into the rest" in said
    assert "data: dev 0 of the 3 wanted (data.dev_size): no near-duplicate group fits into the rest" in said


LATIN = {"pairs.tsv": b"habari yako\tyour news\n"}
THREE = {"pairs.jsonl": jsonl({"a": "x", "b": "y", "c": "z"}).encode()}
COMMAS = {"pairs.tsv": b"habari ya asubuhi,good morning\n" * 40}
DESERET = {"pairs.tsv": "\U00010414\U00010415\tgood morning\n".encode() * 40}
DIGITS = {"pairs.tsv": b"12 13\tgood morning\n" * 40}
CP1256 = {"pairs.tsv": "دايكم نان دەبينيت\tmy mother sees bread\n".replace("ە", "ه").encode("cp1256") * 40}


@pytest.mark.parametrize(
    ("files", "arguments", "said"),
    [
        ({}, ["pairs.tsv", "--model", "nowhere"], "nowhere: no model there"),
        (
            {},
            ["pairs.tsv", "--model", "a/b"],
            'init: --model a/b: no model there; of a model hub it is "hub:a/b"',
        ),
        ({}, ["model"], "init: model is not a file but a folder; name a file in it"),
        ({}, ["."], "init: . is not a file but a folder; name a file in it, such as pairs.tsv"),
        ({}, ["nowhere.tsv"], "init: nowhere.tsv is not a file; give a .jsonl, .tsv, .csv"),
        ({}, ["tibetan"], "'tibetan' is a corpus of this project; write data.corpus=tibetan, as in"),
        (
            {},
            ["https://a/b.tsv"],
            "init: https://a/b.tsv is not a file; download it and name the file here",
        ),
        ({}, ["pairs.tsv", "--out", "no/a.toml"], "no/a.toml: there is no folder no; make it"),
        ({}, ["pairs.tsv", "--columns", "a", "b"], "no columns 'a' and 'b'"),
        ({}, [], "init: no parallel file"),
        (
            LATIN,
            ["pairs.tsv"],
            "the source texts are in Latin script, which many languages have; say their language by --from CODE",
        ),
        (
            DESERET,
            ["pairs.tsv", "--to", "en"],
            "are in Deseret script, and nobody says of which language that is; say their language by --from CODE",
        ),
        (
            DIGITS,
            ["pairs.tsv", "--to", "en"],
            "the source texts have no letters; say their language by --from CODE",
        ),
        (LATIN, ["pairs.tsv", "--from", "sw"], "the reference texts are in Latin script"),
        ({}, ["pairs.tsv", "--from", "swahili"], 'init: --from swahili: a code is needed; write "sw"'),
        ({}, ["pairs.tsv", "--to", "?"], "init: --to ?: a code is needed; write one of ISO 639"),
        (
            COMMAS,
            ["pairs.tsv", "--from", "sw", "--to", "en"],
            "2 are needed); is the file divided by commas? name it .csv",
        ),
        (
            CP1256,
            ["pairs.tsv", "--from", "ckb", "--to", "en"],
            "(not UTF-8); save the file as UTF-8: iconv -f CP1256 -t UTF-8 pairs.tsv > pairs.utf8.tsv (CP1256 is likely)",
        ),
        (THREE, ["pairs.jsonl"], "has the columns a, b, c; name two by --columns SOURCE REFERENCE"),
    ],
)
def test_refusals(files: dict[str, bytes], arguments: list[str], said: str, place: Path) -> None:
    write_corpus(place / "pairs.tsv")
    for name, content in files.items():
        (place / name).write_bytes(content)
    code, sentence = outcome(main, arguments)
    assert code == 2 and said in sentence and sentence.count("\n") == 1
    assert not list(place.glob("*.toml"))
