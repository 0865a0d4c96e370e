"""Learned metrics as terms, gates and held-out scores of a reward."""

import shutil
from pathlib import Path

import pytest
import torch
from metric_folders import metric_folder

from data.errors import InputError
from reward.combine import (
    RewardConfig,
    check,
    check_section,
    make_reward,
    reward_needs,
    terms_with_references,
)
from reward.learned.scores import Metrics, open_scorer
from reward.semantic import SemanticReward

CPU = torch.device("cpu")
ROWS = (["src one", "src one", "ab"], ["abc", "打 开", "q"], [["abc"], ["abc"], ["q"]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("metrics")
    return {name: str(metric_folder(place, name)) for name in ("comet", "cometkiwi")}


def test_a_metric_pays_by_its_weight_and_as_a_gate(folders: dict[str, str]) -> None:
    config = RewardConfig(
        weights={"comet": 2.0}, gates=("cometkiwi",), shown=(), metrics=folders,
        settings={"cometkiwi": {"low": -1, "high": 1}},
    )  # fmt: skip
    check(config, "zh")
    metrics = Metrics(folders, CPU)
    reward, terms = make_reward(config, {"metrics": lambda: metrics})(*ROWS, 1)
    comet, kiwi = (open_scorer(folders[name], CPU).scores(*ROWS) for name in ("comet", "cometkiwi"))
    gate = ((kiwi + 1) / 2).clamp(0, 1)
    assert 0 < gate.min() < gate.max() < 1
    torch.testing.assert_close(reward[:, 0], gate * 2 * comet)
    assert terms.keys() == {"comet", "cometkiwi"}


def test_scores_outside_low_and_high_count_as_0_and_1(folders: dict[str, str]) -> None:
    values = open_scorer(folders["comet"], CPU).scores(*ROWS)
    middle = values.median().item()
    config = RewardConfig(
        weights={"comet": 1.0}, gates=(), shown=(), metrics=folders,
        settings={"comet": {"low": middle - 1e-4, "high": middle + 1e-4}},
    )  # fmt: skip
    rewards, _ = make_reward(config, {"metrics": lambda: Metrics(folders, CPU)})(*ROWS, 1)
    assert sorted(rewards.flatten().tolist()) == pytest.approx([0.0, 0.5, 1.0], abs=0.01)


def test_semantic_reward_takes_metrics(folders: dict[str, str], tiny_folder: Path) -> None:
    reward = SemanticReward("zh", f"static:{tiny_folder}", metrics=folders, weights={"comet": 1.0}, gates=[])
    torch.testing.assert_close(reward(*ROWS), open_scorer(folders["comet"], CPU).scores(*ROWS))


def test_what_a_metric_needs_is_known_without_its_model(folders: dict[str, str]) -> None:
    config = RewardConfig(weights={"cometkiwi": 1.0}, gates=("script",), shown=("comet",), metrics=folders)
    assert terms_with_references(config) == ["comet"]
    assert not reward_needs(config, ("vectors",))
    assert reward_needs(config, ("metrics",))


BAD: dict[str, tuple[RewardConfig, str]] = {
    "name": (RewardConfig(metrics={"Comet-22": "x"}), "Comet-22 is no name"),
    "taken": (RewardConfig(metrics={"chrf": "x"}), "chrf is the name of another term or score"),
    "gate": (RewardConfig(metrics={"kiwi": "x"}, gates=("kiwi",)), "the score of kiwi may leave"),
    "ends": (
        RewardConfig(metrics={"kiwi": "x"}, weights={"kiwi": 1.0}, settings={"kiwi": {"low": 1, "high": 0}}),
        "low and high are two numbers, low below high",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_refused(name: str) -> None:
    config, sentence = BAD[name]
    with pytest.raises(InputError, match=sentence):
        check_section(config)


def test_a_metric_under_the_name_of_another_is_refused(folders: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"reward\.metrics\.bleurt: .* is a comet metric"):
        check(RewardConfig(metrics={"bleurt": folders["comet"]}), "zh")
    with pytest.raises(InputError, match="there is no folder"):
        check(RewardConfig(metrics={"kiwi": "/nowhere"}), "zh")


def test_a_metric_without_a_tokenizer_is_refused_before_anything_is_trained(
    folders: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "comet"
    shutil.copytree(folders["comet"], folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(
        InputError, match=r"has no tokenizer\.json; copy that of the metric's base model there"
    ):
        check(RewardConfig(metrics={"comet": str(folder)}, weights={"comet": 1.0}), "zh")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("head.safetensors", "has no head.safetensors; make the folder again: python -m reward.learned"),
        ("model.safetensors", "has no model.safetensors; make the folder again: python -m reward.learned"),
    ],
)
def test_a_folder_that_lacks_weights_is_refused_before_any_training(
    folders: dict[str, str], tmp_path: Path, file: str, said: str
) -> None:
    """Past bug: without head.safetensors --check was content, and the run failed after its warm start. Without
    model.safetensors the head was taken for the model, which then had too few layers.
    """
    folder = shutil.copytree(folders["comet"], tmp_path / "comet")
    config = RewardConfig(weights={"comet": 1.0}, gates=(), shown=(), metrics={"comet": str(folder)})
    check(config, "zh")
    content = (folder / file).read_bytes()
    (folder / file).unlink()
    with pytest.raises(InputError, match=said):
        check(config, "zh")
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=f"{file}: not a readable safetensors file"):
        check(config, "zh")
