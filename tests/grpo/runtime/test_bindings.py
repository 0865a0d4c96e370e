"""Which settings a run folder binds, as a truth table, and what a start with another value does to the bits."""

import json
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from command_line import outcome
from tiny_run import Command, assert_same_run

from data.errors import InputError
from data.settings import build
from grpo.config import Config
from grpo.config_file import apply_override
from grpo.run import main
from grpo.runtime.bindings import SHAPES, progress_of, refused_changes, stages_of
from grpo.runtime.run_folder import claim_folder, differences, flat, plain, write_config

pytestmark = pytest.mark.usefixtures("own_cache")

STATES: dict[str, tuple[str, ...]] = {  # what lies in the folder
    "nothing": ("corpus.json",),
    "sft begun": ("checkpoints/sft/step-000002/state.json",),
    "sft done": ("warm_start/config.json",),
    "train begun": ("warm_start/config.json", "checkpoints/train/step-000002/state.json"),
    "train begun by an earlier version": (
        "warm_start/config.json",
        "checkpoints/grpo/step-000002/state.json",
    ),
    "train done": ("warm_start/config.json", "policy/config.json"),
    "evaluated": ("warm_start/config.json", "policy/config.json", "eval/untouched.json"),
}
TABLE = {  # a changed setting -> the states in which it is free, as in STATES: 1 = free, 0 = refused
    "threads=3": "1111111",
    "device=cpu": "1111111",
    "run_dir=elsewhere": "1111111",
    "eval.batch_size=7": "1111111",
    "eval.bootstrap_samples=9": "1111111",
    "checkpoint.every=7": "1111111",
    "checkpoint.keep=7": "1111111",
    "sft.max_tokens_per_pass=64": "1111111",
    "train.max_tokens_per_pass=0": "1111111",
    "rollout.parts=2": "1111111",
    "engine.gradient_checkpointing=true": "1111111",
    "engine.weights=split": "1111111",
    "engine.fast_decode=false": "1111111",
    "parallel.mode=none": "1111111",
    "parallel.patience=99": "1111111",
    "seed=1": "1000000",
    "data.test_size=7": "1000000",
    "prompt.shots=1": "1000000",
    "model.max_prompt_tokens=9": "1000000",
    "engine.number_format=bf16": "1000000",
    "engine.moments=8bit": "1000000",
    "sft.batch_size=9": "1000000",
    "sft.max_completion_tokens=9": "1000000",
    "sft.optim.lr=0.5": "1000000",
    "sft.num_steps=99": "1000000",  # its learning rate falls
    "anchor.sft=0.5": "1000000",
    "protection.sft=l2": "1000000",
    "rollout.temperature=0.5": "1110000",
    "reward.weights.cosine=2.0": "1110000",
    "reward.encoder=static:x": "1110000",
    "loss.kl_coef=0.5": "1110000",
    "train.optim.lr=0.5": "1110000",
    "train.method=sft": "1110000",
    "train.num_steps=99": "1111100",  # the learning rate is constant
    "train.num_steps=1": "1110000",
    "anchor.train=0.5": "1110000",
    "eval.every=2": "1110000",
    "checkpoint.snapshots=2": "1110000",
    "anchor.text=other.txt": "1111111",  # nothing reads general texts
    "tax.texts=3": "1111111",
    "protection.strength=3.0": "1111111",
    "eval.best_by=chrf": "1111111",  # the dev set is never scored
    "eval.max_new_tokens=7": "1111110",
    "eval.probes=false": "1111110",
}


def with_overrides(config: Config, *overrides: str) -> Config:
    values: dict[str, Any] = {}
    for override in overrides:
        apply_override(values, override)
    changed_config: Config = build(Config, values, "test", "", config)
    return changed_config


def folder_in(state: str, folder: Path, config: Config) -> Path:
    for name in STATES[state]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    folder.mkdir(exist_ok=True)
    write_config(config, folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder in each state."""
    place = tmp_path_factory.mktemp("states")
    return {state: folder_in(state, place / state, Config()) for state in STATES}


def states_with(override: str, folders: dict[str, Path], config: Config) -> str:
    """In which states a change of `config` is free: "1101"."""
    new = with_overrides(config, override)
    changes = differences(plain(config), plain(new))
    assert [change.key for change in changes] == [override.partition("=")[0]]
    refusals = (any(refused_changes(changes, new, progress_of(folder))) for folder in folders.values())
    return "".join("01"[not is_refused] for is_refused in refusals)


@pytest.mark.parametrize("override", TABLE)
def test_what_is_free_in_which_state(override: str, folders: dict[str, Path]) -> None:
    assert states_with(override, folders, Config()) == TABLE[override]


def test_a_start_is_refused_or_recorded(tmp_path: Path) -> None:
    folder = folder_in("train done", tmp_path / "run", Config())
    with pytest.raises(
        InputError, match=r"config\.json: train of this run was made with loss\.kl_coef = 0\.02, not 0\.5"
    ):
        claim_folder(with_overrides(Config(), "loss.kl_coef=0.5", "threads=3"), folder)
    assert json.loads((folder / "config.json").read_text()) == plain(Config())
    claim_folder(with_overrides(Config(), "threads=3", "eval.probes=false"), folder)
    assert json.loads((folder / "config.json").read_text()) == plain(
        with_overrides(Config(), "threads=3", "eval.probes=false")
    )


def test_another_rounding_of_what_goes_on_is_said(tmp_path: Path) -> None:
    folder = folder_in("train begun", tmp_path / "run", Config())
    said: list[str] = []
    claim_folder(with_overrides(Config(), "threads=3", "checkpoint.every=3"), folder, said.append)
    assert said == ["threads = 3, before 0: train goes on; its numbers may differ by rounding"]


USES = {  # settings that bind only where another one uses them: the other one, and the states as above
    "anchor.text=other.txt": ("anchor.sft=1.0", "1000000"),
    "tax.texts=3": ("tax.budget=0.1", "1110000"),
    "protection.texts=3": ("protection.train=ewc", "1110000"),
    "protection.strength=3.0": ("protection.sft=l2", "1000000"),
    "token_loss.kl_coef=0.5": ("token_loss.sft=asft", "1000000"),
    "eval.best_by=chrf": ("eval.every=2", "1110000"),
    "eval.max_new_tokens=7": ("eval.every=2", "1110000"),
    "train.num_steps=99": ("guide.mode=term", "1110000"),
    "sft.num_steps=99": ("sft.optim.schedule=constant", "1100000"),
}


@pytest.mark.parametrize("override", USES)
def test_what_binds_where_another_setting_uses_it(override: str, folders: dict[str, Path]) -> None:
    other, expected = USES[override]
    assert states_with(override, folders, with_overrides(Config(), other)) == expected


def test_every_setting_has_a_row() -> None:
    """A new section or a free setting must be thought about."""
    keys = flat(plain(Config()))
    without_row = [key for key in keys if key not in SHAPES and key.partition(".")[0] not in SHAPES]
    assert without_row == []
    assert all(attrgetter(name)(Config()) is not None for name in SHAPES)
    assert stages_of("of.another.version", Config()) == ("sft", "train", "eval")


def test_progress_of_a_folder(tmp_path: Path) -> None:
    progress = {state: progress_of(folder_in(state, tmp_path / state, Config())) for state in STATES}
    assert [sorted(one.begun_stages) for one in progress.values()] == [
        [], ["sft"], ["sft"], ["sft", "train"], ["sft", "train"], ["sft", "train"], ["eval", "sft", "train"],
    ]  # fmt: skip
    assert [sorted(one.open_stages) for one in progress.values()] == [
        [],
        ["sft"],
        [],
        ["train"],
        ["train"],
        [],
        [],
    ]


def test_what_was_measured_for_other_settings_is_measured_again(tmp_path: Path) -> None:
    """Past bug: reward.json of a start that was killed before its first checkpoint kept its threshold."""
    folder = folder_in("sft done", tmp_path / "run", Config())
    files = {
        "corpus.json": {"manifest": {"splits": {}}, "tokens": {"p50": 3}},
        "inputs.json": {"tax.text": {}, "reward.encoder": {}},
        "reward.json": {"threshold": 0.1},
        "tax.json": {"nll": 1.0},
    }
    for name, facts in files.items():
        (folder / name).write_text(json.dumps(facts))
    claim_folder(with_overrides(Config(), "threads=2"), folder)
    assert {name: json.loads((folder / name).read_text()) for name in files} == files
    claim_folder(with_overrides(Config(), "reward.encoder=bo"), folder)
    assert json.loads((folder / "corpus.json").read_text()) == {"manifest": {"splits": {}}}
    assert json.loads((folder / "inputs.json").read_text()) == {"tax.text": {}}
    assert not (folder / "reward.json").exists() and not (folder / "tax.json").exists()


@pytest.mark.parametrize(
    ("state", "override", "cure"),
    [
        ("train done", "train.num_steps=99", r"with model\.policy=.*/policy to train on from here"),
        ("sft begun", "sft.num_steps=99", r"only more steps at sft\.optim\.schedule = 'constant'"),
        ("evaluated", "eval.probes=false", r"or remove .*/eval to have this stage done again"),
    ],
)
def test_a_refusal_says_what_can_be_done(state: str, override: str, cure: str, tmp_path: Path) -> None:
    folder = folder_in(state, tmp_path / "run", Config())
    with pytest.raises(InputError, match=cure):
        claim_folder(with_overrides(Config(), override), folder)


Start = Callable[..., int]


@pytest.fixture
def start(command: Command) -> Start:
    """Runs data, sft and train in a folder of this test."""
    return lambda name, *settings: outcome(main, command(name, *settings))[0]


def test_more_steps_go_on_as_if_they_had_been_meant_from_the_start(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal after two of four steps, then six steps on other threads: the bits of six at once."""
    assert start("long", "train.num_steps=6") == 0
    with monkeypatch.context() as patch:
        patch.setattr(
            "grpo.stages.context.Run.is_stopping", lambda run: (run.folder / "checkpoints/train").exists()
        )
        assert start("grown", "train.num_steps=4") == 130
    assert start("grown", "train.num_steps=3") == 2
    assert start("grown", "train.num_steps=6", "train.optim.schedule=linear") == 2
    assert start("grown", "train.num_steps=6", "eval.batch_size=3", "checkpoint.every=1") == 0
    grown, long = (tmp_path / name / "run" for name in ("grown", "long"))
    assert_same_run(grown, long)
    assert start("grown", "train.num_steps=8") == 2  # finished: its moments are gone
