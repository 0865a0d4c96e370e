"""Whole runs of the tiny model with what acts against forgetting: what stays put, stopped and resumed bit for bit,
refused settings, two processes, and the bytes that are stored.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from run_object import config_of, run_of
from safetensors.torch import load_file
from tiny import tiny_gemma, tiny_gpt2
from tiny_hooks import save_and_stop_at
from tiny_run import Command, assert_same_run, general_text, metrics
from tiny_team import start_team
from torch import Tensor

from data.errors import InputError
from grpo.engine.packing import pack
from grpo.run import main
from grpo.shield import input_squares, linear_layers, make_shield
from grpo.stages.forgetting_setup import make_protection
from grpo.stages.memory_bill import ModelSizes, protection_bytes

TEXTS = ["The river rose in the night.", "The bridge was closed.", "今天早上下了一场大雨。", "And so on."]
STEPS = [
    "sft.optim.lr=1e-2", "sft.num_steps=5", "train.optim.lr=1e-2", "train.num_steps=4", "tax.texts=1",
    "train.optim.weight_decay=0.1", "sft.optim.weight_decay=0.1",
]  # fmt: skip
SHIELD_IN_GRPO = [
    "protection.sft=l2",
    "protection.train=shield",
    "protection.strength=20.0",
    "train.passes=2",
]
MANY_IN_SFT = [
    "train.method=sft", "protection.sft=shield", "protection.train=ewc", "protection.strength=20.0",
    "replay.sft=0.25", "replay.train=0.1", "token_loss.sft=asft", "token_loss.train=dft",
]  # fmt: skip
IN_SHARES = [
    "train.method=sft", "parallel.mode=fsdp", "replay.sft=0.25", "replay.train=0.1", "token_loss.sft=dft",
    "token_loss.train=asft",
]  # fmt: skip


@pytest.fixture
def command(command: Command, tmp_path: Path, own_cache: None) -> Command:
    text = general_text(tmp_path, TEXTS)
    return lambda name, *settings: command(name, text, *STEPS, *settings)


def still_columns(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """The share of the columns of each matrix of a layer that are bit-equal, by its name."""
    names = linear_layers(tiny_gemma())
    return {name: float((before[name] == after[name]).all(dim=0).double().mean()) for name in names}


@pytest.mark.parametrize("settings", [SHIELD_IN_GRPO, MANY_IN_SFT], ids=["grpo", "sft"])
def test_stopped_in_both_stages_a_run_ends_in_the_same_bits(
    settings: list[str], command: Command, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command("whole", *settings)) == 0
    save_and_stop_at(monkeypatch, ("sft", 2), ("train", 2))
    assert [main(command("parts", *settings)) != 0 for _ in range(3)] == [True, True, False]
    whole, parts = (tmp_path / name / "run" for name in ("whole", "parts"))
    assert_same_run(parts, whole)
    models = [load_file(folder / "model.safetensors") for folder in (tiny_folder, whole / "warm_start")]
    models.append(load_file(whole / "policy" / "model.safetensors"))
    stages = [still_columns(*pair) for pair in pairwise(models)]
    shield = stages[1] if settings is SHIELD_IN_GRPO else stages[0]
    assert set(shield.values()) == {0.5}
    assert all(share < 0.1 for share in stages[1 - stages.index(shield)].values())
    embedding = "model.embed_tokens.weight"
    assert all(not torch.equal(a[embedding], b[embedding]) for a, b in pairwise(models))
    rows = metrics(whole)
    assert all(("base_kl" in row) == (row["stage"] == "sft" and settings is MANY_IN_SFT) for row in rows)


@pytest.mark.slow
def test_a_pull_stays_nearer_and_replay_reads_more(
    command: Command, tmp_path: Path, tiny_folder: Path
) -> None:
    variants = {"free": [], "l2": ["protection.train=l2"], "ewc": ["protection.train=ewc"]}
    distances = {}
    for name, settings in variants.items():
        more = ["train.method=sft", "protection.strength=100.0", "replay.train=0.5"]
        assert main(command(name, *more, *settings)) == 0
        run = tmp_path / name / "run"
        start, end = (load_file(run / part / "model.safetensors") for part in ("warm_start", "policy"))
        distances[name] = sum(float((end[key] - start[key]).square().sum()) for key in start) ** 0.5
    assert distances["l2"] < distances["free"] / 2 and distances["ewc"] < distances["free"] * 0.9
    assert main(command("pairs", "train.method=sft")) == 0
    rows = [metrics(tmp_path / name / "run", "train") for name in ("free", "pairs")]
    assert all(own["tokens"] > alone["tokens"] for own, alone in zip(*rows, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SHIELD_IN_GRPO, MANY_IN_SFT, IN_SHARES], ids=["grpo", "sft", "shares"])
def test_two_processes_train_what_one_does(settings: list[str], command: Command, tmp_path: Path) -> None:
    small = ["sft.optim.lr=1e-3", "train.optim.lr=1e-3"]
    assert main(command("one", *settings, *small)) == 0
    ends = start_team(command("two", *settings, *small), 2).ends()
    assert [code for code, _ in ends] == [0, 0], ends
    policies = [load_file(tmp_path / name / "run/policy/model.safetensors") for name in ("one", "two")]
    for name, value in policies[0].items():
        torch.testing.assert_close(policies[1][name], value, rtol=1e-3, atol=1e-4)
    warm, policy = (
        load_file(tmp_path / f"two/run/{part}/model.safetensors") for part in ("warm_start", "policy")
    )
    still = set(still_columns(warm, policy).values())
    assert still == {0.5} if settings is SHIELD_IN_GRPO else max(still) < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["token_loss.train=dft"], "token_loss.train = 'dft' is a loss of SFT, and train.method = 'grpo'"),
        (["replay.train=0.1"], "write anchor.train instead"),
        (["replay.sft=0.95"], "replay.sft = 0.95: must be at most 0.9"),
        (["protection.train=ewc", "protection.strength=0"], "protection.strength = 0.0 changes nothing, and"),
        (["protection.sft=l2", "parallel.mode=fsdp"], "protection.sft = 'l2' needs whole parameters"),
        (["protection.train=ice"], "protection.train"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        config_of(tmp_path, settings)
    config_of(tmp_path, ["protection.train=shield", "protection.strength=0", "replay.sft=0.1"])


def test_a_model_without_a_matrix_to_shield_is_refused(
    tmp_path: Path, tiny_tokenizer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    run = run_of(tmp_path, ["protection.train=shield", f"anchor.text={tmp_path}/own.txt"])
    with pytest.raises(InputError, match=r"'shield': gpt2 has no linear layers"):
        make_protection(run, "train", tiny_gpt2(), tiny_tokenizer)  # type: ignore[arg-type]


def test_the_bill_counts_what_a_shield_stores() -> None:
    """But for indices of columns, and norms, which have none."""
    model = tiny_gemma()
    shield = make_shield(model, input_squares(model, [pack([[2]], [[40, 41]], 1)]))
    matrices = sum(layer.weight.numel() for layer in linear_layers(model).values())
    sizes = ModelSizes(matrices + 100, 100, 10, 3, 32, 64, 32, 8)
    assert protection_bytes(sizes, "shield") == sum(value.nbytes for value in shield.values.values())
    assert [protection_bytes(sizes, kind) for kind in ("none", "l2", "ewc")] == [
        0, 4 * (matrices + 100), 8 * (matrices + 100),
    ]  # fmt: skip
