"""Reference texts as a guide: who counts what by hand, the loss against finite differences and against separate
passes, and whole runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import byte_tokenizer
from tiny_session import CONFIG, EXAMPLES, TWO_PASSES, Session, count_of_a, variety
from torch.nn.utils import parameters_to_vector

from data.prompt import Prompt
from data.stream import PromptStream
from grpo.advantage import group_advantages
from grpo.config import AdvantageConfig, Config, GuideConfig, LossConfig
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import pack
from grpo.guide import guidance, reference_loss
from grpo.loop import accumulate, collect, guide_of
from grpo.minibatch import minibatches_of
from grpo.records import Experience, Rollout
from grpo.runtime.parallel import SINGLE_PROCESS
from grpo.runtime.run_log import RunLog
from grpo.samples import reward_texts

ADVANTAGE = AdvantageConfig(std_floor=1e-4)
REWARDS = torch.tensor([[0.0, 0.2, 0.1], [0.5, 0.5, 0.9]])
TEXT_REWARDS = torch.tensor([[1.0], [0.9]])
MODES = ("member", "term", "failed", "interleaved")


def guide(mode: str, step: int = 0, **settings: Any) -> Any:
    config = GuideConfig(mode=mode, **settings)  # type: ignore[arg-type]
    return guidance(config, ADVANTAGE, REWARDS, TEXT_REWARDS, step, 5)


def test_a_member_has_an_advantage_among_all_and_every_member_counts_the_same() -> None:
    """Group 2: rewards .5 .5 .9 .9 have mean .7 and standard deviation .2309 (over n - 1)."""
    found = guide("member")
    expected = torch.tensor([-0.2, -0.2, 0.2]).double() / (4 * 0.04 / 3) ** 0.5
    assert torch.allclose(found.advantages[1], expected, atol=1e-6)
    assert torch.allclose(found.references, torch.tensor([1.475897, 0.866025]).double(), atol=1e-5)
    assert found.samples.tolist() == [1, 1]
    total = found.advantages.sum(dim=1) + found.references
    assert torch.allclose(total, torch.zeros(2, dtype=torch.float64), atol=1e-7)


@pytest.mark.parametrize(
    ("mode", "settings", "step", "samples", "references"),
    [
        ("none", {}, 0, [1, 1], [0, 0]),
        ("term", {"weight": 0.8, "final_weight": 0.0}, 0, [1, 1], [0.8, 0.8]),
        ("term", {"weight": 0.8, "final_weight": 0.0}, 2, [1, 1], [0.4, 0.4]),
        ("term", {"weight": 0.8, "final_weight": 0.0}, 4, [1, 1], [0, 0]),
        ("failed", {"threshold": 0.3}, 0, [0, 1], [1, 0]),
        ("failed", {"threshold": 0.2}, 0, [1, 1], [0, 0]),
        ("failed", {"threshold": 1.0}, 0, [0, 0], [1, 1]),
        ("interleaved", {"every": 2}, 0, [1, 1], [0, 0]),
        ("interleaved", {"every": 2}, 1, [0, 0], [1, 1]),
        ("interleaved", {"every": 2}, 2, [1, 1], [0, 0]),
    ],
)
def test_who_counts(
    mode: str, settings: dict[str, Any], step: int, samples: list[float], references: list[float]
) -> None:
    found = guide(mode, step, **settings)
    assert found.samples.tolist() == pytest.approx(samples)
    assert found.references.tolist() == pytest.approx(references)
    assert torch.equal(found.advantages, group_advantages(REWARDS, 1e-4))


@pytest.mark.parametrize(
    ("objective", "mode", "samples", "texts"),
    [
        ("grpo", "term", [1 / 16, 1 / 4, 1 / 8, 1 / 8], [1 / 6, 1 / 10]),
        ("dapo", "term", [1 / 9] * 4, [1 / 8, 1 / 8]),
        ("dr_grpo", "term", [1 / 16] * 4, [1 / 8, 1 / 8]),
        ("grpo", "member", [1 / 24, 1 / 6, 1 / 12, 1 / 12], [1 / 18, 1 / 30]),
        ("dapo", "member", [1 / 17] * 4, [1 / 17, 1 / 17]),
        ("dr_grpo", "member", [1 / 24] * 4, [1 / 24, 1 / 24]),
    ],
)
def test_what_a_token_weighs_by_hand(
    objective: str, mode: str, samples: list[float], texts: list[float]
) -> None:
    """Two groups of two with 4, 1, 2 and 2 of at most T = 4 tokens, and texts of 3 and 5, which is more than T. As a
    member a text is a completion like all; a constant length is T, whatever texts are in the batch.
    """
    lengths = torch.tensor([4, 1, 2, 2])
    ids = torch.ones(4, 4, dtype=torch.int64)
    rollout = Rollout(((2,), (2,)), ids, lengths, lengths < 4, torch.zeros(4, 4), 2)
    rewards = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    experience = Experience(rollout, rewards, {}, torch.zeros(4, 4), None)
    config = GuideConfig(mode=mode, final_weight=1.0)  # type: ignore[arg-type]
    found = guidance(config, ADVANTAGE, rewards, torch.ones(2, 1), 0, 5, [[1] * 3, [1] * 5])
    counts = found.references[:, None]
    loss = LossConfig(objective=objective)  # type: ignore[arg-type]
    (update,) = minibatches_of(Config(loss=loss), experience, found.advantages, 0, found)
    assert update.texts is not None
    for weights, mask, each in (
        (update.weights, rollout.completion_mask, torch.tensor(samples, dtype=torch.float64)),
        (update.texts.weights, update.texts.mask, torch.tensor(texts, dtype=torch.float64) * counts[:, 0]),
    ):
        torch.testing.assert_close(weights, mask * each[:, None], atol=1e-15, rtol=0)


def test_a_group_without_a_text_keeps_its_samples() -> None:
    for mode, settings in (("failed", {"threshold": 100.0}), ("interleaved", {"every": 2})):
        config = GuideConfig(mode=mode, **settings)  # type: ignore[arg-type]
        found = guidance(config, ADVANTAGE, REWARDS, None, 1, 5, [[], [5, 1]])
        assert found.samples.tolist() == [1, 0]
        assert found.references.tolist() == [0, 1]


def test_a_group_without_any_reward_has_failed() -> None:
    rewards = torch.tensor([[float("nan")] * 3, [0.5, float("nan"), 0.1]])
    found = guidance(GuideConfig(mode="failed", threshold=0.3), ADVANTAGE, rewards, None, 0, 5)
    assert found.references.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("settings", "slope"),
    [
        ({"mode": "term"}, lambda p: -1.0 + 0 * p),
        ({"mode": "failed"}, lambda p: -1.0 + 0 * p),
        ({"mode": "term", "uncertain_tokens": True}, lambda p: -p * (1 - p)),
        ({"mode": "member", "shaping": 0.1}, lambda p: -0.1 * p / (p + 0.1) ** 2),
    ],
)
def test_slopes_of_the_loss(settings: dict[str, Any], slope: Callable[[Any], Any]) -> None:
    """d loss / d log p of each token times its weight; nothing outside of the mask, where log p may be anything."""
    logps = torch.tensor([[-0.1, -2.0, -7.0], [-1.0, float("-inf"), 3.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    weights = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.0, 0.0]], dtype=torch.float64)
    values = logps.clone().requires_grad_(True)
    loss = reference_loss(GuideConfig(**settings), values, mask, weights)
    loss.backward()
    assert values.grad is not None and loss.isfinite()
    expected = torch.where(mask, weights * slope(logps.exp()), 0.0).nan_to_num(0.0)
    assert torch.allclose(values.grad, expected, atol=1e-12)


def test_a_member_of_a_sure_policy_is_finite_differences() -> None:
    config = GuideConfig(mode="member", shaping=0.3)
    mask = torch.ones(1, 2, dtype=torch.bool)
    weights = torch.tensor([[0.7, -0.2]], dtype=torch.float64)

    def loss(logps: torch.Tensor) -> torch.Tensor:
        return reference_loss(config, logps, mask, weights)

    logps = torch.tensor([[-0.5, -3.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (logps,))


def gradients_of_a_step(config: Config, session: Session, folder: Path) -> dict[str, torch.Tensor]:
    """Of the first update of a session, without any step."""
    with RunLog(folder, "train", 0, 1, {}) as log:
        training, task = session.parts(log)
        batch = task.prompts.at(0)
        experience = collect(config, training, task, batch, 0)
        guide = guide_of(config, task, batch, experience, 0)
        minibatch = next(minibatches_of(config, experience, guide.advantages, 0, guide))
        accumulate(config, training, minibatch, 0.0)
    return {name: p.grad.clone() for name, p in session.policy.named_parameters() if p.grad is not None}


def imitation_gradients(config: Config, session: Session) -> dict[str, torch.Tensor]:
    """Of the mean over reference texts of their mean -log p, each behind its own prompt."""
    batch: Sequence[Any] = PromptStream(EXAMPLES, config.rollout.num_prompts, config.seed).at(0)
    session.policy.zero_grad()
    for example in batch:
        prompt = Prompt.of(session.tokenizer).encode_prompt(example)
        text = Prompt.of(session.tokenizer).encode_completion(example.reference)
        logps = completion_logps(session.policy, pack([prompt], [text], 1), config.rollout.temperature).logps
        (-logps.sum() / len(text) / len(batch)).backward()
    return {name: p.grad.clone() for name, p in session.policy.named_parameters() if p.grad is not None}


def test_texts_packed_behind_their_groups_are_texts_alone(tmp_path: Path) -> None:
    """Where every group has failed, the update is imitation; as a term it is added to that of GRPO."""
    base = replace(CONFIG, loss=replace(CONFIG.loss, kl_coef=0.0))

    def gradients(guide: GuideConfig) -> dict[str, torch.Tensor]:
        config = replace(base, guide=guide)
        return gradients_of_a_step(
            config, Session(config, tmp_path, byte_tokenizer(), reward=variety), tmp_path
        )

    imitation = imitation_gradients(base, Session(base, tmp_path, byte_tokenizer()))
    failed = gradients(GuideConfig(mode="failed", threshold=100.0))
    plain = gradients(GuideConfig())
    term = gradients(GuideConfig(mode="term", weight=0.5, final_weight=0.5))
    size = max(float(value.abs().max()) for value in imitation.values())
    for name, value in imitation.items():
        assert torch.allclose(failed[name], value, atol=2e-5 * size)
        assert torch.allclose(term[name], plain[name] + 0.5 * value, atol=2e-5 * size)
    assert any(not torch.allclose(plain[name], value, atol=0.1 * size) for name, value in imitation.items())


@pytest.mark.parametrize("mode", MODES)
def test_a_guided_run_learns_the_texts(mode: str, tmp_path: Path) -> None:
    """All reference texts are aaaa; a guide makes them likelier within six steps, and is resumed bit for bit."""
    settings = GuideConfig(mode=mode, threshold=0.5, every=2, shaping=0.1)  # type: ignore[arg-type]
    config = replace(TWO_PASSES, guide=settings)

    def likelihood(session: Session) -> float:
        prompt = Prompt.of(session.tokenizer).encode_prompt(EXAMPLES[0])
        text = Prompt.of(session.tokenizer).encode_completion(EXAMPLES[0].reference)
        with torch.no_grad():
            return float(completion_logps(session.policy, pack([prompt], [text], 1)).logps.sum())

    whole = Session(config, tmp_path / "whole", byte_tokenizer(), reward=count_of_a)
    before = likelihood(whole)
    whole.run()
    assert likelihood(whole) > before + 0.5
    first = Session(config, tmp_path / "parts", byte_tokenizer(), reward=count_of_a)
    first.run(stop_at=3, update=1)
    second = first.resumed()
    second.run()
    assert torch.equal(*(parameters_to_vector(one.policy.parameters()) for one in (second, whole)))


def test_the_reward_of_a_text_that_is_too_long_is_missing() -> None:
    """So it is in no mean of its group."""
    config = replace(
        CONFIG, guide=GuideConfig("member"), sft=replace(CONFIG.sft, max_completion_tokens=3)
    )  # fmt: skip
    task: Any = SimpleNamespace(prompt=Prompt.of(byte_tokenizer()), reward=variety)
    found = reward_texts(config, task, [replace(EXAMPLES[0], reference="ab"), EXAMPLES[1]], SINGLE_PROCESS)
    assert found is not None and found.isnan().tolist() == [[False], [True]]


@pytest.mark.parametrize(
    "guide", [GuideConfig("term", weight=0.5), GuideConfig("failed", threshold=100.0), GuideConfig("interleaved", every=2)]
)  # fmt: skip
def test_a_text_that_is_too_long_guides_nothing(guide: GuideConfig, tmp_path: Path) -> None:
    config = replace(CONFIG, sft=replace(CONFIG.sft, max_completion_tokens=3))
    guided = replace(config, guide=guide)
    runs = [
        Session(one, tmp_path / str(n), byte_tokenizer(), reward=variety)
        for n, one in enumerate((config, guided))
    ]
    for run in runs:
        run.run(stop_at=2)
    plain, other = (parameters_to_vector(run.policy.parameters()) for run in runs)
    assert (plain - other).abs().max() < 1e-5
