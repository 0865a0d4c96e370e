"""Dev and test sets of the user's own: scored as they are, and nothing near to them is learned from."""

import lzma
from pathlib import Path
from typing import Any

import pytest
from invented_words import aligned, prepare_pairs, words, write_pairs, write_texts

from data.clusters import Clusters, near_duplicate_labels
from data.config import DataConfig, check
from data.errors import InputError


def test_both_sets_are_taken_whole_and_in_their_order(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(200)))
    dev = write_pairs(tmp_path / "dev.tsv", [700, 701, 702])
    corpus, _ = prepare_pairs(
        tmp_path, train=train, dev=dev, test=aligned(tmp_path, "flores", [802, 800, 801]), max_source_units=10
    )
    assert [example.source for example in corpus.dev] == [words(number) for number in (700, 701, 702)]
    assert [example.source for example in corpus.test] == [words(number) for number in (802, 800, 801)]
    assert len(corpus.train) + len(corpus.warm_start) == 200
    assert corpus.manifest["splits"]["test"]["pairs"] == 3


def test_a_set_that_holds_the_whole_corpus_leaves_no_pair(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(40)))
    with pytest.raises(
        InputError, match=r": 0 of 40 pairs are usable \(dropped: 40 near a pair of data\.test\); "
    ):
        prepare_pairs(tmp_path, train=train, test=train)


def test_what_is_not_read_of_a_set_is_told(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(40)))
    rows = [f"{words(number)}\t{words(number + 50)}\tx" for number in (700, 701)]
    test = tmp_path / "test.tsv"
    test.write_text("\n".join(["sw\ten\tnote", *rows]) + "\n", encoding="utf-8")
    corpus, lines = prepare_pairs(tmp_path, train=train, test=str(test))
    remark = f"{test}: 'sw' and 'en' are read; 'note' is not"
    assert f"data: {remark}" in lines and remark in corpus.manifest["remarks"]


def test_pairs_near_a_set_are_dropped_counted_and_shown(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    test = write_pairs(tmp_path / "test.tsv", [3, 900, 901], change=" x")
    corpus, lines = prepare_pairs(tmp_path, train=train, test=test)
    learned = [*corpus.train, *corpus.warm_start, *corpus.dev]
    assert words(3) not in {example.source for example in learned} and len(learned) == 99
    together = [*learned, *corpus.test]
    for cluster in Clusters.of(near_duplicate_labels(together, 0.7)):
        assert len({item >= len(learned) for item in cluster}) == 1
    (line,) = [line for line in lines if "near a pair of data.test" in line]
    assert line.startswith("data: dropped 1 near a pair of data.test, e.g. ") and words(3)[:20] in line
    totals = corpus.manifest["totals"]
    assert (totals["read"], totals["kept"]) == (100, 99)
    origin = corpus.manifest["origins"]["user"]
    assert origin["read"] == origin["kept"] + sum(origin["dropped"].values())


def test_sets_are_read_in_every_format_and_refused_with_the_command_that_mends(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    rows = "".join(f'"{words(number)}";"{words(number + 10_000)}"\r\n' for number in (700, 701))
    test = tmp_path / "test.csv.xz"
    test.write_bytes(lzma.compress(rows.encode()))
    corpus, _ = prepare_pairs(tmp_path, train=train, test=str(test))
    assert [example.source for example in corpus.test] == [words(700), words(701)]
    test = tmp_path / "other.tsv"
    test.write_bytes("sà fô\téa ü\n".encode("cp1252"))
    with pytest.raises(
        InputError, match=r"^data\.test=.*iconv -f CP1252 -t UTF-8 .*the first is .*other\.tsv:1"
    ):
        prepare_pairs(tmp_path, train=train, test=str(test))


def test_a_reference_near_a_set_is_enough(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    test = tmp_path / "test.tsv"
    test.write_text(f"{words(555)}\t{words(10_007)}\n", encoding="utf-8")
    corpus, _ = prepare_pairs(tmp_path, train=train, test=str(test))
    assert words(7) not in {example.source for part in (corpus.train, corpus.dev) for example in part}


def test_all_references_of_an_item_stay(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    test = tmp_path / "test.tsv"
    test.write_text(f"{words(500)}\tone text\n{words(500)}\tanother text\n", encoding="utf-8")
    corpus, _ = prepare_pairs(tmp_path, train=train, test=str(test))
    (item,) = corpus.test
    assert item.references == ("one text", "another text")


def test_dev_items_near_test_items_are_remarked_on(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    dev = write_pairs(tmp_path / "dev.tsv", [500, 501])
    test = write_pairs(tmp_path / "test.tsv", [501, 502])
    corpus, _ = prepare_pairs(tmp_path, train=train, dev=dev, test=test)
    assert any(
        remark.startswith("1 of 2 pairs of data.dev are near") for remark in corpus.manifest["remarks"]
    )
    assert (len(corpus.dev), len(corpus.test)) == (2, 2)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    with pytest.raises(InputError, match=r"data\.test=a\.tsv: data\.corpus=tibetan has its own test set"):
        check(DataConfig(test="a.tsv"))
    with pytest.raises(InputError, match="both name the pairs to learn from"):
        check(DataConfig(train=train, corpus=train))
    (tmp_path / "empty.tsv").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"data\.test=.*empty\.tsv: 0 of 0 pairs are bad"):
        prepare_pairs(tmp_path, train=train, test=str(tmp_path / "empty.tsv"))


def test_further_test_sets_are_read_with_all_references_and_kept_apart(tmp_path: Path) -> None:
    """Item 7 of the corpus is near to both sets and counts once, for the first; item 8 is near to the second."""
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    flores = aligned(tmp_path, "flores", [7, 801])
    second = write_texts(tmp_path / "second.ref", [20_001, 20_002, 20_003])
    ntrex = (*aligned(tmp_path, "ntrex", [7, 8, 900]).split(","), second)
    corpus, lines = prepare_pairs(tmp_path, train=train, tests={"flores": flores, "ntrex": ntrex})
    assert {name: len(items) for name, items in corpus.tests.items()} == {"flores": 2, "ntrex": 3}
    assert corpus.tests["ntrex"][2].references == (words(10_900), words(20_003))
    learned = {example.source for part in (corpus.warm_start, corpus.train, corpus.dev) for example in part}
    assert not {words(7), words(8)} & learned
    assert len(learned) + len(corpus.test) == 98 and len(corpus.test) == 19
    dropped = corpus.manifest["totals"]["dropped"]
    assert dropped == {"near a pair of data.tests.flores": 1, "near a pair of data.tests.ntrex": 1}
    assert any(line.startswith("data: dropped 1 near a pair of data.tests.ntrex, e.g. ") for line in lines)
    assert (
        prepare_pairs(tmp_path, train=train, tests={"flores": flores, "ntrex": ntrex})[0].tests
        == corpus.tests
    )


def test_aligned_files_of_another_length_are_named(tmp_path: Path) -> None:
    train = write_pairs(tmp_path / "train.tsv", list(range(100)))
    files = (*aligned(tmp_path, "ntrex", [7, 8]).split(","), write_texts(tmp_path / "third.ref", [1]))
    with pytest.raises(
        InputError, match=r"ntrex\.src has 2 lines and .*third\.ref has 1: aligned files need"
    ):
        prepare_pairs(tmp_path, train=train, tests={"ntrex": files})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tests": {"a/b": "x.tsv"}}, "data.tests: 'a/b' is no name; write letters, digits, - and _"),
        ({"tests": {"a": ()}}, "data.tests.a names no file; give one, or two or more aligned ones"),
        (
            {"corpus": "headlines", "tests": {"a": "x.tsv"}},
            "data.tests: data.corpus=headlines has no test sets beside its own; leave data.tests out",
        ),
        (
            {"corpus": "guarani", "tests": {"a": "x.tsv"}},
            "data.tests: data.target_language=zh, and data.corpus=guarani teaches en; "
            'write data.target_language="en"',
        ),
    ],
)
def test_test_sets_that_cannot_be_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refusal:
        check(DataConfig(**settings))
    assert str(refusal.value) == sentence
