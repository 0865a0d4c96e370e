"""The reward: the sum and the gates by hand, standardising, missing values, and every refusal. Failures:
test_reward_faults.py.
"""

import math
from dataclasses import replace

import pytest
import torch
from plain_vectors import PlainVectors, counts, resources

from data.errors import InputError
from reward.combine import Reward, RewardConfig, bind, check, combine, make_reward
from reward.groups import group_ranks
from reward.scales import standardise, term_statistics
from reward.terms import TERMS

PAPER = RewardConfig(weights={"cosine": 1.5, "script": 1.0}, gates=(), shown=("cosine_raw",))
HALF = math.sqrt(0.5)


def make_test_reward(config: RewardConfig, threshold: float = 0.5) -> Reward:
    of_texts = {"target_script": "Hani", "target_language": "zh", "min_share": config.min_share}
    encoders = {"vectors": PlainVectors(counts), "held_out": PlainVectors(counts)}
    return make_reward(config, resources(threshold=threshold, **of_texts, **encoders))


def constant(value: float):
    return lambda sources, completions, references: torch.full((len(completions),), value)


def values(*numbers: float):
    return lambda sources, completions, references: torch.tensor(numbers)


def test_the_papers_sum_by_hand() -> None:
    rewards, terms = make_test_reward(PAPER)(["s"] * 4, ["甲", "甲乙", "乙", "甲 abc"], [["甲"]] * 4, 2)
    similarity = (HALF - 0.5) / 0.5
    torch.testing.assert_close(rewards, torch.tensor([[2.5, 1.5 * similarity + 1], [1.0, 1.5]]))
    torch.testing.assert_close(terms["cosine_raw"], torch.tensor([[1.0, HALF], [0.0, 1.0]]))
    torch.testing.assert_close(terms["cosine"], torch.tensor([[1.0, similarity], [0.0, 1.0]]))
    assert terms["script"].tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert rewards.dtype == torch.float32 and list(terms) == ["cosine", "script", "cosine_raw"]


def test_gates_multiply_the_sum_by_hand() -> None:
    terms = {
        "meaning": values(1.0, 0.5),
        "script": values(1.0, 1.0),
        "gate": values(0.5, 1.0),
        "other": values(0.5, 0.0),
    }
    rewards, _ = combine(terms, {"meaning": 1.5, "script": 1.0}, ("gate", "other"))(
        ["s"] * 2, ["x"] * 2, [["y"]] * 2, 2
    )
    assert rewards.tolist() == [[0.25 * 2.5, 0.0]]


def test_script_as_a_gate_takes_everything_from_mixed_language() -> None:
    rewards, _ = make_test_reward(replace(PAPER, gates=("script",)))(
        ["s"] * 2, ["甲", "甲 abc"], [["甲"]] * 2, 2
    )
    assert rewards.tolist() == [[2.5, 0.0]]


def test_standardised_terms_do_not_depend_on_their_scale() -> None:
    """Past bug of the weighted sum: a term a thousand times larger is no longer a thousand times heavier."""
    small = {"a": values(0.1, 0.2, 0.3, 0.9), "b": values(3.0, 1.0, 2.0, 2.0)}
    large = {"a": values(100.0, 200.0, 300.0, 900.0), "b": small["b"]}
    arguments = (["s"] * 4, ["x"] * 4, [["y"]] * 4, 2)
    weights = {"a": 1.0, "b": 1.0}
    standard = [combine(terms, weights, normalise=True)(*arguments)[0] for terms in (small, large)]
    plain = [combine(terms, weights)(*arguments)[0] for terms in (small, large)]
    torch.testing.assert_close(standard[0], standard[1])
    assert not torch.allclose(plain[0], plain[1])


def test_standardising_gates_first() -> None:
    """A completion that is gated out must be the worst of its group, not average."""
    terms = {"meaning": values(0.9, 0.5, 0.4), "gate": values(0.0, 1.0, 1.0)}
    rewards, _ = combine(terms, {"meaning": 1.0}, ("gate",), normalise=True)(
        ["s"] * 3, ["x"] * 3, [["y"]] * 3, 3
    )
    assert rewards[0].argmin() == 0 and rewards[0].mean().abs() < 1e-6


def test_standardised_by_hand_and_constant_groups_stay_at_zero() -> None:
    rewards = torch.tensor([[0.0, 2.0], [0.7, 0.7]], dtype=torch.float64)
    torch.testing.assert_close(
        standardise(rewards), torch.tensor([[-HALF, HALF], [0.0, 0.0]], dtype=torch.float64)
    )
    assert standardise(torch.tensor([[0.3]], dtype=torch.float64)).tolist() == [[0.0]]


def test_ranks_by_hand() -> None:
    nan = math.nan
    rows = torch.tensor(
        [[0.3, 0.9, 0.3, 0.1], [5.0, 5.0, 5.0, 5.0], [nan, 2.0, nan, 1.0], [nan, 7.0, nan, nan]]
    )
    expected = torch.tensor([[0.5, 1.0, 0.5, 0.0], [0.5] * 4, [nan, 1.0, nan, 0.0], [nan, 0.5, nan, nan]])
    ranks = group_ranks(rows)
    assert ranks.dtype == torch.float64
    torch.testing.assert_close(ranks, expected.double(), equal_nan=True, rtol=0, atol=1e-15)


def test_ranks_know_no_scale() -> None:
    """Any increasing function of a term leaves the ranks, and values that differ in the last bit of fp64 stay apart."""
    values = torch.rand(5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert group_ranks(values).equal(group_ranks(1000 * values.exp() - 3))
    assert group_ranks(torch.tensor([[0.1 + 0.2, 0.3]], dtype=torch.float64)).tolist() == [[1.0, 0.0]]


def test_a_rank_average_by_hand() -> None:
    """The gate comes first: the completion with the best meaning and gate 0 has the lowest rank of both terms."""
    terms = {
        "meaning": values(0.9, 0.5, 0.4, 0.7),
        "form": values(30.0, 20.0, 10.0, 10.0),
        "gate": values(0.0, 1.0, 1.0, 1.0),
    }
    rewards, _ = combine(terms, {"meaning": 1.0, "form": 0.5}, ("gate",), normalise="rank")(
        ["s"] * 4, ["x"] * 4, [["y"]] * 4, 4
    )
    expected = [0.0, 2 / 3 + 0.5, 1 / 3 + 0.5 * 0.5, 1.0 + 0.5 * 0.5]
    torch.testing.assert_close(rewards, torch.tensor([expected]))


def test_the_scale_of_dev_by_hand() -> None:
    terms = {"meaning": values(0.9, 0.5), "form": values(30.0, 20.0), "gate": values(1.0, 0.5)}
    statistics = {"meaning": (0.4, 0.1), "form": (20.0, 10.0)}
    rewards, _ = combine(
        terms, {"meaning": 1.0, "form": 2.0}, ("gate",), normalise="dev", statistics=statistics
    )(["s"] * 2, ["x"] * 2, [["y"]] * 2, 1)
    assert rewards.flatten().tolist() == pytest.approx([5.0 + 2.0, -1.5 - 2.0], abs=1e-6)


def test_statistics_of_terms_by_hand() -> None:
    measured = {
        "a": torch.tensor([[1.0], [2.0], [math.nan], [4.0]]),
        "b": torch.tensor([[2.0], [2.0], [2.0], [2.0]]),
        "g": torch.tensor([[1.0], [0.5], [1.0], [1.0]]),
    }
    statistics = term_statistics(measured, {"a": 1.0, "b": 1.0, "g": 0.0}, ["g"])
    assert statistics == {"a": [2.0, math.sqrt(3)], "b": [1.75, 0.5]}
    with pytest.raises(InputError, match="'a' has no value on dev"):
        term_statistics({"a": torch.tensor([math.nan])}, {"a": 1.0}, [])


def test_equal_completions_earn_equal_rewards() -> None:
    rewards, _ = make_test_reward(RewardConfig(shown=()))(["s"] * 12, ["甲甲甲乙"] * 12, [["甲"]] * 12, 12)
    assert len(set(rewards.flatten().tolist())) == 1


def test_several_references_are_alternatives() -> None:
    rewards, _ = make_test_reward(PAPER)(["s"] * 2, ["甲", "乙"], [["甲", "乙"]] * 2, 2)
    assert rewards.tolist() == [[2.5, 2.5]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.0}, r"reward.threshold = 1.0: must be at most 0\.999999, as it is a cosine"),
        ({"threshold": math.nan}, "reward.threshold = nan"),
        ({"min_share": 0.0}, "reward.min_share = 0.0"),
        ({"weights": {"cosine": -1.0}}, "reward.weights.cosine = -1.0: must be a number from 0"),
        ({"weights": {"cosine": 1.0, "script": math.nan}}, "reward.weights.script = nan"),
        ({"weights": {"cosine": 0.0, "script": 0.0}}, "reward.weights are all 0"),
        ({"weights": {}}, "reward.weights are all 0"),
        ({"weights": {"cosin": 1.0}}, "reward: unknown term 'cosin'; known terms: cosine, cosine_raw.*FILE.py:function"),
        ({"gates": ("lenght_fit",)}, "reward: unknown term 'lenght_fit'"),
        ({"settings": {"bleu": {}}}, "reward.settings.bleu: no such term is used; used terms: cosine, script"),
        ({"settings": {"length_fit": {"slack": 0.5}}}, "length_fit.slack"),
        (
            {"settings": {"length_fit": {"slak": 2}}},
            "reward term 'length_fit': unknown setting 'slak'; known settings: slack, alpha",
        ),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(replace(RewardConfig(), **changes), "zh")


def test_default_settings_pass() -> None:
    check(RewardConfig(), "zh")
    check(RewardConfig(threshold="q25", weights={"chrf": 1.0, "margin": 0.5}, normalise=True), "dz")


def test_unknown_target_language_lists_the_known_and_the_way_out() -> None:
    with pytest.raises(
        InputError,
        match=r"data.target_language = 'aaa': its script is not known; give data.target_script.*\(names: Adlm, Arab",
    ):
        check(RewardConfig(), "aaa")
    check(RewardConfig(), "aaa-Latn")


def test_bind_refuses_unknown_and_missing_settings() -> None:
    with pytest.raises(
        InputError,
        match=r"reward term 'cosine': unknown setting 'treshold'; known settings: vectors, threshold",
    ):
        bind("cosine", TERMS["cosine"], {"treshold": 0.5})
    with pytest.raises(
        InputError, match=r"needs the setting 'threshold'; write it as reward.settings.cosine.threshold"
    ):
        bind("cosine", TERMS["cosine"], {"vectors": PlainVectors(counts)})


def test_combine_takes_any_function_and_refuses_unknown_names() -> None:
    rewards, terms = combine({"a": constant(2.0), "b": constant(3.0)}, {"a": 0.5})(
        ["s"] * 2, ["x"] * 2, [["y"]] * 2, 1
    )
    assert rewards.tolist() == [[1.0], [1.0]] and terms["b"].tolist() == [[3.0], [3.0]]
    with pytest.raises(InputError, match=r"unknown term 'c'; known terms: a"):
        combine({"a": constant(1.0)}, {"c": 1.0})
    with pytest.raises(InputError, match=r"unknown term 'c'; known terms: a"):
        combine({"a": constant(1.0)}, {"a": 1.0}, gates=("c",))


def test_a_missing_value_that_counts_costs_that_completion_its_reward_and_no_other() -> None:
    terms = {"meaning": values(1.0, math.nan, 0.5, 1.0), "gate": values(0.5, 0.0, math.inf, 0.0)}
    rewards, shares = combine(terms, {"meaning": 2.0}, ("gate",))(["s"] * 4, ["x"] * 4, [["y"]] * 4, 2)
    assert rewards[0, 0] == 1.0 and rewards[1, 1] == 0.0
    # a gate of 0 does not turn "not known" into 0
    assert rewards.isnan().tolist() == [[False, True], [True, False]]
    assert (
        shares["gate"].isnan().tolist() == [[False, False], [True, False]]
        and shares["gate"].dtype == torch.float32
    )


def test_a_missing_value_that_is_only_shown_or_weighs_nothing_costs_nothing() -> None:
    terms = {"meaning": values(1.0, 0.5), "idle": values(math.nan, 1.0), "shown": values(1.0, -math.inf)}
    rewards, shares = combine(terms, {"meaning": 1.0, "idle": 0.0})(["s"] * 2, ["x"] * 2, [["y"]] * 2, 2)
    assert rewards.tolist() == [[1.0, 0.5]]
    assert shares["idle"].isnan().tolist() == [[True, False]] and shares["shown"].isnan().tolist() == [
        [False, True]
    ]


def test_standardising_leaves_out_what_is_missing() -> None:
    """A group with a missing value is standardised as if it were smaller; one value alone stays at 0."""
    lone = torch.tensor(
        [[0.7, math.nan, math.nan], [0.0, 2.0, math.nan], [0.2, 0.2, math.nan]], dtype=torch.float64
    )
    result = standardise(lone)
    torch.testing.assert_close(result[1, :2], standardise(lone[1:2, :2])[0])
    assert result[0, 0] == 0.0 and result[2, :2].tolist() == [0.0, 0.0]
    assert torch.equal(result.isnan(), lone.isnan())
    rewards, _ = combine({"a": values(0.0, 2.0, math.nan)}, {"a": 1.0}, normalise=True)(
        ["s"] * 3, ["x"] * 3, [["y"]] * 3, 3
    )
    torch.testing.assert_close(rewards, torch.tensor([[-HALF, HALF, math.nan]]), equal_nan=True)


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_gate_outside_its_range_names_its_row(value: float) -> None:
    """A negative gate would turn a good reward into a bad one."""
    with pytest.raises(
        ValueError, match=rf"gate 'g' is {value:.1f}.* in row 1, completion '二'; a gate lies in \[0, 1\]"
    ):
        combine({"g": values(1.0, value)}, {"g": 1.0}, ("g",))(["s"] * 2, ["一", "二"], [["r"]] * 2, 2)


def test_a_ragged_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="3 completions are no whole number of groups of 2"):
        make_test_reward(PAPER)(["s"] * 3, ["a"] * 3, [["b"]] * 3, 2)
