"""A study's file: what it resolves to, and the sentence for each mistake before anything runs."""

from pathlib import Path

import pytest
from tiny_study import write_study

from data.errors import InputError
from grpo.study.__main__ import main
from grpo.study.config import TransferConfig, load_study

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def file(corpus: Path, tiny_folder: Path, tmp_path: Path) -> str:
    return write_study(tmp_path, corpus, tiny_folder)[1]


def test_an_arm_is_the_base_with_the_study_s_settings_and_its_own(file: str, tmp_path: Path) -> None:
    study = load_study(
        file, ["arms.sft.settings=['train.method=sft', 'train.optim.lr=2e-3']", "snapshots=3", "seeds=[4, 7]"]
    )
    assert [(arm.name, arm.kind) for arm in study.arms] == [("grpo", "grpo"), ("sft", "sft")]
    config = study.arm_config(study.arm("sft"), 7)
    assert (config.seed, config.train.optim.lr, config.train.num_steps, config.checkpoint.snapshots) == (
        7,
        2e-3,
        4,
        3,
    )
    assert config.run_dir == str(tmp_path / "study" / "arms" / "sft" / "seed7") and not config.eval.probes
    warm = study.warm_start_config(7)
    assert warm.train.optim.lr == 1e-3 and (warm.data, warm.model, warm.sft) == (
        config.data,
        config.model,
        config.sft,
    )


def test_arms_see_the_same_prompts(file: str) -> None:
    study = load_study(file)
    configs = [study.arm_config(arm, 0) for arm in study.arms]
    assert len({(config.seed, config.rollout.num_prompts) for config in configs}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("arms.grpo.start=sft", r"arms\.grpo\.start = 'sft': known here are untouched, warm_start"),
        ('arms.sft.settings=["train.metod=sft"]', r"arms\.sft: .*unknown key 'train\.metod'"),
        (
            'arms.sft.settings=["train.method=stf"]',
            r"arms\.sft: .*train\.method = 'stf': known values are grpo, sft, best_of_group",
        ),
        ('arms.sft.settings=["reward.weights={bleuu=1.0}"]', r"arms\.sft: reward: unknown term 'bleuu'"),
        (
            'arms.sft.settings=["sft.num_steps=9"]',
            r"sft\.num_steps: all arms share it; write it into the settings of the study",
        ),
        ('arms.sft.settings=["seed=9"]', "seed: the study itself sets it"),
        ('settings=["checkpoint.snapshots=9"]', r"checkpoint\.snapshots: the study itself sets it"),
        ('settings=["train.optm.lr=9"]', r"unknown key 'train\.optm'"),
        ('arms.sft.setting=["seed=9"]', r"arms\.sft: an arm has settings"),
        ("arms.SFT.settings=[]", r"arms\.SFT: no name for an arm"),
        ("arms.untouched.settings=[]", r"arms\.untouched: no name for an arm"),
        ("arms={}", r"a study needs arms; write \[arms\.grpo\]"),
        ("seedz=[1]", "unknown key 'seedz'"),
        ("seeds=[1, 1]", r"seeds = \[1, 1\]: each seed once"),
        ("snapshots=0", "snapshots = 0: "),
        ("target=rouge", "target = 'rouge': known values are cosine, "),
        ("keep_snapshots=some", "keep_snapshots = 'some': known values are front, all, none"),
        ("interpolate=[0.251, 0.25]", "interpolate: "),
        ("budget=-0.1", "budget = -0.1: "),
        ('transfer.starts=["grpo", "dpo"]', r"transfer\.starts: dpo: neither "),
        ("transfer.config=nowhere.toml", "nowhere.toml: cannot be read"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(
    change: str, message: str, file: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load_study(file, [change])
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--arms", "sft,dpo"], "dpo: no arm of this study; its arms are grpo, sft"),
        (["--seeds", "3"], "--seeds 3: 3 is no seed of this study; its seeds are 0"),
        (["--only", "train,test"], "--only train,test: unknown part 'test'"),
    ],
)
def test_a_choice_of_what_is_not_there(
    more: list[str], message: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", file, *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["study_cpu", "study"])
def test_the_studies_that_ship_are_valid(name: str, tmp_path: Path) -> None:
    study = load_study(f"configs/{name}.toml", [f"study_dir={tmp_path}/study"])
    kinds = [arm.kind for arm in study.arms]
    assert kinds.count("sft") >= 4 and kinds.count("best_of_group") >= 1 and kinds.count("grpo") >= 10
    assert study.transfer is None or study.transfer != TransferConfig()
    steps = {arm.name: study.arm_config(arm, 0).train.num_steps for arm in study.arms}
    (shared,) = {steps[arm.name] for arm in study.arms if arm.start == "warm_start"}
    # an arm that does without a warm start has its updates too
    whole = shared + study.warm_start_config(0).sft.num_steps
    alone = [arm for arm in study.arms if arm.start == "untouched"]
    assert {steps[arm.name] for arm in alone} == {whole} and {
        bool(study.arm_config(arm, 0).anchor.train) for arm in alone
    } == {True, False}


def test_a_path_with_odd_characters_comes_back_as_it_was(file: str, tmp_path: Path) -> None:
    folder = tmp_path / 'a "study" with \\ and = 1'
    study = load_study(file, [f"study_dir='{folder}'"])
    assert study.arm_config(study.arm("grpo"), 0).run_dir == f"{folder}/arms/grpo/seed0"
