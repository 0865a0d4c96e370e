"""One checkpoint's tax: its shape, its zero, its agreement with the probes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_gemma

from data.examples import Example
from data.prompt import Prompt
from data.sources.news import TextItem
from data.template import Wording
from eval.forgetting.probe_items import ChoiceItem, Panel
from eval.forgetting.probes import run_probes, text_ids
from eval.forgetting.tax import TASK_TEXTS, load_tax_panel, measure_tax, task_texts, tax_scalar
from grpo.engine.likelihood import first_ids

QUESTIONS = tuple(
    ChoiceItem(f"q{number}", "One is to two as", (" a", " bb", " ccc", " d"), number % 4)
    for number in range(8)
)
PANEL = Panel(
    english=tuple(TextItem(f"e{number}", f"some words {number} and more") for number in range(4)),
    chinese=tuple(TextItem(f"c{number}", "\u5929\u5730\u4eba" * (1 + number)) for number in range(3)),
    capitals=QUESTIONS,
    analogies=QUESTIONS[:5],
    idioms=QUESTIONS[:3],
    extended={"bigbench_facts": QUESTIONS[:2]},
)


def example(number: int) -> Example:
    return Example(f"x{number}", f"\u0f40\u0f0b{number}", f"\u5b57{number}", "made", "none", "dz", "zh")


TASK = [example(number) for number in range(70)]


@pytest.fixture(scope="module")
def drifted_tax(tiny_tokenizer: Any) -> dict[str, Any]:
    return measure_tax(tiny_gemma(0), tiny_gemma(1), Prompt.of(tiny_tokenizer), PANEL, TASK)


@pytest.fixture(scope="module")
def own_tax(tiny_tokenizer: Any) -> dict[str, Any]:
    base = tiny_gemma(1)
    return measure_tax(base, base, Prompt.of(tiny_tokenizer), PANEL, TASK)


def test_shape_of_the_record(drifted_tax: dict[str, Any]) -> None:
    assert set(drifted_tax) == {"probes", "drift", "sanity", "seconds"}
    assert set(drifted_tax["probes"]) == {
        "english",
        "chinese",
        "capitals",
        "analogies",
        "idioms",
        "bigbench_facts",
    }
    keys = {
        "n_tokens", "nll_mean", "nll_p90", "nll_change_mean", "nll_change_p90", "kl_mean", "kl_p90", "items",
    }  # fmt: skip
    assert set(drifted_tax["drift"]) == {"general", "task"} and all(
        set(part) == keys for part in drifted_tax["drift"].values()
    )
    assert (
        len(drifted_tax["drift"]["general"]["items"]) == 7
        and len(drifted_tax["drift"]["task"]["items"]) == TASK_TEXTS
    )
    assert set(drifted_tax["sanity"]) == {"english", "chinese"}
    json.dumps(drifted_tax, allow_nan=False)


def test_the_untouched_model_pays_nothing(own_tax: dict[str, Any]) -> None:
    assert tax_scalar(own_tax) == 0.0
    assert [part["kl_mean"] for part in own_tax["drift"].values()] == [0.0, 0.0]


def test_probes_are_those_of_the_panel_alone(drifted_tax: dict[str, Any], tiny_tokenizer: Any) -> None:
    """The texts' bits come out of the drift's pass; they must be what `run_probes` says."""
    alone = run_probes(tiny_gemma(0), tiny_tokenizer, PANEL)
    for name in ("english", "chinese"):
        assert drifted_tax["probes"][name]["bits_per_character"] == pytest.approx(
            alone[name]["bits_per_character"], rel=1e-6
        )
        assert [row["id"] for row in drifted_tax["probes"][name]["items"]] == [
            row["id"] for row in alone[name]["items"]
        ]
    for name in ("capitals", "analogies", "idioms", "bigbench_facts"):
        assert drifted_tax["probes"][name] == alone[name]


def test_the_scalar_is_the_rise_of_the_loss(drifted_tax: dict[str, Any]) -> None:
    rows = drifted_tax["drift"]["general"]["items"]
    by_hand = sum(row["nll"] - row["nll_base"] for row in rows) / sum(row["tokens"] for row in rows)
    assert tax_scalar(drifted_tax) == pytest.approx(by_hand, rel=1e-9)


def test_task_texts_are_prompt_and_reference_of_the_same_examples_every_time(tiny_tokenizer: Any) -> None:
    texts = task_texts(Prompt.of(tiny_tokenizer), TASK)
    assert texts == task_texts(Prompt.of(tiny_tokenizer), TASK)
    assert len(texts) == TASK_TEXTS and [text.id for text in texts] == sorted(
        (text.id for text in texts), key=lambda name: int(name[1:])
    )
    (only,) = task_texts(Prompt.of(tiny_tokenizer), TASK[:1])
    assert only.ids == text_ids(tiny_tokenizer, Wording().text(TASK[0]) + TASK[0].reference)
    assert only.start == first_ids(tiny_tokenizer)


def test_a_worse_model_pays_more(tiny_tokenizer: Any) -> None:
    """Weights moved twice as far from the untouched model's cost more, in loss and in divergence."""
    base = tiny_gemma(1)
    drifts = []
    for size in (0.05, 0.1):
        model = tiny_gemma(1)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(size * parameter.std() * torch.randn(parameter.shape, generator=generator))
        drifts.append(
            measure_tax(
                model, base, Prompt.of(tiny_tokenizer), Panel(PANEL.english, PANEL.chinese, ()), TASK[:4]
            )["drift"]
        )
    kl = np.asarray([[part["kl_mean"] for part in drift.values()] for drift in drifts])
    assert (kl[1] > 2 * kl[0]).all() and (kl[0] > 0).all()


def test_the_extended_panel_has_the_sets_of_bigbench_besides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "eval.forgetting.tax.load_panel", lambda cache: dataclasses.replace(PANEL, extended={})
    )
    monkeypatch.setattr(
        "eval.forgetting.tax.extended_items", lambda cache: {"bigbench_past_tense": QUESTIONS[:2]}
    )
    assert set(load_tax_panel(tmp_path).questions()) == {"capitals", "analogies", "idioms"}
    assert set(load_tax_panel(tmp_path, extended=True).questions()) == {
        "capitals",
        "analogies",
        "idioms",
        "bigbench_past_tense",
    }
