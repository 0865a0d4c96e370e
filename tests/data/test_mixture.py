"""Several corpora and directions in one run: shares, streams, and nothing learned that any test set holds."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from invented_words import words, write_pairs

from data.config import DataConfig, check
from data.corpora_config import CorpusConfig
from data.errors import InputError
from data.prepare import Corpus, prepare
from data.stream import BLOCK, MixedStream


def prepare_corpora(
    folder: Path, corpora: dict[str, CorpusConfig], **settings: Any
) -> tuple[Corpus, list[str]]:
    lines: list[str] = []
    config = DataConfig(corpora=corpora, **settings)
    check(config)
    return prepare(config, folder / "cache", lines.append), lines


def test_two_directions_of_one_corpus_share_no_test_text(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.tsv", list(range(200)))
    there = CorpusConfig(train=pairs, source_language="sw", target_language="en")
    others = write_pairs(tmp_path / "others.tsv", list(range(50, 250)))
    back = CorpusConfig(train=others, source_language="sw", target_language="en", reverse=True)
    corpus, lines = prepare_corpora(tmp_path, {"there": there, "back": back}, test_size=20, dev_size=10)
    assert {name: len(items) for name, items in corpus.tests.items()} == {"there": 20, "back": 20}
    assert not corpus.test and len(corpus.dev) == 20
    held_out = [example for part in (corpus.dev, *corpus.tests.values()) for example in part]
    texts = {text for example in held_out for text in (example.source, example.reference)}
    learned = [*corpus.warm_start, *corpus.train]
    assert not any(example.source in texts or example.reference in texts for example in learned)
    directions = Counter((one.origin, one.source_language, one.target_language) for one in learned)
    assert directions.keys() == {("there", "sw", "en"), ("back", "en", "sw")}
    totals = corpus.manifest["totals"]
    assert totals["read"] == 400 and len(learned) + len(held_out) == totals["kept"]
    assert totals["read"] - totals["kept"] == totals["dropped"]["near a dev or test pair of the corpora"] > 10
    assert len({example.id for example in [*learned, *held_out]}) == totals["kept"]
    assert any(line.startswith("data.corpora.back: warm_start ") for line in lines)
    assert {example.origin for example in corpus.train[:20]} == {"there", "back"}


def test_test_sets_of_a_corpus_have_its_name(tmp_path: Path) -> None:
    one = CorpusConfig(
        train=write_pairs(tmp_path / "a.tsv", list(range(100))),
        test=write_pairs(tmp_path / "t.tsv", [900, 105]),
        tests={"flores": write_pairs(tmp_path / "f.tsv", [901])},
    )
    other = CorpusConfig(train=write_pairs(tmp_path / "b.tsv", list(range(100, 200))))
    settings = {"source_language": "sw", "target_language": "en", "test_size": 10, "dev_size": 0}
    corpus, _ = prepare_corpora(tmp_path, {"one": one, "other": other}, **settings)
    assert {name: len(items) for name, items in corpus.tests.items()} == {
        "one": 2,
        "other": 10,
        "one-flores": 1,
    }
    assert words(105) not in {
        example.source for part in (corpus.train, corpus.warm_start) for example in part
    }
    assert corpus.manifest["origins"]["one"]["kept"] + corpus.manifest["origins"]["other"]["kept"] in (
        199,
        200,
    )


def test_shares_follow_sizes_temperature_and_settings() -> None:
    corpora = {"a": CorpusConfig(), "b": CorpusConfig()}
    sizes = {"a": 8000, "b": 1000}
    assert DataConfig(corpora=corpora).shares(sizes) == {"a": 8 / 9, "b": 1 / 9}
    assert DataConfig(corpora=corpora, temperature=3).shares(sizes) == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    set_shares = {"a": CorpusConfig(share=1.0), "b": CorpusConfig(share=3.0)}
    assert DataConfig(corpora=set_shares).shares(sizes) == {"a": 0.25, "b": 0.75}


CORPORA = {"a": [f"a{n}" for n in range(7)], "b": [f"b{n}" for n in range(40)], "c": ["c0"]}
SHARES = {"a": 0.3, "b": 0.6, "c": 0.1}


def test_a_mixture_keeps_its_shares_and_reads_every_corpus_in_epochs() -> None:
    stream = MixedStream(CORPORA, SHARES, 5, seed=3)
    stream_items = [item for step in range(4 * BLOCK // 5 + 1) for item in stream.at(step)]
    for blocks in (1, 2, 3, 4):
        counts = Counter(item[0] for item in stream_items[: blocks * BLOCK])
        for name, share in SHARES.items():
            assert abs(counts[name] - share * blocks * BLOCK) <= 2
    for name, items in CORPORA.items():
        own = [item for item in stream_items if item[0] == name]
        for start in range(0, len(own) - len(items), len(items)):
            assert sorted(own[start : start + len(items)]) == sorted(items)
    assert len(set(stream_items[:20])) > 10 and [item[0] for item in stream_items[:20]] != sorted(
        item[0] for item in stream_items[:20]
    )


def test_a_step_of_a_mixture_is_a_function_of_seed_and_step() -> None:
    stream = MixedStream(CORPORA, SHARES, 5, seed=3)
    steps = [stream.at(step) for step in range(120)]
    assert MixedStream(CORPORA, SHARES, 5, seed=3).at(107) == steps[107]
    assert MixedStream(CORPORA, SHARES, 5, seed=4).at(107) != steps[107]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"train": "x.tsv", "corpora": {"a": CorpusConfig(train="a.tsv")}},
            "data.train and data.corpora: with several corpora each has its own; write it under data.corpora.NAME",
        ),
        ({"corpora": {"a b": CorpusConfig()}}, "data.corpora: 'a b' is no name; write letters, digits, - and _"),
        (
            {"corpora": {"a": CorpusConfig(share=1.0), "b": CorpusConfig()}},
            "data.corpora: some have a share and some have none; write one for each, or none",
        ),
        ({"corpora": {"a": CorpusConfig(share=-1.0)}}, "data.corpora.a: share must be a number from 0"),
        ({"temperature": 5.0}, "data.temperature=5.0 mixes several corpora, and there is one; write data.corpora, or leave it out"),
        (
            {"corpora": {"a": CorpusConfig(train="a.tsv", source_language="english")}},
            'data.corpora.a: data.source_language=english: a code is needed; write "en"',
        ),
    ],
)  # fmt: skip
def test_mixtures_that_cannot_be_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refusal:
        check(DataConfig(**settings))
    assert str(refusal.value) == sentence


def test_a_corpus_that_another_tests_on_is_refused(tmp_path: Path) -> None:
    same = write_pairs(tmp_path / "a.tsv", list(range(20)))
    corpora = {
        "a": CorpusConfig(train=same),
        "b": CorpusConfig(train=write_pairs(tmp_path / "b.tsv", list(range(100, 200))), test=same),
    }
    with pytest.raises(
        InputError, match=r"^data\.corpora\.a: all of its 13 training pairs are near to a dev or test"
    ):
        prepare_corpora(
            tmp_path, corpora, source_language="sw", target_language="en", dev_size=0, test_size=0
        )


def test_a_replacement_comes_from_a_corpus_by_its_share() -> None:
    """Of 4,000 draws each corpus has its share to within four standard errors; an address is one pair."""
    corpora = {"a": ["a0", "a1"], "b": ["b0", "b1", "b2"], "c": ["c0"]}
    stream = MixedStream(corpora, {"a": 0.2, "b": 0.7, "c": 0.1}, 4, seed=5)
    stream_items = [stream.replacement(step, 1, place) for step in range(1000) for place in range(4)]
    shares = {name: sum(item[0] == name for item in stream_items) / 4000 for name in corpora}
    assert shares == pytest.approx({"a": 0.2, "b": 0.7, "c": 0.1}, abs=4 * 0.0073)
    assert {*stream_items} == {item for items in corpora.values() for item in items}
    assert stream_items[:4] == [stream.replacement(0, 1, place) for place in range(4)]
    assert stream_items[:400] != [
        stream.replacement(step, 2, place) for step in range(100) for place in range(4)
    ]
