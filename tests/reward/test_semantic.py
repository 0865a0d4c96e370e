"""SemanticReward is the reward of a run with the same settings; what it lacks it says in one sentence."""

from typing import Any

import pytest
import torch
from plain_vectors import PlainEncoder, PlainVectors, counts, resources

from data.errors import InputError
from reward import RewardConfig, SemanticReward, as_term, make_reward

ROWS = (["s"] * 4, ["甲", "甲乙", "乙", "甲 abc"], ["甲"] * 4)


COUNTS = PlainEncoder(PlainVectors(counts).embed)


def test_it_is_the_reward_of_a_run() -> None:
    settings: dict[str, Any] = {"weights": {"cosine": 1.5, "script": 1.0}, "gates": ("length_fit",)}
    ours = SemanticReward("zh", COUNTS, threshold=0.5, **settings)
    of_texts = resources(target_script="Hani", target_language="zh", threshold=0.5, min_share=0.95)
    vectors = resources(vectors=PlainVectors(counts))
    of_run = make_reward(RewardConfig(shown=(), **settings), of_texts | vectors)
    sources, completions, references = ROWS
    expected, terms = of_run(sources, completions, [[text] for text in references], 2)
    rewards, own_terms = ours.scores(*ROWS)
    assert rewards.tolist() == expected.flatten().tolist() == ours(*ROWS).tolist()
    assert {name: values.tolist() for name, values in own_terms.items()} == {
        name: values.flatten().tolist() for name, values in terms.items()
    }
    assert rewards[0] == 2.5  # the reference text itself


def test_several_references_are_alternatives_and_groups_are_standardised() -> None:
    reward = SemanticReward("zh", COUNTS, gates=[], normalise=True)
    rewards = reward(*ROWS[:2], [["甲", "乙"]] * 4, group_size=2)
    first, second = rewards.view(2, 2).tolist()
    assert first == pytest.approx([2**-0.5, -(2**-0.5)]) and second == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_term_of_ones_own_is_a_gate_and_may_have_nothing_to_say() -> None:
    term = as_term(lambda completions, **columns: [None, 0.5, 1.0, 1.0])
    rewards = SemanticReward("zh", COUNTS, terms={"mine": term}, gates=["mine"], threshold=-1.0)(*ROWS)
    assert rewards[0].isnan() and rewards[2].item() == pytest.approx(0.5)
    assert rewards[1].item() == pytest.approx(0.5 * (0.5**0.5 + 1) / 2)


def test_a_bank_and_a_second_encoder() -> None:
    reward = SemanticReward(
        "zh",
        COUNTS,
        texts=["甲", "乙丙"],
        held_out=COUNTS,
        weights={"rank": 1.0},
        shown=["cosine_held_out"],
    )
    _, terms = reward.scores(["s"], ["甲"], ["甲"])
    assert (terms["rank"].item(), terms["cosine_held_out"].item()) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weigths": {}}, "SemanticReward: unknown setting 'weigths'; known settings: weights, gates, "),
        ({"control": "random"}, "unknown setting 'control'"),
        ({"threshold": "mean"}, "threshold = 'mean' is measured by a run; give a number"),
        ({"gates": ["mine"]}, "unknown term 'mine'"),
        (
            {"weights": {"rank": 1.0}},
            r"rank compares with other reference texts; give SemanticReward\(texts=",
        ),
        ({"shown": ["cosine_held_out"]}, r"cosine_held_out: give SemanticReward\(held_out="),
        ({"language": "xq"}, "language = 'xq'"),
    ],
)
def test_what_cannot_work_is_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SemanticReward(**{"language": "zh", "encoder": COUNTS, **settings})


def test_normalise_without_groups_is_refused() -> None:
    with pytest.raises(InputError, match="give group_size"):
        SemanticReward("zh", COUNTS, normalise=True)(*ROWS)


def test_no_completion_gives_no_number() -> None:
    assert SemanticReward("zh", COUNTS)([], [], []).shape == torch.Size([0])
