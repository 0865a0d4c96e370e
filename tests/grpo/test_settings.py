"""docs/settings.md is the page that the code gives, and says something of every setting."""

import dataclasses

import pytest
from invented_settings import KEYS
from repository import ROOT

from data.settings import Bounds
from grpo.config import Config, OptimConfig
from grpo.settings import bounds_of, files, main, page, rows_of, sections_of, sentence_of


def test_the_committed_page_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    committed = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert committed == printed == page(), "type: python -m grpo.settings > docs/settings.md"


def test_every_setting_of_a_run_is_on_the_page() -> None:
    names = [
        f"{prefix}{row.name}" for prefix, one in sections_of(Config()) for row in rows_of(one, prefix, {})
    ]
    assert sorted(names) == sorted(key for key in KEYS if key != "data.corpora")


def test_every_setting_says_what_it_does() -> None:
    """Where this fails: write a comment behind the field of its dataclass."""
    silent = [
        f"{title}: {prefix}{row.name}"
        for title, _, sections, bounds in files()
        for prefix, section in sections
        for row in rows_of(section, prefix, bounds)
        if len(row.sentence.split()) < 2
    ]
    assert silent == []


def test_a_row() -> None:
    bounds = bounds_of([("train.", [Bounds(1e-12, 100, "optim.lr optim.x")])])
    config = dataclasses.replace(Config().train.optim, lr=2e-5)
    rows = {row.name: row for row in rows_of(config, "train.optim.", bounds)}
    assert rows["lr"][1:4] == ("number", "2e-5", "1e-12 to 100")
    assert rows["schedule"].kind == "`constant`, `linear`, `cosine`"
    assert rows["lr"].sentence == "The learning rate after the warm-up."
    assert sentence_of(OptimConfig, "nothing") == ""
