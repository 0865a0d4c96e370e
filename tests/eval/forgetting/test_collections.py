"""What training and the tax share: the sentence of each way to read general texts."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from invented_points import even, invented_point, write_points

from eval.forgetting.collections import shared_words
from eval.study.report import write_study_report
from grpo.config import AnchorConfig, Config, ProtectionConfig, ReplayConfig, TaxConfig, TrainConfig

SAME = "come from the Lee collection of English news and the People's Daily of January 1998 too"
OTHER = "The general texts of training ({}) are of other collections than those of the tax"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"protection": ProtectionConfig(train="l2")}, ""),
        ({"anchor": AnchorConfig(sft=1.0)}, SAME),
        ({"replay": ReplayConfig(train=0.1)}, SAME),
        ({"protection": ProtectionConfig(sft="shield")}, SAME),
        ({"train": TrainConfig(method="recovery")}, SAME),
        ({"anchor": AnchorConfig(train=1.0, sources={"questions": 1.0, "news": 1.0})}, SAME),
        ({"anchor": AnchorConfig(train=1.0, text="/a/own.txt")}, OTHER.format("own.txt")),
        ({"anchor": AnchorConfig(train=1.0), "tax": TaxConfig(text="b/tax.txt")}, OTHER.format("tax.txt")),
        (
            {"anchor": AnchorConfig(train=1.0, sources={"questions": 1.0, "/a/own.txt": 2.0})},
            OTHER.format("the ChatterBot corpus, own.txt"),
        ),
    ],
)
def test_the_sentence_of_a_configuration(changes: dict[str, Any], words: str) -> None:
    found = shared_words(asdict(replace(Config(), **changes)))
    assert words in found and bool(found) == bool(words)
    assert shared_words({}) == ""


def test_a_study_says_it_of_the_first_arm_that_reads_texts(tmp_path: Path) -> None:
    points = [invented_point("untouched", "untouched", even(0.1), even(0.0))]
    points += [
        invented_point("warm_start", "warm_start", even(0.3), even(0.01)),
        invented_point("own", "grpo", even(0.4), even(0.02), step=20),
    ]
    write_points(tmp_path, points)
    (tmp_path / "base.toml").write_text("", encoding="utf-8")
    arms = '[{"settings": []}, {"settings": ["anchor.train=1.0", "anchor.sources={questions=1}"]}]'
    (tmp_path / "study.json").write_text(f'{{"settings": [], "arms": {arms}}}', encoding="utf-8")
    plain = write_study_report(tmp_path, resamples=20)[1].read_text(encoding="utf-8")
    assert OTHER.format("the ChatterBot corpus") in plain
