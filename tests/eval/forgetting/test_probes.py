import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from data.cache import cache_dir
from data.errors import InputError
from data.sources.news import TextItem, chinese_texts, choose_texts, cut_between_words, english_texts
from eval.forgetting.probe_changes import compare_probes
from eval.forgetting.probe_items import ChoiceItem, Panel, capital_items, load_panel
from eval.forgetting.probes import bits_per_character, choice_accuracy, choice_result, run_probes, text_ids
from grpo.engine.likelihood import first_ids, log_likelihoods

REGIONS = {"North": "abcdef", "South": "uvwxyz"}


def write_countries(folder: Path) -> None:
    """Twelve invented countries in two regions, with file names as in the real package."""
    data = folder / "countryinfo" / "data"
    data.mkdir(parents=True)
    for region, letters in REGIONS.items():
        for letter in letters:
            entry = {"name": f"{letter.upper()}land", "capital": f"{letter}ton", "region": region}
            (data / f"{letter}.json").write_text(json.dumps(entry), encoding="utf-8")
    (data / "albania.json").write_text(
        json.dumps({"name": "Gville", "capital": "Gville City", "region": "North"}), encoding="utf-8"
    )
    (data / "no_capital.json").write_text(
        json.dumps({"name": "Iceshelf", "capital": None, "region": "South"}), encoding="utf-8"
    )


def naive_log_likelihood(model: Any, context: list[int], choice: list[int]) -> float:
    """One forward pass of context + choice alone."""
    with torch.inference_mode():
        logps = model(input_ids=torch.tensor([context + choice])).logits[0].double().log_softmax(dim=-1)
    return sum(float(logps[len(context) + place - 1, token]) for place, token in enumerate(choice))


def test_choices_behind_a_shared_context_score_as_each_alone(tiny_model: Any, tiny_tokenizer: Any) -> None:
    contexts = [
        first_ids(tiny_tokenizer) + text_ids(tiny_tokenizer, text)
        for text in ("The capital city of X is", "It")
    ]
    choices = [
        [text_ids(tiny_tokenizer, choice) for choice in group]
        for group in ((" one", " three hundred"), (" a", " bb"))
    ]
    expected = [
        [naive_log_likelihood(tiny_model, context, choice) for choice in group]
        for context, group in zip(contexts, choices, strict=True)
    ]
    for ours, reference_scores in zip(log_likelihoods(tiny_model, contexts, choices), expected, strict=True):
        assert ours == pytest.approx(reference_scores, rel=1e-5)


def test_bits_per_character_is_the_naive_sum(tiny_model: Any, tiny_tokenizer: Any) -> None:
    items = [TextItem("a", "some words"), TextItem("b", "天地人")]
    result = bits_per_character(tiny_model, tiny_tokenizer, items)
    nats = [
        naive_log_likelihood(tiny_model, first_ids(tiny_tokenizer), text_ids(tiny_tokenizer, item.text))
        for item in items
    ]
    assert [row["bits"] for row in result["items"]] == pytest.approx(
        [-value / math.log(2) for value in nats], rel=1e-5
    )
    assert result["bits_per_character"] == pytest.approx(-sum(nats) / math.log(2) / 13, rel=1e-5)
    assert (result["n"], result["characters"]) == (2, 13)


def test_order_of_items_changes_no_score(tiny_model: Any, tiny_tokenizer: Any) -> None:
    items = [TextItem(str(length), "word " * length) for length in (1, 9, 4)]
    forward, backward = (
        bits_per_character(tiny_model, tiny_tokenizer, order)["items"] for order in (items, items[::-1])
    )
    assert [row["bits"] for row in forward] == pytest.approx(
        [row["bits"] for row in backward[::-1]], rel=1e-5
    )


def test_the_likeliest_choice_counts_summed_and_per_character() -> None:
    item = ChoiceItem("x", "It is", (" short", " considerably longer"), 1)
    assert choice_result(item, [-5.0, -10.0]) == {"id": "x", "right": False, "right_per_character": True}


def test_accuracy_by_hand(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Any) -> None:
    """Three of four right by sums."""
    items = [ChoiceItem(str(number), "c", (" aa", " bb", " cc", " dd"), number) for number in range(4)]
    scores = [[-1.0, -2, -3, -4], [-2.0, -1, -3, -4], [-2.0, -3, -1, -4], [-1.0, -2, -3, -4]]
    monkeypatch.setattr(
        "eval.forgetting.probes.log_likelihoods", lambda model, contexts, choices, team: scores
    )
    result = choice_accuracy(None, tiny_tokenizer, items)
    assert (result["accuracy"], result["chance"], result["n"]) == (0.75, 0.25, 4)
    assert result["accuracy_interval"] == pytest.approx((0.30064, 0.95441), abs=1e-5)


def test_panel_of_a_model_against_itself_shows_no_change(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    write_countries(tmp_path)
    panel = Panel(
        (TextItem("e1", "some words"), TextItem("e2", "more words")),
        (TextItem("c1", "天地人"),),
        capital_items(tmp_path),
    )
    result = run_probes(tiny_model, tiny_tokenizer, panel)
    changes = compare_probes(result, result, seed=0)
    assert {name: change["difference"] for name, change in changes.items()} == dict.fromkeys(
        ("english", "chinese", "capitals_accuracy", "capitals_accuracy_per_character"), 0.0
    )
    assert changes["capitals_accuracy"]["p_value"] == 1.0
    json.dumps(result, allow_nan=False)


def test_change_of_bits_is_relative_to_all_characters() -> None:
    def result(bits: list[float]) -> dict[str, Any]:
        rows = [
            {"id": str(i), "bits": value, "characters": length}
            for i, (value, length) in enumerate(zip(bits, (100, 300), strict=True))
        ]
        texts = {"items": rows}
        return {
            "english": texts,
            "chinese": texts,
            "capitals": {"items": [], "accuracy": 0.5, "accuracy_per_character": 0.5},
        }

    change = compare_probes(result([100.0, 300.0]), result([140.0, 300.0]), seed=0)["english"]
    assert (change["before"], change["after"], change["difference"]) == pytest.approx((1.0, 1.1, 0.1))


def test_different_items_are_not_compared() -> None:
    first = {"items": [{"id": "a", "bits": 1.0, "characters": 1}]}
    second = {"items": [{"id": "b", "bits": 1.0, "characters": 1}]}
    with pytest.raises(ValueError, match="different items; run both panels again"):
        compare_probes({"english": first}, {"english": second}, seed=0)


def test_capital_distractors_are_capitals_of_the_same_region(tmp_path: Path) -> None:
    write_countries(tmp_path)
    items = capital_items(tmp_path)
    assert len(items) == 12  # not the country named in its capital, not the one without a capital
    for item in items:
        letter = item.id.removeprefix("capital:")[0].lower()
        region = next(letters for letters in REGIONS.values() if letter in letters)
        assert item.choices[item.answer] == f" {letter}ton"
        assert len(set(item.choices)) == 4
        assert all(choice[1] in region for choice in item.choices)
    assert len({item.answer for item in items}) > 1  # the right one is not always at the same place


def test_the_panel_is_the_same_every_time(tmp_path: Path) -> None:
    """In every process, whatever order its sets have: the initials of each question's choices, and the chosen
    texts, written down.
    """
    write_countries(tmp_path)
    items = capital_items(tmp_path)
    initials = " ".join("".join(choice[1] for choice in item.choices) for item in items)
    assert initials == "bfca aefb ecdb cdef edab dfce uyvx wvuz uxzw yxwu zyuw xzvu"
    assert [item.answer for item in items] == [3, 3, 1, 1, 0, 1, 0, 1, 3, 1, 1, 1]
    texts = [TextItem(str(number), "x") for number in range(100)]
    items = [0, 1, 2, 4, 5, 6, 13, 15, 17, 22, 28, 33, 34, 35, 38, 42, 45, 47, 49, 65, 68, 86, 89, 91]
    assert [int(item.id) for item in choose_texts(texts)] == items


def test_english_texts_end_with_a_whole_word(tmp_path: Path) -> None:
    (tmp_path / "test_data").mkdir()
    (tmp_path / "test_data" / "lee_background.cor").write_text(
        "abcdefgh " * 50 + "\nshort line\n" + "abc " * 60 + "\n", encoding="utf-8"
    )
    texts = english_texts(tmp_path)
    assert [item.id for item in texts] == ["lee_background:1", "lee_background:3"]
    assert texts[0].text == ("abcdefgh " * 33).strip()
    assert cut_between_words("x" * 400) == "x" * 300


def test_chinese_texts_lose_their_tags_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "tag").mkdir()
    (tmp_path / "tag" / "199801.txt").write_text("天地/n  人/r  ，/w  " * 60 + "\n短/a\n", encoding="utf-8")
    (item,) = chinese_texts(tmp_path)
    assert item.text == ("天地人，" * 60)[:300]


def test_a_package_without_its_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file lee_background\.cor in this package"):
        english_texts(tmp_path)


@pytest.mark.real
def test_the_real_panel_has_the_published_sizes() -> None:
    if not (cache_dir() / "packages" / "pip" / "gensim-4.4.0").exists():
        pytest.skip("the probe packages are not in the cache; run an evaluation first")
    panel = load_panel(cache_dir())
    assert (len(panel.english), len(panel.chinese)) == (24, 24)
    assert 180 <= len(panel.capitals) <= 249
    assert all(120 <= len(item.text) <= 300 for item in (*panel.english, *panel.chinese))
    assert not any("/" in item.text for item in panel.chinese)
