"""The attacks do what their names say, in Han and in Tibetan script; the table computes what its columns say."""

import random
import re
from pathlib import Path

import pytest
from metric_folders import metric_folder
from plain_vectors import PlainVectors, counts

from data.errors import InputError
from data.examples import Example
from eval.attacks import COLUMNS, attack_rows, hub_text, tables, unrelated_text
from eval.report.blocks import plain_text
from reward.attacks import ATTACKS, Item, attack_text, join_pieces, pieces
from reward.combine import RewardConfig
from reward.units import units

HAN = Item("གཅིག་གཉིས།", ("请打开第3个文件。",), "昨天下雨了", "文件", "Hani")
TIBETAN = Item("打开文件", ("ཡིག་ཆ་གཉིས་ཁ་ཕྱེ་ཡོད།",), "ཆར་པ་བབས།", "ཡིག་ཆ", "Tibt")


def write(name: str, item: Item, seed: int = 0) -> str | None:
    return attack_text(name, item, seed)


def test_pieces_and_joined_are_inverse_up_to_punctuation() -> None:
    assert (
        pieces("ཡིག་ཆ་གཉིས་ཁ།", "Tibt") == ["ཡིག", "ཆ", "གཉིས", "ཁ"]
        and join_pieces(["ཡིག", "ཆ"], "Tibt") == "ཡིག་ཆ"
    )
    assert (
        join_pieces(pieces("打开。", "Hani"), "Hani") == "打开。"
        and join_pieces(pieces("two words", "Latn"), "Latn") == "two words"
    )


def test_empty_punctuation_and_copies() -> None:
    assert write("empty", HAN) == "" and write("source copied", HAN) == HAN.source
    assert write("punctuation", HAN) == "。。。" and write("punctuation", TIBETAN) == "།།།"
    assert write("unrelated sentence", HAN) == HAN.unrelated and write("hub sentence", TIBETAN) == TIBETAN.hub


def test_lead_is_the_first_of_several_sentences() -> None:
    assert write("lead sentence copied", Item("ཡིག་ཆ། ཁ་ཕྱེ།", ("甲",), "", "", "Tibt")) == "ཡིག་ཆ"
    assert write("lead sentence copied", Item("One. Two.", ("甲",), "", "", "Hani")) == "One"
    assert write("lead sentence copied", Item("ཡིག་ཆ།", ("甲",), "", "", "Tibt")) is None


def test_half_and_half_has_both_halves() -> None:
    text = write("half source, half reference", TIBETAN)
    assert (
        text is not None
        and text.startswith("打开")
        and text.endswith(join_pieces(pieces(TIBETAN.reference, "Tibt")[3:], "Tibt"))
    )


@pytest.mark.parametrize("times", [3, 5])
@pytest.mark.parametrize("item", [HAN, TIBETAN], ids=["Han", "Tibetan"])
def test_repetition_says_it_so_often(item: Item, times: int) -> None:
    assert units(write(f"repeated {times}x", item) or "") == units(item.reference) * times


@pytest.mark.parametrize("item", [HAN, TIBETAN], ids=["Han", "Tibetan"])
def test_shuffled_keeps_the_pieces_and_loses_the_order(item: Item) -> None:
    text = write("shuffled", item)
    assert text is not None and text != item.reference
    assert sorted(pieces(text, item.script)) == sorted(pieces(item.reference, item.script))


def test_long_tail_begins_with_the_reference() -> None:
    assert write("long tail added", HAN) == HAN.reference + HAN.unrelated
    assert write("long tail added", TIBETAN) == "ཡིག་ཆ་གཉིས་ཁ་ཕྱེ་ཡོད་ཆར་པ་བབས"


def test_first_half_and_keywords() -> None:
    assert write("first half only", HAN) == "请打开第"
    words = write("keyword list", HAN)
    assert words is not None and set(units(words)) == set(units(HAN.reference))


def test_number_swapped_changes_one_number_and_nothing_else() -> None:
    for seed in range(20):
        text = write("number swapped", HAN, seed)
        assert text is not None and re.fullmatch(r"请打开第[0-24-9]个文件。", text)
    variant = write("number swapped", TIBETAN)
    assert (
        variant is not None
        and variant != TIBETAN.reference
        and variant.startswith("ཡིག་ཆ་")
        and variant.endswith("་ཁ་ཕྱེ་ཡོད")
    )
    assert write("number swapped", Item("s", ("༣ ཡིག",), "", "", "Tibt")) not in (None, "༣ ཡིག")
    assert write("number swapped", Item("s", ("打开文件",), "", "", "Hani")) is None


@pytest.mark.parametrize(
    ("text", "script", "expected"),
    [
        ("没有文件", "Hani", "有文件"),
        ("无法打开文件", "Hani", "打开文件"),
        ("打开文件", "Hani", "不打开文件"),
        ("有文件", "Hani", "没有文件"),
        ("文件", "Hani", None),
        ("ཡིག་ཆ་ཡོད།", "Tibt", "ཡིག་ཆ་མེད"),
        ("ཡིག་ཆ་མེདཔ།", "Tibt", "ཡིག་ཆ་ཡོདཔ"),
        ("ཁ་མི་ཕྱེ།", "Tibt", "ཁ་ཕྱེ"),
        ("ཡིག་ཆ་ཁ་ཕྱེ།", "Tibt", "ཡིག་ཆ་ཁ་མ་ཕྱེ"),
        ("not here", "Latn", None),
    ],
)
def test_negated_by_hand(text: str, script: str, expected: str | None) -> None:
    assert write("negated", Item("s", (text,), "", "", script)) == expected


def test_an_attack_that_writes_the_reference_is_none() -> None:
    assert write("unrelated sentence", Item("s", ("甲", "乙"), "乙", "甲", "Hani")) is None


def test_same_seed_same_attack() -> None:
    for name in ATTACKS:
        assert write(name, HAN, 3) == write(name, HAN, 3)


# --- the table ---


def examples() -> list[Example]:
    texts = ["甲甲乙丙", "乙乙乙丁", "甲乙戊己庚", "乙丙丁戊", "甲甲甲辛壬"]
    return [
        Example(str(n), "བོད་ཡིག་གི་ཚིག", text, "made up", "none", "bo", "zh", others=("甲乙",) * (n == 0))
        for n, text in enumerate(texts)
    ]


def test_rows_of_the_table() -> None:
    rows = {
        row.name: row
        for row in attack_rows(examples(), RewardConfig(threshold=0.3), "zh", PlainVectors(counts), seed=0)
    }
    reference = rows["the reference text"]
    empty = rows["empty"]
    copies = rows["source copied"]
    assert (
        reference.n == 5 and set(reference.margin) == set(COLUMNS) and set(reference.margin.values()) == {0.0}
    )
    assert rows["another valid reference"].n == 1
    assert set(empty.margin.values()) == {1.0} and empty.not_below["all guards"] == 0
    assert copies.margin["cosine x script"] == 1.0
    # three times the text has the same direction under counts: the cosine alone is fooled, the guards are not
    assert rows["repeated 3x"].margin["cosine alone"] == pytest.approx(0.0, abs=1e-6)
    margin = rows["repeated 3x"].margin
    assert margin["all guards"] > margin["cosine x unrepeated"] > 0.6 > margin["cosine x script"]


def test_a_configuration_of_ones_own_gets_a_column() -> None:
    config = RewardConfig(weights={"bleu": 1.0}, gates=("script",), threshold=0.3)
    rows = attack_rows(examples(), config, "zh", PlainVectors(counts), seed=0)
    assert (
        set(rows[0].margin) == {*COLUMNS, "configuration"}
        and tables(rows, "made up")[0].header[-1] == "configuration"
    )
    in_other_order = next(row for row in rows if row.name == "shuffled")
    assert in_other_order.margin["configuration"] > in_other_order.margin["all guards"]


def test_a_learned_metric_is_attacked_like_any_term(tmp_path: Path) -> None:
    settings = {"comet": {"low": -3.0, "high": 3.0}}  # the scores of the random metric are inside
    config = RewardConfig(
        weights={"comet": 1.0},
        gates=(),
        metrics={"comet": str(metric_folder(tmp_path, "comet"))},
        settings=settings,
    )
    rows = {row.name: row for row in attack_rows(examples(), config, "zh", PlainVectors(counts), seed=0)}
    assert rows["the reference text"].margin["configuration"] == 0.0
    assert rows["unrelated sentence"].margin["configuration"] != 0.0


def test_a_reward_that_pays_the_reference_nothing_is_refused() -> None:
    with pytest.raises(
        InputError, match="reward of column 'configuration' pays nothing for a reference text itself"
    ):
        attack_rows(
            examples(),
            RewardConfig(weights={"cosine": 0.0, "chrf": 0.0}, threshold=0.3),
            "zh",
            PlainVectors(counts),
            seed=0,
        )


def test_tables_name_every_row_and_column() -> None:
    rows = attack_rows(examples(), RewardConfig(threshold=0.3), "zh", PlainVectors(counts), seed=0)
    margins, least = tables(rows, "made up")
    assert margins.header[3:] == tuple(COLUMNS) and [row[0] for row in margins.rows] == [
        row.name for row in rows
    ]
    assert (
        "repeated 3x" in plain_text(least)
        and "(5)" in dict(zip(least.header, least.rows[0], strict=True))["all guards"]
    )


def test_unrelated_text_shares_little() -> None:
    example = Example("x", "s", "甲乙丙丁", "made up", "none", "bo", "zh")
    assert unrelated_text(example, ["甲乙丙丁", "甲乙丙戊", "子丑寅卯"], random.Random(0)) == "子丑寅卯"


def test_hub_is_nearest_to_all_on_average() -> None:
    assert hub_text(PlainVectors(counts), ["甲", "乙", "甲乙"]) == "甲乙"
