"""Controls of the reward: shuffled has no fixed point, random knows nothing of the text, and the log keeps
showing the true reward.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_object import config_of, run_in
from tiny_run import Command, metrics
from tiny_session import EXAMPLES

from data.errors import InputError
from grpo.config import Config
from grpo.run import main
from grpo.stages.context import Run
from grpo.stages.reward_setup import training_reward
from reward.combine import RewardConfig
from reward.control import OtherReferences, derangement, random_rewards
from reward.rows import References, Texts


@pytest.mark.parametrize("count", [2, 3, 4, 7, 50, 1001])
def test_a_derangement_moves_every_place_and_is_a_function_of_the_seed(count: int) -> None:
    results = [derangement(count, seed).tolist() for seed in range(20)]
    assert all(sorted(places) == list(range(count)) for places in results)
    assert not any(place == other for places in results for place, other in enumerate(places))
    assert results == [derangement(count, seed).tolist() for seed in range(20)]
    assert len({tuple(places) for places in results}) > 1 or count == 2


def test_fewer_than_two_reference_texts_cannot_be_shuffled() -> None:
    with pytest.raises(
        InputError, match='needs 2 different reference texts, and there are 1; write "random"'
    ):
        OtherReferences([("a",), ("a",)], 0)


def test_equal_references_stay_equal_and_none_is_its_own_replacement() -> None:
    references = [("a",), ("b", "c"), ("a",), ("d",)]
    other = OtherReferences(references, 1)
    assert set(other) == set(other.values()) == {("a",), ("b", "c"), ("d",)}
    assert all(original != replacement for original, replacement in other.items())


def test_a_random_reward_is_uniform_reproducible_and_unrelated_to_the_text() -> None:
    texts = [f"{'a' * (number % 13)}{number}" for number in range(4000)]
    rewards = random_rewards(["s"] * 4000, texts, 0)
    assert torch.equal(rewards, random_rewards(["s"] * 4000, texts, 0))
    assert float(rewards.min()) >= 0 and float(rewards.max()) < 1
    assert float(rewards.mean()) == pytest.approx(0.5, abs=0.02) and float(rewards.std()) == pytest.approx(
        12**-0.5, abs=0.01
    )
    true = torch.tensor([text.count("a") / 13 for text in texts])
    for other in (random_rewards(["s"] * 4000, texts, 1), random_rewards(["t"] * 4000, texts, 0), true):
        assert abs(float(torch.corrcoef(torch.stack([rewards, other]))[0, 1])) < 0.06  # 4 standard errors


def test_known_random_rewards() -> None:
    """They are part of what a study reports, so they must not change with a version of Python or of this code."""
    assert random_rewards(["s", "s"], ["甲", ""], 7).tolist() == [0.22989946603775024, 0.21898221969604492]


def exact(sources: Texts, completions: Texts, references: References, group_size: int) -> tuple:
    """1 for a reference text, else 0."""
    values = torch.tensor(
        [float(text in own_references) for text, own_references in zip(completions, references, strict=True)]
    ).view(-1, group_size)
    return values, {"exact": values}


def run_with(control: str, lines: list[str]) -> Run:
    return run_in(Path(), replace(Config(), reward=RewardConfig(control=control)), lines.append)


def test_shuffled_pays_for_the_reference_of_one_other_example_and_logs_the_true_terms() -> None:
    lines: list[str] = []
    examples = [replace(example, reference=f"r{number}") for number, example in enumerate(EXAMPLES)]
    reward = training_reward(run_with("shuffled", lines), exact, examples)
    assert len(lines) == 1 and lines[0].startswith(
        'CONTROL: with reward.control = "shuffled" training goes by a reward without sense'
    )
    for example in examples:
        references = [one.reference for one in examples]
        rewards, terms = reward([example.source] * 12, references, [example.references] * 12, 12)
        assert float(rewards.sum()) == 1 and float((rewards * terms["exact"]).sum()) == 0
        assert (
            torch.equal(terms["true_reward"], terms["exact"])
            and references[int(terms["exact"].argmax())] == example.reference
        )


def test_no_control_is_the_reward_itself_and_says_nothing() -> None:
    lines: list[str] = []
    assert training_reward(run_with("none", lines), exact, EXAMPLES) is exact and not lines


def test_training_asks_a_metric_for_its_share_of_the_groups() -> None:
    run = run_with("none", [])
    run = replace(run, config=replace(run.config, reward=replace(run.config.reward, metric_share=0.25)))
    shares: list[float] = []

    def reward(sources, completions, references, group_size, share=1.0):
        shares.append(share)
        return torch.zeros(1, 1), {}

    training_reward(run, reward, EXAMPLES)(["s"], ["c"], [["r"]], 1)
    reward(["s"], ["c"], [["r"]], 1)
    assert shares == [0.25, 1.0]


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("control", ["shuffled", "random"])
def test_a_run_under_a_control(
    control: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first step samples what a run without control samples, so its true figures are the same; the dev
    set is judged truly.
    """
    rows = {}
    for name in ("none", control):
        assert main(command(name, f"reward.control={name}", "eval.every=4")) == 0
        rows[name] = metrics(tmp_path / name / "run", "train")
    assert capsys.readouterr().out.count("CONTROL") == 1
    assert (
        rows[control][0]["true_reward_mean"]
        == rows["none"][0]["reward_mean"]
        != rows[control][0]["reward_mean"]
    )
    assert rows[control][0]["cosine_mean"] == rows["none"][0]["cosine_mean"]
    dev = metrics(tmp_path / control / "run", "train_dev")[0]
    assert "true_reward_mean" not in dev and dev["reward_mean"] == pytest.approx(dev["cosine_mean"], abs=1e-6)


def test_controls_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"reward\.control = 'random' changes nothing"):
        config_of(tmp_path, ["train.method=sft", "reward.control=random"])
