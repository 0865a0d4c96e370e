"""The bill of a run by hand, and the check that refuses a model which cannot be packed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_gemma, tiny_llama

from data.errors import InputError
from grpo import device
from grpo.config import Config, ModelConfig, RolloutConfig, SFTConfig, TrainConfig
from grpo.modelcheck import check_packing
from grpo.packing import Packed
from grpo.plan import count_parameters, make_plan

CONFIG = Config(
    model=ModelConfig(max_prompt_tokens=100),
    sft=SFTConfig(num_steps=10, batch_size=4),
    rollout=RolloutConfig(num_prompts=4, group_size=8, max_new_tokens=50),
    train=TrainConfig(num_steps=5),
)


def test_counts_follow_from_the_medians_of_the_corpus(tmp_path: Path) -> None:
    tokens = {"prompt_tokens": {"p50": 30}, "completion_tokens": {"p50": 6}}
    (tmp_path / "corpus.json").write_text(json.dumps({"tokens": tokens}), encoding="utf-8")
    plan = make_plan(replace(CONFIG, run_dir=str(tmp_path)), None, device.choose("cpu"))
    assert plan.sft_tokens == 10 * 4 * 36
    assert plan.rollout_tokens == 5 * 32 * 6
    assert plan.update_tokens == 5 * (4 * 30 + 32 * 6)


def test_sharing_the_prompt_saves_what_it_should(tmp_path: Path) -> None:
    """Limits 100 and 50 at a share of 0.4: 4 prompts x 40 + 32 x 20 tokens a step against 32 x 60."""
    shared = make_plan(replace(CONFIG, run_dir=str(tmp_path)), None, device.choose("cpu"))
    apart = make_plan(replace(CONFIG, run_dir=str(tmp_path), train=replace(CONFIG.train, share_prefix=False)), None, device.choose("cpu"))
    assert (shared.update_tokens, apart.update_tokens) == (5 * 800, 5 * 1920)


def test_parameters_are_read_from_the_folder(tiny_folder: Path) -> None:
    model = tiny_gemma()
    assert count_parameters(CONFIG, tiny_folder) == (
        sum(p.numel() for p in model.parameters()),
        model.get_output_embeddings().weight.numel(),
    )


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_ordinary_attention_passes(make: object) -> None:
    assert check_packing(make()) < 1e-5


def test_attention_that_ignores_the_mask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that only ever looks backwards would let the completions of a group see each other."""

    def causal_only(packed: Packed, window: int | None = None) -> torch.Tensor:
        size = packed.input_ids.shape[1]
        return torch.ones(size, size, dtype=torch.bool).tril()[None, None]

    monkeypatch.setattr("grpo.policy.visible", causal_only)
    with pytest.raises(InputError, match="packed rows differ from plain ones"):
        check_packing(tiny_llama())
