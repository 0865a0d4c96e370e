"""What must not change a run: how it is cut into passes, a fresh start, threads, an evaluation in between.
And that every master moves.
"""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import EOS, flat_gradient
from tiny_session import CONFIG, EXAMPLES, TWO_PASSES, Session
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from transformers import PreTrainedTokenizerFast

from data.cache import cache_dir
from data.prompt import Prompt
from data.sources.news import TextItem
from eval.forgetting.probe_items import ChoiceItem, Panel
from eval.forgetting.probes import run_probes
from grpo.config import Config, EngineConfig, OptimConfig
from grpo.engine.greedy import DecodeSettings, greedy_outputs
from grpo.engine.logprob import completion_logps
from grpo.engine.model import load_policy, parameter_hash
from grpo.engine.packing import pack
from grpo.engine.sampler import Sampling, generate
from grpo.loss import Bounds, grpo_loss, token_weights
from grpo.records import LoopState
from reward.rows import References, Texts

# 1e-6 nats: the sampler's sums over the vocabulary are split among threads
UNEQUAL_OVER_THREADS = ("ratio_gap_mean", "ratio_gap_max")


def even_letters(sources: Texts, completions: Texts, references: References, group_size: int) -> tuple:
    """Varies within every group from the first step on."""
    values = torch.tensor([sum(ord(letter) % 2 == 0 for letter in text) / 6 for text in completions]).view(
        -1, group_size
    )
    return values, {"even": values}


def fixed_logps(session: Session) -> Tensor:
    """The policy's log-probabilities of a text that no run has sampled."""
    with torch.no_grad():
        return completion_logps(
            session.policy,
            pack([[2, 40, 41, 42, 43], [2, 90]], [[5, 6, 7, 1], [70, 1], [33, 34, 1], [9, 9]], 2),
        ).logps


@pytest.mark.parametrize("config", [CONFIG, TWO_PASSES], ids=["one update", "four updates"])
def test_size_of_a_forward_pass_does_not_change_a_run(
    config: Config, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """Eight steps with one group a pass, a few, all at once, and without a shared prefix: metrics and policy
    within 1e-5.
    """
    eight = replace(config, train=replace(config.train, num_steps=8))
    cuts = [
        replace(eight, train=replace(eight.train, max_tokens_per_pass=tokens))
        for tokens in (100_000, 40, 120)
    ] + [replace(eight, engine=EngineConfig(share_prefix=False))]
    sessions = []
    for number, cut in enumerate(cuts):
        session = Session(cut, tmp_path / str(number), tiny_tokenizer, reward=even_letters)
        session.run()
        sessions.append(session)
    whole, *others = sessions
    assert (
        max(row["kl_mean"] for row in whole.metrics()) > 1e-3
        and min(row["reward_std"] for row in whole.metrics()) > 0.05
    )
    for session in others:
        assert (fixed_logps(session) - fixed_logps(whole)).abs().max() < 1e-5
        for row, expected in zip(session.metrics(), whole.metrics(), strict=True):
            if session is sessions[-1]:  # each completion is fed a prompt of its own
                assert row.pop("fed_tokens") > expected.pop("fed_tokens")
            assert row == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("config", [CONFIG, TWO_PASSES], ids=["one update", "four updates"])
def test_same_seed_is_the_same_run_whatever_the_global_generators_say(
    config: Config, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    sessions = []
    for number in range(2):
        torch.manual_seed(number)
        np.random.seed(number)
        random.seed(number)
        session = Session(config, tmp_path / str(number), tiny_tokenizer, reward=even_letters)
        session.run()
        sessions.append(session)
    first, second = sessions
    assert (
        parameter_hash(first.policy) == parameter_hash(second.policy) and first.metrics() == second.metrics()
    )
    assert (first.folder / "rollouts.jsonl").read_bytes() == (second.folder / "rollouts.jsonl").read_bytes()
    other = Session(replace(config, seed=1), tmp_path / "other", tiny_tokenizer, reward=even_letters)
    other.run()
    assert other.metrics()[0]["reward_mean"] != first.metrics()[0]["reward_mean"]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_number_of_threads_does_not_change_a_tiny_run(
    threads, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """Equal to rounding: a processor may split a sum over the threads, which moves its last bits. Bit-equality is only
    promised for the same number of threads (docs/correctness.md).
    """
    sessions = []
    for count in (1, 2):
        threads(count)
        session = Session(CONFIG, tmp_path / str(count), tiny_tokenizer, reward=even_letters)
        session.run()
        sessions.append(session)
    one, two = (
        [{k: v for k, v in row.items() if k not in UNEQUAL_OVER_THREADS} for row in session.metrics()]
        for session in sessions
    )
    assert len(one) == len(two) == CONFIG.train.num_steps
    for first, second in zip(one, two, strict=True):
        words = {key for key, value in first.items() if isinstance(value, str)}
        assert {key: first[key] for key in words} == {key: second[key] for key in words}
        numbers = {key: value for key, value in first.items() if key not in words}
        assert numbers == pytest.approx({key: second[key] for key in numbers}, rel=1e-4, abs=1e-6)
    policies = (parameters_to_vector(session.policy.parameters()) for session in sessions)
    torch.testing.assert_close(*policies, rtol=1e-4, atol=1e-5)


PANEL = Panel(
    (TextItem("e1", "an invented text"), TextItem("e2", "another one")),
    (TextItem("c1", "打开文件"),),
    (ChoiceItem("k1", "The capital is", (" aton", " bton", " cton"), 1),),
)


def random_states() -> tuple:
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        [np.asarray(part).tolist() for part in np.random.get_state()],
    )


@pytest.mark.parametrize("config", [CONFIG, TWO_PASSES], ids=["one update", "four updates"])
def test_evaluation_between_updates_changes_nothing(
    config: Config, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """Greedy outputs and all probes after every update: parameters, moments, log, sampled texts and random
    states as without.
    """
    steps: list[int] = []
    watched = Session(config, tmp_path / "watched", tiny_tokenizer, reward=even_letters)

    def evaluate(state: LoopState) -> None:
        before = random_states()
        outputs = greedy_outputs(
            watched.policy, Prompt.of(tiny_tokenizer), EXAMPLES[:5], DecodeSettings(6, (EOS,), 2)
        )
        run_probes(watched.policy, tiny_tokenizer, PANEL)
        assert len(outputs) == 5 and random_states() == before
        steps.append(state.step)

    watched.between = evaluate
    plain = Session(config, tmp_path / "plain", tiny_tokenizer, reward=even_letters)
    plain.run()
    watched.run()
    assert len(steps) >= config.train.num_steps
    assert (
        parameter_hash(watched.policy) == parameter_hash(plain.policy)
        and watched.metrics() == plain.metrics()
    )
    assert (watched.folder / "rollouts.jsonl").read_bytes() == (plain.folder / "rollouts.jsonl").read_bytes()
    moments = [
        [
            session.optimizer.moments()[parameter][name]
            for parameter, _ in session.policy.named_parameters()
            for name in ("exp_avg", "exp_avg_sq")
        ]
        for session in (watched, plain)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True))


def test_one_step_at_a_tiny_learning_rate_moves_every_master(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """lr 5e-7: fp32 masters take the step; the same step on bf16 parameters is lost for nearly all of
    them.
    """
    config = replace(CONFIG, train=replace(CONFIG.train, num_steps=1, optim=OptimConfig(lr=5e-7)))
    session = Session(config, tmp_path, tiny_tokenizer, reward=even_letters)
    before = [parameter.detach().clone() for parameter in session.policy.parameters()]
    session.run()
    moved = num_changes = kept = 0
    moments = session.optimizer.moments()
    for old, (name, new) in zip(before, session.policy.named_parameters(), strict=True):
        gradient = moments[name]["exp_avg"] / (1 - config.train.optim.beta1)
        coarse = old.bfloat16().requires_grad_()
        coarse.grad = gradient.bfloat16()
        torch.optim.AdamW([coarse], lr=5e-7, weight_decay=0.0).step()
        num_changes += int((gradient != 0).sum())
        moved += int(((new != old) & (gradient != 0)).sum())
        kept += int(((coarse == old.bfloat16()) & (gradient != 0)).sum())
        assert new.dtype == torch.float32
    assert num_changes > 10_000
    assert moved / num_changes >= 0.99
    assert kept / num_changes > 0.9


@pytest.mark.real
@pytest.mark.slow
def test_real_model_over_threads_and_twice(threads) -> None:
    """One update's log-probabilities and gradient of the default model: bit-equal when repeated, within
    rounding over threads.
    """
    folder = cache_dir() / "models" / "gemma-3-270m-trimmed"
    if not folder.is_dir():
        pytest.skip("the default model is not in the cache; run `make sft` first")
    model = load_policy(folder, torch.device("cpu"))
    prompts = [[2, *range(100, 130)], [2, *range(300, 312)]]
    results = []
    for count in (2, 2, 1):
        threads(count)
        rollout = generate(model, prompts, Sampling(4, 12, 1.0, (EOS,)), seed=(0,))
        logps = completion_logps(model, pack(prompts, rollout.completions(), 4, 12)).logps
        advantages = torch.linspace(-1, 1, 8).double()
        mask = rollout.completion_mask
        inputs = (logps, None, logps.detach(), advantages, mask, token_weights(mask, "sequence"))
        model.zero_grad()
        grpo_loss(*inputs, bounds=Bounds(0.2, 0.2), kl_coef=0.02)[0].backward()
        results.append((rollout.completion_ids, logps.detach(), flat_gradient(model)))
    first, again, single = results
    assert all(map(torch.equal, first, again))
    assert torch.equal(first[0], single[0]) and (first[1] - single[1]).abs().max() < 1e-4
