"""What was dropped is said with rule, count, example and setting; limits that drop much say what would keep
nearly all.
"""

import json
import random
from pathlib import Path

import pytest
from invented_corpus import corpus_file, line, run

from data.clean import Limits, clean
from data.config import DataConfig
from data.errors import InputError
from data.examples import Example
from data.interface_text import interface_problem
from data.losses import limit_remarks, loss_lines, losses
from data.prepare import prepare
from data.progress import with_progress
from eval.report.corpus_tables import corpus_tables

TSHEG = "\u0f0b"
LIMITS = Limits(2, 10, 2, 100)


def pair(number: int, syllables: int = 4, reference: str = "甲乙丙") -> Example:
    draw = random.Random(number)
    source = TSHEG.join(
        chr(draw.randint(0x0F40, 0x0F47)) + chr(draw.randint(0x0F58, 0x0F67)) for _ in range(syllables)
    )
    return Example(f"a.tsv:{number}", source, reference, "user", "none", "bo", "zh")


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        ("$5", "5美元"),
        ("$26,750", "26,750美元"),
        ("50%", "%50"),
        ("%40", "百分之四十"),
        ("[[1]]", "注一"),
        ("{x}", "甲"),
        ("%s", "甲"),
    ],
)
def test_a_users_prices_shares_and_brackets_are_no_placeholders(source: str, reference: str) -> None:
    base = pair(1)
    example = Example("1", f"{base.source} {source}", f"甲乙丙丁 {reference}", "user", "none", "bo", "zh")
    assert [pair.id for pair in clean([example], LIMITS).pairs] == ["1"]
    assert set(clean([example], LIMITS, interface_problem).reasons["user"]) == {
        "wiki markup" if "[[" in source else "placeholders differ"
    }


def test_the_data_stage_keeps_a_users_prices(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [line(draw) for _ in range(40)]
    text = "".join(f"{row['source']} ${n}\t{row['reference']}{n}美元\n" for n, row in enumerate(rows))
    (tmp_path / "a.tsv").write_text(text, encoding="utf-8")
    corpus, _ = run(DataConfig(corpus=str(tmp_path / "a.tsv")), tmp_path / "cache")
    assert corpus.manifest["totals"] == {"read": 40, "dropped": {}, "kept": 40}


def test_each_rule_comes_with_count_setting_and_its_first_pair() -> None:
    tally = clean([pair(1), pair(2, 11), pair(1), pair(3, 12), pair(4, 4, "甲"), pair(5, 30)], LIMITS)
    entries = losses(tally, LIMITS)
    assert [(entry["reason"], entry["pairs"], entry["setting"]) for entry in entries] == [
        ("source too long", 3, "data.max_source_units=10"),
        ("duplicate", 1, ""),
        ("reference too short", 1, "data.min_target_units=2"),
    ]
    assert entries[0]["example"] == f"a.tsv:2: {pair(2, 11).source} | 甲乙丙"
    assert (
        loss_lines(entries)[0]
        == f"data: dropped 3 source too long (data.max_source_units=10), e.g. {entries[0]['example']}"
    )
    assert loss_lines(entries)[1] == f"data: dropped 1 duplicate, e.g. {entries[1]['example']}"


def test_a_long_example_is_shortened_and_cannot_break_the_line() -> None:
    example = Example("a.tsv:1", "\u0f40" * 200, "甲\u2028\ud800" * 30, "user", "none", "bo", "zh")
    (entry,) = losses(clean([example], LIMITS), LIMITS)
    assert (
        entry["reason"] == "damaged characters"
        and len(entry["example"]) < 100
        and entry["example"].isprintable()
    )


def test_the_value_that_keeps_nearly_all_is_the_length_of_the_hundredth_longest() -> None:
    """200 pairs of 4 syllables, 100 of 11 .. 110: a third is too long; 1 % of 300 is 3 pairs, so 107
    syllables keep the rest.
    """
    pairs = [pair(number) for number in range(200)] + [
        pair(1000 + number, number) for number in range(11, 111)
    ]
    tally = clean(pairs, LIMITS)
    assert len(tally.pairs) == 200
    assert limit_remarks(tally, LIMITS) == [
        "data.max_source_units=10: 33% of the pairs have more units; 107 would keep 99%"
    ]
    tally = clean(pairs, Limits(2, 107, 2, 100))
    assert len(tally.pairs) == 297 and limit_remarks(tally, Limits(2, 107, 2, 100)) == []


def test_limits_that_drop_a_tenth_or_less_are_not_remarked_on() -> None:
    few = [pair(number, 4 if number >= 10 else 20) for number in range(100)]
    assert limit_remarks(clean(few, LIMITS), LIMITS) == []
    assert limit_remarks(clean([*few, pair(100, 20)], LIMITS), LIMITS) != []


def test_texts_that_are_too_short_and_pairs_dropped_for_the_other_side_count_too() -> None:
    pairs = [
        pair(number, 1 if number < 30 else 4, "甲乙" if number % 2 else "甲" * 200) for number in range(100)
    ]
    limits = Limits(2, 10, 2, 100)
    assert limit_remarks(clean(pairs, limits), limits) == [
        "data.min_source_units=2: 30% of the pairs have fewer units; 1 would keep all",
        "data.max_target_units=100: 50% of the pairs have more units; 200 would keep all",
    ]


def test_remarks_and_losses_are_said_each_time_and_stand_in_manifest_and_report(tmp_path: Path) -> None:
    path = corpus_file(
        tmp_path, count=80, extra=(*(json.dumps(line(random.Random(n), 40)) for n in range(20)), "{")
    )
    config = DataConfig(corpus=str(path), max_source_units=24, max_target_units=24)
    remark = "data.max_source_units=24: 20% of the pairs have more units; 40 would keep all"
    corpus, messages = run(config, tmp_path / "cache")
    again = run(config, tmp_path / "cache")[1]
    for lines in (messages, again):
        assert lines.count(f"data: {remark}") == 1
        assert (
            sum(
                text.startswith("data: dropped 20 source too long (data.max_source_units=24), e.g. ")
                for text in lines
            )
            == 1
        )
        assert f"data: dropped 1 not JSON, e.g. {path}:101: {{" in lines
    assert corpus.manifest["remarks"] == [remark]
    tables = {table.title: table for table in corpus_tables({"manifest": corpus.manifest})}
    assert ("remark", remark) in tables["Corpus"].rows
    assert tables["Pairs dropped"].rows[1] == ("not JSON", "1", "-", f"{path}:101: {{")


def test_further_reference_texts_are_no_dropped_pairs_in_the_report() -> None:
    dropped = {"duplicate": 3, "other reference": 5}
    origin = {"licence": "own", "read": 20, "dropped": dropped, "kept": 12}
    losses = [{"reason": name, "pairs": n, "setting": "", "example": "x"} for name, n in dropped.items()]
    totals = {"totals": {"dropped": dropped}}
    for manifest in (totals, totals | {"losses": losses}):
        tables = {
            table.title: table for table in corpus_tables({"manifest": manifest | {"origins": {"a": origin}}})
        }
        assert tables["Corpus"].rows == (("further reference texts of a source, kept", "5"),)
        assert [row[:2] for row in tables["Pairs dropped"].rows] == [("duplicate", "3")]
        assert tables["Origins"].header[2:] == ("Read", "Dropped", "Kept")
        assert tables["Origins"].rows == (("a", "own", "20", "3", "12"),)


def test_sides_in_each_others_script_are_told(tmp_path: Path) -> None:
    rows = [line(random.Random(number)) for number in range(100)]
    lines = [f"{row['source']}\t{row['reference']}\n" for row in rows]
    other_way = [f"{row['reference']}\t{row['source']}\n" for row in rows]
    (tmp_path / "a.tsv").write_text("".join(lines), encoding="utf-8")
    cause = "each side is in the script of the other language: exchange "
    with pytest.raises(
        InputError, match=f"in 100 of them {cause}data.source_language and data.target_language"
    ):
        run(
            DataConfig(corpus=str(tmp_path / "a.tsv"), source_language="zh", target_language="bo"),
            tmp_path / "cache",
        )
    (tmp_path / "b.tsv").write_text("".join(lines[:60] + other_way[60:]), encoding="utf-8")
    with pytest.raises(InputError, match=f"in 40 of them {cause}the sides of these lines"):
        run(DataConfig(corpus=str(tmp_path / "b.tsv")), tmp_path / "cache")
    (tmp_path / "c.tsv").write_text("".join(lines[:90]) + "abc def\tghi\n" * 10, encoding="utf-8")
    with pytest.raises(InputError) as error:
        run(DataConfig(corpus=str(tmp_path / "c.tsv")), tmp_path / "cache")
    assert "exchange" not in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        (
            "gb18030",
            r"30 not UTF-8.*save the file as UTF-8: iconv -f GB18030 -t UTF-8 \S+/a\.tsv > \S+/a\.utf8\.tsv.*a\.tsv:1: not UTF-8",
        ),
        ("utf-16", r"a\.tsv is UTF-16; save it as UTF-8: iconv -f UTF-16 -t UTF-8"),
        (
            "utf-16-le",
            r"a\.tsv is UTF-16; save it as UTF-8: iconv -f UTF-16LE -t UTF-8 \S+/a\.tsv > \S+/a\.utf8\.tsv",
        ),
        ("utf-16-be", r"a\.tsv is UTF-16; save it as UTF-8: iconv -f UTF-16BE -t UTF-8"),
        ("utf-32-le", r"a\.tsv is UTF-32; save it as UTF-8: iconv -f UTF-32LE -t UTF-8"),
        ("utf-32", r"a\.tsv is UTF-32; save it as UTF-8: iconv -f UTF-32 -t UTF-8"),
    ],
)
def test_another_encoding_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, encoding: str, message: str
) -> None:
    rows = [line(random.Random(number), 40) for number in range(30)]
    (tmp_path / "a.tsv").write_bytes(
        "".join(f"{row['source']}\t{row['reference']}\n" for row in rows).encode(encoding)
    )
    with pytest.raises(InputError, match=message):
        prepare(DataConfig(corpus=str(tmp_path / "a.tsv")), tmp_path / "cache", lambda text: None)


def test_a_long_loop_says_each_tenth_and_a_short_one_nothing() -> None:
    lines: list[str] = []
    assert list(with_progress(range(30_000), "counting", lines.append)) == list(range(30_000))
    assert lines == ["data: counting ...", *(f"data: counting: {tenth}0 %" for tenth in range(1, 10))]
    assert (
        list(with_progress(range(29_999), "counting", lines.append)) == list(range(29_999))
        and len(lines) == 10
    )
