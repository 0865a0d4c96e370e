"""A reader is told which languages of the probes the corpus lacks."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from invented_run import write_run

from data.config import DataConfig
from data.corpora_config import CorpusConfig
from eval.forgetting.languages import foreign_note
from eval.report.tables import probe_table
from eval.run_folder import read_run


def settings(source: str, target: str, **data: Any) -> dict[str, Any]:
    config = DataConfig("a.tsv", source_language=source, target_language=target)
    return {"data": asdict(replace(config, **data))}


@pytest.mark.parametrize(
    ("source", "target", "lacks"),
    [
        ("sw_Latn", "eng", "no Chinese;"),
        ("bo", "zho_Hans", "no English;"),
        ("es", "quy", "no English and no Chinese;"),
    ],
)
def test_languages_that_the_corpus_lacks_are_named(source: str, target: str, lacks: str) -> None:
    note = foreign_note(settings(source, target))
    assert f"and the corpus has {lacks}" in note and "tax.text=FILE" in note
    own = settings(source, target) | {"tax": {"text": "general.txt"}}
    assert foreign_note(own) == f"{note.partition(';')[0]}."


def test_nothing_is_said_of_all_languages_of_a_built_in_corpus_and_of_no_settings() -> None:
    assert foreign_note(settings("zh", "en")) == foreign_note({}) == ""
    assert foreign_note(settings("bo", "zh", corpus="tibetan")) == ""
    corpora = {"a": CorpusConfig("a.tsv", target_language="en"), "b": CorpusConfig("b.tsv")}
    assert foreign_note(settings("sw", "zh", corpus="tibetan", corpora=corpora)) == ""
    assert "has no English;" in foreign_note(settings("sw", "zh", corpora={"b": CorpusConfig("b.tsv")}))


def test_the_table_of_the_report_has_it(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, count=12, resamples=20))
    table = probe_table(replace(run, config=settings("sw", "en")))
    assert table and table.notes[-1] == foreign_note(settings("sw", "en"))
    other = probe_table(run)
    assert other and not any("corpus has no" in note for note in other.notes)
