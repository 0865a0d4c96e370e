"""Configuration: what is refused, in which words, and that every shipped file is accepted."""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from repository import CONFIGS

from data.errors import InputError
from grpo.advantage import BASELINES, SCALES
from grpo.config import AdvantageConfig, LossConfig, ModelConfig, OptimConfig
from grpo.config_file import changed_settings, load_config
from grpo.engine.pretrained import VOCABULARIES
from grpo.kl import KL_ESTIMATORS
from grpo.loss import OBJECTIVES
from grpo.optim import SCHEDULES

OTHERS = ("encoder", "study")  # reward.distil's and grpo.study's
RUNS = [path for path in sorted(CONFIGS.glob("*.toml")) if not path.name.startswith(OTHERS)]


def test_there_are_shipped_configurations() -> None:
    assert {"mt.toml", "headline.toml"} <= {path.name for path in RUNS}


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_shipped_configurations_load(path: Path) -> None:
    assert load_config(path).rollout.group_size >= 2


def test_override_wins_over_file_and_file_over_default(written) -> None:
    config = load_config(written("[train]\nnum_steps = 7\n"), ["train.optim.lr=3e-6", "run_dir=runs/other"])
    assert (config.train.num_steps, config.train.optim.lr, config.run_dir) == (7, 3e-6, "runs/other")
    assert config.train.optim.beta2 == 0.99


def test_the_home_of_a_user_is_meant_by_a_tilde(
    written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past bug: a run made a folder of the name ~, and a model in the home was not found."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    config = load_config(written('run_dir = "~/runs/a"'), ["model.policy=~/models/b"])
    assert (config.run_dir, config.model.policy) == (
        str(tmp_path / "runs" / "a"),
        str(tmp_path / "models" / "b"),
    )
    assert load_config(written('run_dir = "./runs/~/"')).run_dir == "./runs/~/"


def test_a_setting_that_follows_from_another_is_not_named_as_changed(written) -> None:
    """Past bug: `--check` listed data.normalise and prompt.template of a job that only had a chat prompt or languages."""
    others = 'source_language = "sw"\ntarget_language = "en"\ncorpus = "a.tsv"\n'
    path = written(f'[data]\n{others}[prompt]\nlines = "many"\n')
    config = load_config(path)
    assert config.data.normalise[-1] == "line_ends" and config.prompt.template == "english"
    names = ["data.corpus", "data.source_language", "data.target_language", "prompt.lines"]
    assert [*changed_settings(config)] == names
    own = load_config(path, ['data.normalise=["nfc"]', "prompt.template=plain"])
    assert sorted(changed_settings(own)) == sorted([*names, "data.normalise", "prompt.template"])
    assert changed_settings(own)["data.normalise"] == ("nfc",)


def test_file_keeps_the_other_defaults_of_a_nested_section(written) -> None:
    """Past bug: a section given in part must not fall back to another class's defaults."""
    config = load_config(written("[sft.optim]\nwarmup_steps = 3\n"))
    assert (config.sft.optim.lr, config.sft.optim.schedule, config.sft.optim.warmup_steps) == (
        1e-4,
        "linear",
        3,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[loss]\nkl = 0.1\n",
            r"unknown key 'loss\.kl'; known keys here: objective, clip_low, clip_high, dual_clip, kl_coef",
        ),
        ("[trian]\nnum_steps = 1\n", r"unknown key 'trian'; known keys here: seed"),
        (
            '[train]\nnum_steps = "many"\n',
            r"train\.num_steps = 'many' is of type str; write a value of type int",
        ),
        ("[train]\nnum_steps = true\n", r"train\.num_steps = True is of type bool"),
        ("train = 3\n", r"train is a section; write its settings under \[train\]"),
        ("[rollout]\ngroup_size = 1\n", r"rollout\.group_size = 1: must be at least 2, as GRPO compares"),
        (
            "[rollout]\ntemperature = 0\n",
            r"rollout\.temperature = 0\.0: must be at least 0\.01, as GRPO samples",
        ),
        (
            "[train]\nprompts_per_update = 3\n",
            r"train\.prompts_per_update = 3 does not divide rollout\.num_prompts = 8",
        ),
        ('[loss]\nkl_estimator = "k9"\n', r"c\.toml: loss\.kl_estimator = 'k9': known values are k1, k2, k3"),
        ('[data]\ntask = "sumary"\n', r"data\.task = 'sumary': known values are \"\", translation, headline"),
        ("[loss]\nkl_estimator = 3\n", r"loss\.kl_estimator = 3: known values are k1, k2, k3"),
        (
            '[reward]\nthreshold = "median"\n',
            r"reward\.threshold = 'median': known values are mean, q10, q25, q50, or a number",
        ),
        (
            '[reward]\ncontrol = "noise"\n',
            r"reward\.control = 'noise': known values are none, shuffled, random",
        ),
        ("[data]\nnear_duplicate = 1.5\n", r"data\.near_duplicate = 1\.5: must be at most 1$"),
        (
            '[parallel]\nmode = "fsdp"\n[engine]\nweights = "split"\n',
            r"engine\.weights = 'split' keeps halves of whole weights; write engine\.weights='fp32'",
        ),
        (
            '[parallel]\nmode = "fsdp"\n[engine]\nfrozen = "host"\n',
            r"engine\.frozen = 'host' keeps whole layers .*; write engine\.frozen='device'",
        ),
        ("[train\n", r"c\.toml: not TOML"),
    ],
)
def test_wrong_configuration_is_refused_in_one_sentence(written, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_config(written(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["train.num_steps", "=3", "seed.x=1"])
def test_wrong_override_is_refused(written, override: str) -> None:
    with pytest.raises(InputError):
        load_config(written("seed = 1\n"), [override])


@pytest.mark.parametrize(
    ("section", "name", "rows"),
    [
        (OptimConfig, "schedule", SCHEDULES),
        (AdvantageConfig, "baseline", BASELINES),
        (AdvantageConfig, "scale", SCALES),
        (LossConfig, "objective", OBJECTIVES),
        (LossConfig, "kl_estimator", KL_ESTIMATORS),
        (ModelConfig, "vocabulary", VOCABULARIES),
    ],
)
def test_every_choice_is_a_row_of_its_table(section: type, name: str, rows: Iterable[str]) -> None:
    assert get_args(get_type_hints(section)[name]) == tuple(rows)


def test_missing_and_undecodable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: cannot be read"):
        load_config(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b'run_dir = "\xe9"\n')
    with pytest.raises(InputError, match=r"latin\.toml: not UTF-8 at byte 11"):
        load_config(tmp_path / "latin.toml")


def test_reuse_of_a_rollout_is_derived(written) -> None:
    assert not load_config(written("")).reuses_rollout
    assert load_config(written("[train]\npasses = 2\n")).reuses_rollout
    assert load_config(written("[train]\nprompts_per_update = 4\n")).reuses_rollout
    assert not load_config(written("[train]\nprompts_per_update = 8\n")).reuses_rollout
