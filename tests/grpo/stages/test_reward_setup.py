"""tau from a warm start's own cosines, which texts a run embeds, and what is said of its reward."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from run_object import run_in
from tiny_run import arguments

from data.errors import InputError
from data.examples import Example
from grpo.config import Config, ModelConfig
from grpo.config_file import load_config
from grpo.runtime.run_log import RunLog
from grpo.stages.context import corpus_of, untouched_model
from grpo.stages.reward_setup import (
    check_scales,
    flat_terms,
    held_out_store,
    log_reward,
    reference_texts,
    threshold_from,
)
from reward.combine import RewardConfig
from reward.embedding import EmbeddingStore
from reward.encoders.static import load_static
from reward.rows import References, Texts

COSINES = torch.tensor([0.1, 0.2, 0.3, 0.4, 1.0], dtype=torch.float64)


@pytest.mark.parametrize(("rule", "tau"), [("mean", 0.4), ("q50", 0.3), ("q25", 0.2), ("q10", 0.14)])
def test_calibration_by_hand(rule: str, tau: float) -> None:
    assert threshold_from(COSINES, rule) == pytest.approx(tau)


def test_a_perfect_warm_start_still_leaves_room_for_reward() -> None:
    assert threshold_from(torch.ones(5, dtype=torch.float64), "mean") == 0.99


def test_files_of_a_hub_model_are_looked_up_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub name is no folder; the held-out encoder reads what transformers has already downloaded."""
    requests = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download",
        lambda name, **how: requests.append((name, how["local_files_only"])) or str(tmp_path),
    )
    config = replace(Config(), model=ModelConfig(policy="hub:owner/name"))
    run = run_in(tmp_path, config)
    assert untouched_model(run).files() == tmp_path and requests == [("owner/name", True)]


def test_a_term_that_gives_no_number_is_told_of_once_with_its_first_completion() -> None:
    calls: list[int] = []

    def reward(sources: Texts, completions: Texts, references: References, group_size: int) -> tuple:
        calls.append(len(completions))
        gap = torch.tensor([[1.0, torch.nan], [torch.nan, 0.0]])
        return torch.ones(2, 2), {
            "always": torch.ones(2, 2),
            "sometimes": gap if len(calls) > 1 else torch.ones(2, 2),
        }

    said: list[str] = []
    put: dict[str, float] = {}
    store = SimpleNamespace(num_requested=8, hits=2)
    log = SimpleNamespace(put=put.update)
    watched = log_reward(reward, cast(EmbeddingStore, store), cast(RunLog, log), said.append)
    for _ in range(3):
        watched(["s"] * 4, ["甲", "乙", "丙", "丁"], [["r"]] * 4, 2)
    assert said == [
        "reward term 'sometimes' gave no number for 2 of 4 completions, the first '乙' (said once a start)"
    ]
    assert put == {"embedding_hit_share": 0.0} and calls == [4, 4, 4]


def test_a_scale_that_was_not_measured_is_asked_for(tmp_path: Path) -> None:
    reward = RewardConfig(weights={"cosine": 1.0, "chrf": 1.0, "bleu": 0.0}, normalise="dev")
    scale = {"cosine": [0.5, 0.1]}
    for statistics in ({}, scale, scale | {"chrf": [0.5]}, scale | {"chrf": 0.5}, [1]):
        with pytest.raises(
            InputError, match=r"reward\.json: the scale of the term (cosine|chrf) was never measured"
        ):
            check_scales(tmp_path / "reward.json", {"statistics": statistics}, reward)
    check_scales(tmp_path / "reward.json", {"statistics": scale | {"chrf": [0.3, 0.1]}}, reward)
    check_scales(tmp_path / "reward.json", {}, RewardConfig())


def test_a_term_without_spread_is_named() -> None:
    """Below the floor of 1e-3, and only terms with a weight, and only on the scale of dev."""
    reward = RewardConfig(weights={"cosine": 1.0, "chrf": 1.0, "bleu": 0.0}, normalise="dev")
    facts = {"statistics": {"cosine": [0.5, 1e-3], "chrf": [0.3, 0.0009], "bleu": [0.1, 0.0]}}
    (sentence,) = flat_terms(facts, reward)
    assert sentence.startswith("reward.normalise = 'dev': the term chrf hardly differs")
    assert "(standard deviation 9.0e-04), so it is divided by the floor 0.001" in sentence
    assert flat_terms({}, RewardConfig()) == []


def test_every_reference_text_once_in_order() -> None:
    rows = [("甲", ("乙",)), ("乙", ("丙", "甲"))]
    examples = [Example("x", "s", first, "o", "l", "bo", "zh", others=more) for first, more in rows]
    assert reference_texts(examples) == ["甲", "乙", "丙"]


@pytest.mark.usefixtures("own_cache")
def test_a_small_training_part_leaves_the_held_out_encoder_fitted(
    tmp_path: Path, corpus: Path, tiny_folder: Path
) -> None:
    """Past bug: with fewer than 50 pairs behind the warm start, as in a study's transfer, the held-out cosines were those
    of the embeddings as they are.
    """
    path = arguments(corpus, tiny_folder, tmp_path / "run", "")[1]
    run = run_in(tmp_path, load_config(path, ["data.warm_start_share=0.9"]))
    parts = corpus_of(run)
    assert len(parts.train) < 50 < len(parts.warm_start)
    pairs = [*parts.train, *parts.warm_start]
    texts = [*reference_texts(pairs), *(one.source for one in pairs)]
    folder = untouched_model(run).files()
    assert held_out_store(run).fingerprint == load_static(folder, texts).fingerprint
    assert held_out_store(run).fingerprint != load_static(folder).fingerprint
