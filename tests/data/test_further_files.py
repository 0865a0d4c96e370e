"""A warm start of one's own, and the rules of catalogues, which a file has only where it is asked for."""

from pathlib import Path
from typing import Any

import pytest
from invented_words import prepare_pairs, words, write_pairs

from data.config import DataConfig, check, settings_of_old
from data.errors import InputError
from data.examples import Example
from data.inputs import rule_of
from data.settings import build
from grpo.config import Config
from grpo.config_check import check as check_all


def test_a_warm_start_of_its_own_leaves_the_whole_corpus_to_training(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    test = write_pairs(tmp_path / "test.tsv", [200])
    start = write_pairs(tmp_path / "start.tsv", [300, 301, 301, 200])
    corpus, lines = prepare_pairs(tmp_path, train=train, warm_start=start, test=test, dev_size=5)
    assert [example.source for example in corpus.warm_start] == [words(300), words(301)]
    assert len(corpus.train) == 95 and len(corpus.dev) == 5
    assert corpus.manifest["warm_start"] == {
        "read": 4,
        "dropped": {"duplicate": 1, "near a pair of data.dev or data.test": 1},
    }
    assert any(line.startswith("data: 4 pairs for the warm start read; dropped: 1 ") for line in lines)
    write_pairs(tmp_path / "start.tsv", [302])
    again, _ = prepare_pairs(tmp_path, train=train, warm_start=start, test=test, dev_size=5)
    assert [example.source for example in again.warm_start] == [words(302)]


def test_the_limits_of_the_corpus_hold_for_the_warm_start(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    start = tmp_path / "start.tsv"
    start.write_text(f"{words(300)}\tone two\none\ttwo\n", encoding="utf-8")
    corpus, _ = prepare_pairs(tmp_path, train=train, warm_start=str(start))
    assert [example.reference for example in corpus.warm_start] == ["one two"]
    assert corpus.manifest["warm_start"]["dropped"] == {"source too short": 1}


def test_a_limit_that_is_left_to_the_texts_is_that_of_each_file(tmp_path: Path) -> None:
    """Pairs for the warm start and prompts that are longer than any pair of the corpus are kept."""
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    longest = max(len(words(number).split()) for number in range(100))
    start, prompt = (" ".join(words(number) for number in range(first, first + 4)) for first in (300, 310))
    (tmp_path / "start.tsv").write_text(f"{start}\t{start[::-1]}\n", encoding="utf-8")
    (tmp_path / "prompts.txt").write_text(f"{prompt}\n", encoding="utf-8")
    files = {"warm_start": str(tmp_path / "start.tsv"), "prompts": str(tmp_path / "prompts.txt")}
    corpus, lines = prepare_pairs(tmp_path, train=train, **files)
    assert [one.source for one in corpus.warm_start] == [start]
    assert [one.source for one in corpus.train if not one.reference] == [prompt]
    for name, text in (("warm_start", start), ("prompts", prompt)):
        count = len(text.split())
        assert count > longest
        sentence = (
            f"data.max_source_units=0: up to {count} units are kept, as 99% of the pairs of data.{name} have"
        )
        assert lines.count(f"data: {sentence}") == 1 and sentence in corpus.manifest["remarks"]
    with pytest.raises(InputError, match=r"of 1 texts 0 can be used \(1 source too long\)"):
        prepare_pairs(tmp_path, train=train, max_source_units=longest, prompts=files["prompts"])


def test_a_warm_start_of_its_own_needs_no_share(tmp_path: Path) -> None:
    data = {"train": "a.tsv", "warm_start": "b.tsv", "warm_start_share": 0.0}
    check_all(build(Config, {"data": data}, "test"))
    with pytest.raises(
        InputError, match=r"data\.warm_start=b\.tsv: data\.corpus=tibetan has its own warm_start"
    ):
        check(DataConfig(warm_start="b.tsv"))


CATALOGUE = "Open the _File menu\tFungua menyu ya _Faili\nSave %s now\tHifadhi sasa\n"
MONEY = "It costs $5 per item\tInagharimu dola tano\n"


@pytest.mark.parametrize(
    ("catalogue", "sources"),
    [
        ("auto", ["Open the _File menu", "Save %s now", "It costs $5 per item"]),
        ("off", ["Open the _File menu", "Save %s now", "It costs $5 per item"]),
        ("on", ["Open the File menu"]),
    ],
)
def test_the_rules_of_catalogues_are_for_files_that_are_some(
    tmp_path: Path, catalogue: Any, sources: list[str]
) -> None:
    path = tmp_path / "train.tsv"
    path.write_text(CATALOGUE + MONEY, encoding="utf-8")
    filler = write_pairs(tmp_path / "filler.tsv", list(range(60)))
    path.write_text(
        path.read_text(encoding="utf-8") + Path(filler).read_text(encoding="utf-8"), encoding="utf-8"
    )
    corpus, _ = prepare_pairs(tmp_path, train=str(path), catalogue=catalogue, test_size=0, dev_size=0)
    invented = {words(number) for number in range(60)}
    found = {example.source for example in [*corpus.train, *corpus.warm_start]} - invented
    assert found == set(sources)


def test_corpora_of_packages_have_them_unless_they_are_off() -> None:
    pair = Example("1", "open %s", "打开", "o", "l", "dz", "zh")
    assert rule_of(DataConfig())(pair) == rule_of(DataConfig(corpus="guarani"))(pair) == "placeholders differ"
    assert rule_of(DataConfig(catalogue="off"))(pair) == rule_of(DataConfig(train="a.tsv"))(pair) == ""


def test_settings_at_their_defaults_name_a_corpus_as_before() -> None:
    """The keys of a prepared corpus of the version before these settings."""
    added = {"tests", "prompts", "task", "catalogue", "warm_start", "corpora", "temperature"}
    assert not added & settings_of_old(DataConfig()).keys()
    assert settings_of_old(DataConfig(catalogue="off"))["catalogue"] == "off"
