"""Updates and micro-batches of a rollout: windows are exact, whatever their cut and whatever is last."""

import pytest
import torch
from tiny import flat_gradient, tiny_gemma

from grpo.config import Config, LossConfig, TrainConfig
from grpo.engine.logprob import completion_logps
from grpo.engine.sampler import Sampling, generate
from grpo.loop import micro_batch_loss
from grpo.loss import OBJECTIVES, token_weights
from grpo.minibatch import minibatches_of
from grpo.records import Experience, Rollout

PROMPTS = [[2, 40 + i, 41, 42][: 2 + i % 3] for i in range(5)]
STOPS = (1, *range(10, 60))


def experience(seed: int = 0) -> Experience:
    """5 groups of 3 with lengths from 1 to 9, and old and reference log-probs that differ from the
    policy's.
    """
    rollout = generate(tiny_gemma(), PROMPTS, Sampling(3, 9, 1.0, STOPS), seed=(seed,))
    noise = 0.3 * torch.randn(2, 15, 9, generator=torch.Generator().manual_seed(seed))
    logps = rollout.sampling_logps
    return Experience(
        rollout,
        torch.rand(5, 3, generator=torch.Generator().manual_seed(seed)),
        {},
        logps + noise[0],
        logps + noise[1],
    )


def update_config(
    objective: str, prompts_per_update: int = 0, passes: int = 1, skip_cut: bool = False
) -> Config:
    loss = LossConfig(objective=objective, skip_cut=skip_cut)  # type: ignore[arg-type]
    return Config(loss=loss, train=TrainConfig(passes=passes, prompts_per_update=prompts_per_update))


@pytest.mark.parametrize("objective", ["grpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize("max_tokens", [1, 30, 10_000])
def test_every_window_of_an_epoch_is_exact(objective: str, max_tokens: int) -> None:
    """mu = 2, windows of 2, 2 and 1 groups of unequal lengths: each has its own denominator, and every cut
    the gradient of no cut.
    """
    exp = experience()
    model = tiny_gemma().double()
    advantages = exp.rewards.double() - 0.5
    config = update_config(objective, 2, passes=2)
    windows = list(minibatches_of(config, exp, advantages, 0))
    passes = [[window.prompts.tolist() for window in windows[start : start + 3]] for start in (0, 3)]
    assert [sorted(map(len, windows)) for windows in passes] == [[1, 2, 2], [1, 2, 2]]
    assert sorted(passes[0]) == sorted(passes[1]) and sorted(
        prompt for window in passes[0] for prompt in window
    ) == [0, 1, 2, 3, 4]
    for window in windows:
        rows = exp.rollout.rows_of(window.prompts)
        mask = exp.rollout.completion_mask[rows]
        assert torch.equal(window.weights[rows], token_weights(mask, OBJECTIVES[objective].aggregation))
        gradients = []
        for tokens in (max_tokens, 10_000_000):
            model.zero_grad()
            for micro in window.split(tokens):
                logps = completion_logps(model, micro.packed).logps
                micro_batch_loss(config, micro, logps, None, kl_coef=0.1)[0].backward()
            gradients.append(flat_gradient(model))
        assert (gradients[0] - gradients[1]).norm() < 1e-6 * gradients[1].norm()  # the model's norms are fp32


def test_advantages_and_old_logps_follow_their_rows() -> None:
    exp = experience()
    advantages = torch.arange(15.0, dtype=torch.float64).view(5, 3)
    for window in minibatches_of(update_config("dapo", 2), exp, advantages, 1):
        for micro in window.split(12):
            for row, advantage in enumerate(micro.advantages.tolist()):
                assert exp.old_logps is not None and micro.old_logps is not None
                assert torch.equal(micro.old_logps[row], exp.old_logps[int(advantage)])
                assert torch.equal(micro.ref_logps[row], exp.ref_logps[int(advantage)])
                assert micro.mask[row].sum() == exp.rollout.lengths[int(advantage)]


@pytest.mark.parametrize(
    ("objective", "each"),
    [
        ("grpo", [0, 1 / 4, 1 / 8, 0]),
        ("dapo", [0, 1 / 3, 1 / 3, 0]),
        ("dr_grpo", [0, 1 / 16, 1 / 16, 0]),
    ],
)
def test_a_cut_completion_without_a_loss_by_hand(objective: str, each: list[float]) -> None:
    """4, 1, 2 and 2 tokens of at most 4, the first and the last completion cut: they have no weight and are no part of a
    mean over tokens. Where all are cut there is no gradient at all.
    """
    lengths = torch.tensor([4, 1, 2, 2])
    finished = torch.tensor([False, True, True, False])
    zeros = torch.zeros(4, 4)
    config = update_config(objective, skip_cut=True)
    for rows, expected in (
        (finished, torch.tensor(each, dtype=torch.float64)),
        (finished & ~finished, zeros[0].double()),
    ):
        rollout = Rollout(((2,), (2,)), torch.ones(4, 4, dtype=torch.int64), lengths, rows, zeros, 2)
        exp = Experience(rollout, torch.zeros(2, 2), {}, zeros, None)
        (update,) = minibatches_of(config, exp, torch.ones(2, 2), 0)
        torch.testing.assert_close(
            update.weights, rollout.completion_mask * expected[:, None], atol=1e-15, rtol=0
        )
        (micro,) = update.split(1000)
        assert torch.equal(micro.mask, rollout.completion_mask)  # what the log counts


def test_an_experience_survives_as_tensors() -> None:
    exp = experience()
    exp = Experience(
        exp.rollout,
        exp.rewards,
        {"cosine": exp.rewards, "term: odd": exp.rewards + 1},
        exp.ref_logps,
        exp.old_logps,
    )
    again = Experience.of(exp.tensors(), exp.rollout.prompt_ids, 3)
    assert (
        again.tensors().keys() == exp.tensors().keys() and again.rollout.prompt_ids == exp.rollout.prompt_ids
    )
    assert all(torch.equal(values, exp.tensors()[name]) for name, values in again.tensors().items())
    assert again.terms.keys() == {"cosine", "term: odd"}
    fewer = Experience(exp.rollout, exp.rewards, {}, exp.ref_logps, None)
    assert Experience.of(fewer.tensors(), exp.rollout.prompt_ids, 3).old_logps is None
