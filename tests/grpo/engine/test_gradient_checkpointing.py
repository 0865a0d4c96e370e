"""Gradient checkpointing: the same numbers bit for bit, whatever the mode; a cache for the sampler; no
dropout.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ragged import COMPLETIONS, PROMPTS
from tiny import EOS, tiny_gemma, tiny_llama
from tiny_run import arguments, quick, weights, write_corpus

from data.errors import InputError
from grpo.engine.gradient_checkpointing import recompute_layers
from grpo.engine.logprob import completion_logps
from grpo.engine.model import frozen_copy
from grpo.engine.packing import pack
from grpo.engine.sampler import Sampling, generate
from grpo.run import main


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_gradient_checkpointing_is_bit_equal_and_leaves_sampler_and_dropout_alone(make: Callable) -> None:
    kept = make()
    for name in ("attention_dropout", "hidden_dropout"):
        setattr(kept.config, name, 0.5)
    recomputed = copy.deepcopy(kept)
    calls = []
    assert recompute_layers(recomputed) == kept.config.num_hidden_layers
    recomputed.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    results = []
    for model in (kept, recomputed):
        logps = completion_logps(model, pack(PROMPTS, COMPLETIONS, 3)).logps
        results.append([logps.detach(), *torch.autograd.grad(logps.sum(), list(model.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert len(calls) == 2 and not any(module.training for module in recomputed.modules())
    rollouts = [
        generate(model, PROMPTS, Sampling(4, 8, 1.0, (EOS,), fast=False), seed=(6,))
        for model in (kept, recomputed)
    ]
    assert torch.equal(rollouts[0].sampling_logps, rollouts[1].sampling_logps)
    assert len(calls) == 2 + 8  # the prompt once, then one token at a time: the cache is on


def test_frozen_copy_of_a_recomputing_policy_runs_its_own_layers() -> None:
    """The wrapped method is bound to a layer; a copy that kept the policy's would move with it."""
    policy = tiny_gemma()
    packed = pack(PROMPTS, COMPLETIONS, 3)
    recompute_layers(policy)
    reference = frozen_copy(policy)
    before = completion_logps(reference, packed).logps
    with torch.no_grad():
        for parameter in policy.base_model.layers.parameters():
            parameter.zero_()
    assert torch.equal(completion_logps(reference, packed).logps, before)
    assert not torch.equal(completion_logps(policy, packed).logps, before)


def test_a_whole_run_with_it_ends_in_the_same_policy(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warm start and GRPO through the command; said once for each stage."""
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    corpus = write_corpus(tmp_path / "pairs.tsv")
    for choice in ("true", "false"):
        overrides = [*quick(tiny_folder), f"engine.gradient_checkpointing={choice}"]
        assert main(arguments(corpus, tiny_folder, tmp_path / choice / "run", *overrides)) == 0
        assert capsys.readouterr().out.count("gradient checkpointing: 3 layers are computed again") == (
            2 if choice == "true" else 0
        )
    assert weights(tmp_path / "true" / "run") == weights(tmp_path / "false" / "run")


def test_model_without_layers_to_recompute_is_refused() -> None:
    model = tiny_gemma()
    model.base_model.layers = torch.nn.ModuleList([torch.nn.Identity()])
    with pytest.raises(
        InputError,
        match=r"engine\.gradient_checkpointing = true: gemma3_text has no layers that can be computed again",
    ):
        recompute_layers(model)
