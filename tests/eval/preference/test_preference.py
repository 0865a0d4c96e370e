"""From signs to shares: what is a win, how sure it is, and which habits of a judge are seen."""

import json
import random
from pathlib import Path

import pytest
from explore import bad_json, explore, read_or_refuse, times
from invented_outputs import outputs, two_files, write_outputs

from data.errors import InputError
from eval.metrics.significance import wilson_interval
from eval.preference.outcome import Answer, common_side, preference, preference_table
from eval.preference.pairs import Pair, make_pairs, names, random_pairs, read_outputs
from eval.preference.prompt import question, sign_of
from eval.report.blocks import plain_text

ITEMS = outputs("x", ["a", "b"])["items"]
PAIR = Pair("a", "bo", "zh", "source text", "reference text", "written before", "written after")


def pairs_of(before: list[str], after: list[str]) -> list[Pair]:
    return [
        Pair(str(i), "bo", "zh", "s", "r", *texts) for i, texts in enumerate(zip(before, after, strict=True))
    ]


@pytest.mark.parametrize(
    ("before_first", "after_first", "outcome"),
    [
        ("2", "1", 1),
        ("1", "2", -1),
        ("1", "1", 0),
        ("2", "2", 0),
        ("=", "=", 0),
        ("2", "=", 0),
        (None, "1", 0),
        (None, None, 0),
    ],
)
def test_a_win_needs_both_orders(before_first: str | None, after_first: str | None, outcome: int) -> None:
    assert common_side([Answer(False, before_first), Answer(True, after_first)]) == outcome


def test_shares_intervals_and_habits_of_a_small_case_by_hand() -> None:
    """10 items: 5 wins, 2 losses, 2 ties, 1 identical. Of 7 decided ones the longer text is preferred in
    5.
    """
    pairs = pairs_of(["bb"] * 9 + ["same"], ["aaa"] * 4 + ["a", "a", "aaaa", "cc", "cccc", " same "])
    signs = [("2", "1")] * 5 + [("1", "2")] * 2 + [("1", "1"), (None, "=")]
    answers = [[Answer(False, first), Answer(True, second)] for first, second in signs] + [[]]
    result = preference(
        ("old", "new"), "judge", pairs, [common_side(group) for group in answers], answers, seed=0
    )
    assert result["counts"] == {"win": 5, "tie": 3, "loss": 2} and (
        result["win"],
        result["tie"],
        result["loss"],
    ) == (0.5, 0.3, 0.2)
    assert result["win_interval"] == wilson_interval(5, 10) and result["loss_interval"] == wilson_interval(
        2, 10
    )
    assert result["sign_test_p"] == pytest.approx(2 * (1 + 7 + 21) / 2**7)
    assert (
        result["net"]["difference"] == pytest.approx(0.3) and result["net"]["low"] < 0 < result["net"]["high"]
    )
    assert (result["n"], result["identical"], result["answers"], result["unparsable"]) == (10, 1, 18, 1)
    assert result["first_chosen"]["share"] == pytest.approx(9 / 16) and result["first_chosen"]["n"] == 16
    assert result["longer_preferred"]["share"] == pytest.approx(5 / 7)
    assert result["after_longer"] == {"share": 0.75, "interval": wilson_interval(6, 8), "n": 8}
    assert [row["outcome"] for row in result["items"]] == ["win"] * 5 + ["loss"] * 2 + ["tie"] * 3
    assert "50.0 %" in plain_text(preference_table(result)) and json.dumps(result, allow_nan=False)


def test_interval_of_win_minus_loss_covers_the_truth_at_its_rate() -> None:
    """40 % wins, 20 % losses, 60 items: over 200 draws the 95 % interval holds +0.2 in 90 to 99 % of them."""
    draw = random.Random(0)
    hits = 0
    pairs = pairs_of(["b"] * 60, ["a"] * 60)
    for _ in range(200):
        outcomes = draw.choices([1, 0, -1], [4, 4, 2], k=60)
        net = preference(("b", "a"), "j", pairs, outcomes, [[]] * 60, seed=0)["net"]
        hits += net["low"] <= 0.2 <= net["high"]
    assert 180 <= hits <= 198


def test_question_shows_each_output_once_and_no_name() -> None:
    forward = question(PAIR, False)
    backward = question(PAIR, True)
    assert "<text1>written before</text1>\n<text2>written after</text2>" in forward
    assert "<text1>written after</text1>\n<text2>written before</text2>" in backward
    assert "translate from Tibetan into Chinese" in forward and "<source>source text</source>" in forward
    same = question(Pair("a", "bo", "bo", "{source}", "r", " ", "x"), False)
    assert (
        "headlines of a text in Tibetan" in same and "{source}" in same and "<text1>(empty)</text1>" in same
    )


@pytest.mark.parametrize(
    "reply", ["1", " 1\n", "**1**", "Answer: 1", "text 1.", "<think>2 is =\n2</think>\n1", "<1>"]
)
def test_sign_is_found_in_what_models_wrap_around_it(reply: str) -> None:
    assert sign_of(reply) == "1"


@pytest.mark.parametrize(
    "reply", ["", "12", "1 2", "1 = 2", "neither", "11", "<think>1", "1, because 2 is worse", "3", "-"]
)
def test_what_names_no_side_is_no_answer(reply: str) -> None:
    assert sign_of(reply) is None


def test_a_larger_draw_keeps_the_smaller_one_and_the_order_of_the_file_changes_nothing(
    tmp_path: Path,
) -> None:
    before, after = (
        read_outputs(path) for path in two_files(tmp_path, list("abcdefghij"), list("klmnopqrst"))
    )
    pairs = make_pairs(before, after)
    assert (
        random_pairs(pairs, 8, seed=1)[:5] == random_pairs(pairs, 5, seed=1) != random_pairs(pairs, 5, seed=2)
        and len(random_pairs(pairs, 99, 0)) == 10
    )
    other_way = outputs("grpo", list("klmnopqrst"))
    other_way["items"].reverse()
    (tmp_path / "grpo.json").write_text(json.dumps(other_way))
    assert make_pairs(before, read_outputs(tmp_path / "grpo.json")) == pairs
    with pytest.raises(InputError, match="--n 0"):
        random_pairs(pairs, 0, seed=0)


def test_a_point_of_a_study_is_read_by_its_target_and_named_by_arm_seed_and_step(tmp_path: Path) -> None:
    path = tmp_path / "step-000100.json"
    path.write_text(json.dumps({"arm": "grpo", "seed": 1, "step": 100, "target": outputs("policy", ["x"])}))
    point = read_outputs(path)
    assert point.name == "grpo seed 1 step 100" and point.items["item-000"]["output"] == "x"
    assert names(point, point) == (str(path), str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": []}, "needs a name"),
        ({"system": 3}, "needs a name"),
        ({"items": [{"id": "a"}]}, r"items\[0\]: source_language must be a text"),
        ({"items": outputs("x", ["a"])["items"] * 2}, "an id occurs twice"),
        ({"items": outputs("x", ["a", "b", "c"])["items"]}, "different test items"),
        ({"items": [ITEMS[0], {**ITEMS[1], "source": "other"}]}, "item-001 is not the same"),
        ({"target_language": "bo"}, "different test items"),
    ],
)
def test_files_that_cannot_be_compared_are_refused(change: dict, message: str, tmp_path: Path) -> None:
    before = read_outputs(write_outputs(tmp_path, "good", ["a", "b"]))
    (tmp_path / "bad.json").write_text(json.dumps({**outputs("bad", ["c", "d"]), **change}))
    with pytest.raises(InputError, match=message):
        make_pairs(before, read_outputs(tmp_path / "bad.json"))


@times
def test_any_damage_to_a_file_is_one_sentence(times: int, tmp_path: Path) -> None:
    content = json.dumps(outputs("grpo", ["a", "b"])).encode()
    before = read_outputs(write_outputs(tmp_path, "good", ["a", "b"]))
    path = tmp_path / "bad.json"

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        read_or_refuse(lambda: make_pairs(before, read_outputs(path)), str(path))

    explore(150 * times, holds, bad_json(content))


def test_every_reference_text_of_an_item_is_shown(tmp_path: Path) -> None:
    for name in ("before", "after"):
        document = outputs(name, ["a", "b"])
        document["items"][1]["references"] = [document["items"][1]["reference"], "another"]
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    both = [read_outputs(tmp_path / name) for name in ("before", "after")]
    assert [pair.reference for pair in make_pairs(*both)] == ["天0", "天1\n/\nanother"]
    document["items"][1]["references"] = "天1"
    (tmp_path / "after").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"after: items\[1\]: references must be a list of texts; run the evaluation again"
    ):
        read_outputs(tmp_path / "after")
