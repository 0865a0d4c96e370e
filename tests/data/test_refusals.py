"""What the data stage says when it refuses a corpus, or gives less of it than was wanted: the cause, the
setting and what was read.
"""

import json
import random
import re
import subprocess
from pathlib import Path

import pytest
from invented_corpus import corpus_file, line, run

from data.config import DataConfig
from data.errors import InputError


def refusal(folder: Path, name: str, content: str, **settings: str | float) -> str:
    (folder / name).write_text(content, encoding="utf-8", newline="")
    with pytest.raises(InputError) as error:
        run(DataConfig(corpus=str(folder / name), **settings), folder / "cache")  # type: ignore[arg-type]
    return str(error.value)


def rows(count: int) -> list[dict[str, str]]:
    draw = random.Random(2)
    return [line(draw) for _ in range(count)]


def test_one_group_of_near_duplicates_is_the_cause(tmp_path: Path) -> None:
    same = "".join(f"{row['source']}\t甲乙丙丁\n" for row in rows(60))
    lines = refusal(tmp_path, "a.tsv", same)
    assert (
        "60 of 60 pairs are usable (dropped: none); all 60 pairs are one near-duplicate group (data.near_duplicate=0.7), "
        in lines
    )
    more = "".join(f"{row['source']}\t{row['reference']}\n" for row in rows(62)[60:])
    lines = refusal(tmp_path, "b.tsv", same + more)
    assert "the largest of 3 near-duplicate groups (data.near_duplicate=0.7) has 60 of 62 pairs" in lines


def test_too_few_pairs_are_told_how_many_are_needed(tmp_path: Path) -> None:
    """A fifth is the test set, and no near-duplicate group is divided: groups of two need ten pairs."""
    few = [f"{row['source']}\t{row['reference']}\n" for row in rows(5)]
    end = "or change the limits or shares in [data]"
    assert refusal(tmp_path, "a.tsv", "".join(few[:2])).endswith(f"; give at least 5 pairs, {end}")
    twice = [text for pair in few[:4] for text in (pair, f"ཀ་{pair}")]
    lines = refusal(tmp_path, "b.tsv", "".join(twice))
    assert "nothing is left for test: 8 of 8 pairs" in lines and lines.endswith(
        f"; give at least 10 pairs, {end}"
    )
    twice += [few[4], f"ཀ་{few[4]}"]
    for number, enough in enumerate((few, twice)):
        path = tmp_path / f"enough{number}.tsv"
        path.write_text("".join(enough), encoding="utf-8")
        assert len(run(DataConfig(corpus=str(path)), tmp_path / "cache")[0].test) == number + 1
    lines = refusal(tmp_path, "e.tsv", "".join(few), warm_start_share=0.01)
    assert "nothing is left for warm_start" in lines and lines.endswith(f"; give more pairs, {end}")


def test_carriage_returns_are_refused_with_the_command_that_mends_them(tmp_path: Path) -> None:
    """Both repairs are run: old line ends give all pairs, and returns within texts become spaces."""
    pairs = [f"{row['source']}\t{row['reference']}" for row in rows(30)]
    for name, content, number in (
        ("a.tsv", "\r".join(pairs), 0),
        ("b.tsv", "".join(f"{pair}\r{pair[-2:]}\n" for pair in pairs), 1),
    ):
        commands = re.findall(r"tr '\S+' '[^']+' < FILE > NEW", refusal(tmp_path, name, content))
        new = tmp_path / f"new-{name}"
        command = commands[number].replace("FILE", str(tmp_path / name)).replace("NEW", str(new))
        subprocess.run(command, shell=True, check=True)
        corpus, _ = run(DataConfig(corpus=str(new)), tmp_path / "cache")
        assert corpus.manifest["totals"]["kept"] == 30


@pytest.mark.parametrize(
    ("header", "column_words"),
    [
        (
            "source\treference\tnote",
            "'source' and 'reference' are read; the first line has 'source', 'reference', 'note'",
        ),
        ("id\ten\tvi", "columns 1 and 2 are read; the first line has 'id', 'en', 'vi'"),
    ],
)
def test_another_script_is_told_with_its_setting_and_the_columns(
    tmp_path: Path, header: str, column_words: str
) -> None:
    lines = refusal(tmp_path, "a.tsv", f"{header}\n" + "one two\tba bon\tx\n" * 30)
    assert f"; source is not in Tibetan script (data.source_language=bo); {column_words}; " in lines
    lines = refusal(
        tmp_path,
        "a.tsv",
        f"{header}\n" + "one two\tba bon\tx\n" * 30,
        source_language="sw",
        target_language="am",
    )
    assert f"; reference is not in Ethiopic script (data.target_language=am); {column_words}; " in lines
    assert (
        '; most of these texts are in Latin script: write the code of their language, or "am-Latn"; ' in lines
    )


@pytest.mark.parametrize(
    ("code", "text", "advice"),
    [
        ("nko", "ߒ ߓߊ ߓߘߊ߫", 'Nko script: write the code of their language, such as "nqo" (N’Ko), or "nko-Nkoo"; '),
        ("sa", "ᱫᱟᱠᱟ ᱡᱚᱢ", 'Ol Chiki script: write the code of their language, such as "sat" (Santali), or "sa-Olck"; '),
        ("ku", "ئێمە دەچین", 'Arabic script: write the code of their language, or "ku-Arab"; '),
        (
            "hmn-Hmnp",
            "𖬠𖬶𖬂 𖬤𖬄",
            'Pahawh Hmong script: write the code of their language, such as "hnj-Hmng" (Hmong Njua (Pahawh Hmong)), or '
            '"hmn-Hmng"; ',
        ),
        ("mn", "ᠬᠦᠮᠦᠨ", 'Mongolian script: write the code of their language, or "mn-Mong"; '),
        ("km_Latn", "បាយ ទឹក", 'Khmer script: write the code of their language, or "km-Khmr"; '),
    ],
)  # fmt: skip
def test_a_script_of_one_language_is_told_with_its_code(
    tmp_path: Path, code: str, text: str, advice: str
) -> None:
    lines = refusal(tmp_path, "a.tsv", f"{text}\tone two\n" * 30, source_language=code, target_language="en")
    assert f"most of these texts are in {advice}" in lines


def test_columns_of_no_script_are_told_with_the_settings_that_name_others(tmp_path: Path) -> None:
    lines = refusal(tmp_path, "a.tsv", "12\tទឹក\twater\n" * 30, source_language="km", target_language="en")
    assert (
        "the first line has '12', 'ទឹក', 'water'; name the two by data.source_column= and data.reference_column=; "
        in lines
    )


@pytest.mark.parametrize(
    ("code", "text", "codec", "name"),
    [
        ("nqo", "ߞߎߣߎ߲߬ ߒ ߓߊ", "latin_1", "ISO-8859-1"),
        ("km", "គឃឆន", "cp1252", "CP1252"),
        ("ckb", "دەڕۆم", "cp1252", "CP1252"),
    ],
)
def test_utf8_that_was_read_in_another_encoding_is_told_with_the_way_back(
    tmp_path: Path, code: str, text: str, codec: str, name: str
) -> None:
    line = f"{text}\tone two\n"
    twice = line.encode().decode(codec)
    assert twice.encode(codec).decode() == line != twice
    lines = refusal(tmp_path, "a.tsv", twice * 30, source_language=code, target_language="en")
    assert (
        f"; the file was saved as UTF-8 after it had been read as {name}; undo it: iconv -f UTF-8 -t {name} "
        in lines
    )
    assert "most of these texts" not in lines


def test_an_object_of_other_languages_is_told_with_its_fields(tmp_path: Path) -> None:
    lines = refusal(tmp_path, "a.jsonl", json.dumps({"source": "one two", "reference": "ba", "n": "x"}))
    assert (
        "(data.source_language=bo); 'source' and 'reference' are read; the first object has source, reference, n; "
        in lines
    )


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_is_told_one_object_a_line(tmp_path: Path, indent: int | None) -> None:
    assert "one object a line: {" in refusal(tmp_path, "a.jsonl", json.dumps(rows(30), indent=indent))
    assert "one object a line: {" in refusal(tmp_path, "b.jsonl", json.dumps(rows(30) * 400, indent=indent))


@pytest.mark.parametrize(("mark", "word"), [(",", "commas"), (";", "semicolons")])
def test_another_divider_is_told(tmp_path: Path, mark: str, word: str) -> None:
    lines = refusal(tmp_path, "a.tsv", f"source{mark}reference\n" + f"a{mark}b\n" * 30)
    assert (
        f"31 too few columns: 1 where 2 are needed), more than data.max_bad_share=0.05; is the file divided by {word}? name it .csv; "
        in lines
    )


def test_three_lines_of_each_reason_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    path = corpus_file(tmp_path, extra=("{", "[1]") * 5)
    _, lines = run(DataConfig(corpus=str(path), max_bad_share=0.2), tmp_path / "cache")
    for reason, first in (("not JSON", 101), ("not a JSON object", 102)):
        assert [text for text in lines if text.endswith(f": {reason}")] == [
            f"{path}:{first + n}: {reason}" for n in (0, 2, 4)
        ]
        assert sum(text.startswith(f"... and 2 more: {reason}; all in ") for text in lines) == 1


def test_sizes_that_cannot_be_had_are_told_each_time(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)), test_size=50, dev_size=10)
    for _ in range(2):
        _, lines = run(config, tmp_path / "cache")
        messages = [text for text in lines if " wanted " in text]
        assert messages == ["data: test 20 of the 50 wanted (data.test_size): at most a fifth of the pairs"]


def test_further_reference_texts_are_kept_and_not_dropped(tmp_path: Path) -> None:
    records = rows(120)
    lines = [
        json.dumps({**records[n], "reference": [records[n]["reference"], records[60 + n]["reference"]]})
        for n in range(60)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    corpus, messages = run(DataConfig(corpus=str(tmp_path / "a.jsonl")), tmp_path / "cache")
    assert (
        sum(text.startswith("data: 60 further reference texts of a source kept, e.g. ") for text in messages)
        == 1
    )
    assert not any("dropped" in text for text in messages)
    assert corpus.manifest["totals"] == {"read": 120, "dropped": {"other reference": 60}, "kept": 60}
