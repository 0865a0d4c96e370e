"""Whole runs into languages that are written in several scripts, from data to report."""

import json
from itertools import product
from pathlib import Path

import pytest
from latin_pairs import NOUNS, PLACES, VERBS
from tiny_run import arguments

from grpo.run import main

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("language", "letters", "name"),
    [
        ("ja", "\u65e5\u672c\u8a9e\u306e\u3068\u304c\u30ab\u30bf\u30ca", "Han or Hiragana or Katakana"),
        ("sr", "abv\u0430\u0431\u0432\u0433\u0434\u0436", "Cyrillic or Latin"),
    ],
)
def test_a_run_into_several_scripts_goes_to_the_report(
    tiny_folder: Path, tmp_path: Path, language: str, letters: str, name: str
) -> None:
    """One text of another script is left out, and no other."""
    rows = product(NOUNS, VERBS, PLACES)
    targets = (" ".join(a + b + c for _ in range(2)) for a, b, c in product(letters, repeat=3))
    pairs = [f"The {' '.join(row)}.\t{target}" for row, target in zip(rows, targets, strict=False)]
    corpus = tmp_path / "pairs.tsv"
    bad = "The bird sings.\t\u0f40\u0f0b\u0f41\u0f0b\u0f42"
    corpus.write_text("\n".join(["source\treference", *pairs, bad, ""]), encoding="utf-8")
    settings = [f"reward.encoder=static:{tiny_folder}", f"reward.held_out=static:{tiny_folder}", "threads=1"]
    settings += ["reward.gates=[]", "reward.threshold=-1.0", "train.num_steps=1", "sft.num_steps=1"]
    settings += ["data.source_language=en", f"data.target_language={language}", "data.near_duplicate=1.0"]
    settings += ["data.max_bad_share=0.5"]
    assert main(arguments(corpus, tiny_folder, tmp_path / "run", *settings)) == 0
    manifest = json.loads((tmp_path / "run" / "corpus.json").read_text(encoding="utf-8"))["manifest"]
    assert manifest["totals"]["dropped"] == {f"reference not in {name} script": 1}
    assert (tmp_path / "run" / "report.html").exists()
