"""Imitation as the yardstick of GRPO: the same prompts, the gradient of plain NLL, the warm start's own best
samples, any restart.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from run_object import run_in
from tiny_hooks import stop_after
from tiny_run import Command, assert_same_run, metrics, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.errors import InputError
from data.prompt import Prompt
from grpo import config
from grpo.loop import train_grpo
from grpo.optim import Optimizer
from grpo.run import main
from grpo.runtime.parallel import World
from grpo.sft import train_sft
from grpo.stages import imitation as imitate
from grpo.stages import prepare, reinforcement, warm_start
from grpo.stages import train as stages

pytestmark = pytest.mark.usefixtures("own_cache")
SFT = "train.method=sft"
SELF_SFT = "train.method=best_of_group"
# of random bytes few end before
SAMPLING = ["rollout.max_new_tokens=64", "rollout.group_size=6", "checkpoint.every=1"]


@pytest.fixture
def command(command: Command) -> Command:
    return lambda name, *more: command(name, *SAMPLING, *more)


def lines(run: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (run / "best_of_group.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_every_method_has_a_stage() -> None:
    assert tuple(stages.METHODS) == get_args(config.Method)


def test_strong_sft_sees_the_prompts_of_grpo_with_their_references(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step into the third epoch."""
    streams: dict[str, Any] = {}

    def grpo(*inputs: Any) -> Any:
        streams["grpo"] = inputs[2].prompts
        return train_grpo(*inputs)

    def sft(*inputs: Any) -> Any:
        streams["sft"] = inputs[2]
        return train_sft(*inputs)

    monkeypatch.setattr(reinforcement, "train_grpo", grpo)
    monkeypatch.setattr(imitate, "train_sft", sft)
    assert main(command("a", "train.num_steps=1")) == 0 and main(command("b", SFT, "train.num_steps=1")) == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a" / "run" / "policy")
    steps = len(streams["grpo"].examples) * 3 // 2
    assert steps > 100
    for step in range(steps):
        pairs = [
            (Prompt.of(tokenizer).encode_prompt(e), Prompt.of(tokenizer).encode_completion(e.reference))
            for e in streams["grpo"].at(step)
        ]
        assert list(streams["sft"].at(step)) == pairs


def test_an_update_of_strong_sft_has_the_gradient_of_plain_nll(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against transformers' own forward pass, a sequence at a time: mean over all completion tokens of the
    step.
    """
    batches = []
    gradients = []

    def sft(*inputs: Any) -> Any:
        batches.append(inputs[2].at(0))
        return train_sft(*inputs)

    def step(self: Optimizer) -> dict[str, float]:
        gradients.append([p.grad.clone() for p in self.parameters if p.grad is not None])
        return real(self)

    real = Optimizer.step
    assert main([*command("a", SFT), "--stages", "data,sft"]) == 0
    monkeypatch.setattr(imitate, "train_sft", sft)
    monkeypatch.setattr(Optimizer, "step", step)
    assert main([*command("a", SFT), "--stages", "train"]) == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a" / "run" / "warm_start").eval()
    count = sum(len(completion) for _, completion in batches[0])
    for prompt, completion in batches[0]:
        logps = model(torch.tensor([[*prompt, *completion]])).logits[0].log_softmax(dim=1)
        positions = torch.arange(len(prompt) - 1, len(prompt) + len(completion) - 1)
        (-logps[positions, torch.tensor(completion)].sum() / count).backward()
    golden = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(golden) == len(gradients[0]) and sum(float(g.square().sum()) for g in golden) > 1e-4
    for own, plain in zip(gradients[0], golden, strict=True):
        torch.testing.assert_close(own, plain, rtol=1e-4, atol=1e-6)
    first = metrics(tmp_path / "a" / "run", "train")[0]
    assert first["tokens"] == sum(len(prompt) + len(completion) - 1 for prompt, completion in batches[0])


def test_long_references_are_left_whole_and_counted(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """4 Han characters and the end token are 13 tokens of bytes."""
    assert main(command("a", SFT, "rollout.max_new_tokens=12", "train.num_steps=1")) == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("SFT on"))
    count = said.split()[2]
    assert (
        said
        == f"SFT on {count} references, whole: {count} of them have more than rollout.max_new_tokens = 12 tokens"
    )


def test_what_is_imitated_is_the_best_of_what_grpo_samples_first(command: Command, tmp_path: Path) -> None:
    """Step 0 of both begins from the warm start with the same draws: the best finished sample of
    rollouts.jsonl's group is chosen.
    """
    many = ["rollout.num_prompts=8", "train.num_steps=1", "seed=1"]
    assert main(command("a", *many)) == 0 and main(command("b", SELF_SFT, *many)) == 0
    group = json.loads(
        (tmp_path / "a" / "run" / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()[0]
    )
    header, step = lines(tmp_path / "b" / "run")
    assert (header["rollout.num_prompts"], header["seed"], step["step"]) == (8, 1, 0) and 0 < len(
        step["chosen"]
    ) <= 8
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "b" / "run" / "policy")
    sampled = {row["completion"]: row["reward"] for row in group["group"]}
    own = [one for one in step["chosen"] if one["id"] == group["id"]]
    assert own, "the first prompt has no finished sample; choose another seed"
    assert sampled[Prompt.of(tokenizer).decode_completion(own[0]["completion_ids"])] == pytest.approx(
        own[0]["reward"], abs=1e-4
    )
    assert own[0]["group_mean"] == pytest.approx(sum(row["reward"] for row in group["group"]) / 6, abs=1e-4)
    row = metrics(tmp_path / "b" / "run", "train")[0]
    assert row["tokens"] > 0 and row["grad_norm"] > 0


def test_sampling_goes_on_where_it_stopped_and_ends_the_same(command: Command, tmp_path: Path) -> None:
    """Two whole steps and half a line survive a kill; they are not drawn again, and file and policy end
    equal.
    """
    assert main(command("a", SELF_SFT)) == 0
    whole = tmp_path / "a" / "run"
    part = tmp_path / "b" / "run"
    assert main([*command("b", SELF_SFT), "--stages", "data,sft"]) == 0
    kept = (whole / "best_of_group.jsonl").read_bytes().splitlines(keepends=True)
    (part / "best_of_group.jsonl").write_bytes(b"".join(kept[:3]) + kept[3][:30])
    assert main([*command("b", SELF_SFT), "--stages", "train"]) == 0
    assert (part / "best_of_group.jsonl").read_bytes().startswith(b"".join(kept[:3]))
    assert [(row.get("step"), row.get("chosen")) for row in lines(part)] == [
        (row.get("step"), row.get("chosen")) for row in lines(whole)
    ]
    assert_same_run(part, whole)


def test_a_whole_file_of_another_arm_is_used_as_it_is(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another learning rate, the same samples: nothing is drawn, no encoder is loaded."""
    assert (
        main(command("a", SELF_SFT)) == 0
        and main([*command("b", SELF_SFT, "train.optim.lr=2e-3"), "--stages", "data,sft"]) == 0
    )
    whole = tmp_path / "a" / "run"
    other = tmp_path / "b" / "run"
    (other / "best_of_group.jsonl").hardlink_to(whole / "best_of_group.jsonl")
    monkeypatch.setattr(imitate, "load_rewards", lambda *_: pytest.fail("a reward was made"))
    assert main([*command("b", SELF_SFT, "train.optim.lr=2e-3"), "--stages", "train"]) == 0
    assert lines(other) == lines(whole) and weights(other) != weights(whole)


def test_samples_of_another_run_are_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(command("a", SELF_SFT)) == 0
        and main([*command("b", SELF_SFT, "rollout.temperature=0.9"), "--stages", "data,sft"]) == 0
    )
    foreign = tmp_path / "b" / "run" / "best_of_group.jsonl"
    foreign.write_bytes((tmp_path / "a" / "run" / "best_of_group.jsonl").read_bytes())
    assert main([*command("b", SELF_SFT, "rollout.temperature=0.9"), "--stages", "train"]) == 2
    assert (
        f"error: {foreign}: these samples were drawn with rollout.temperature = 1.0, not 0.9"
        in capsys.readouterr().err
    )


def test_nothing_to_imitate_is_said(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """One token is never a finished text."""
    assert main(command("a", SELF_SFT, "rollout.max_new_tokens=1")) == 2
    assert (
        "of 8 prompts none has a sample to imitate: either all are cut at rollout.max_new_tokens = "
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("method", [SFT, SELF_SFT])
def test_a_stopped_run_ends_bit_equal(
    method: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the dev set looked at on the way: its rows, too, are those of a run that was not stopped."""
    more = [method, "eval.every=2", "train.optim.schedule=linear"]
    assert main(command("whole", *more)) == 0
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert main(command("parts", *more)) != 0
    assert main(command("parts", *more)) == 0
    assert "resuming train at step 3" in capsys.readouterr().out
    whole = tmp_path / "whole" / "run"
    parts = tmp_path / "parts" / "run"
    assert weights(parts) == weights(whole) != (whole / "warm_start" / "model.safetensors").read_bytes()
    assert metrics(parts) == metrics(whole)
    steps = {
        name: [row["step"] for row in metrics(whole) if row["stage"] == name]
        for name in ("train", "train_dev")
    }
    assert steps == {"train": [0, 1, 2, 3], "train_dev": [1, 3]}
    assert not (parts / "checkpoints" / "train").exists()


def test_a_warm_start_on_the_first_pairs_only(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    streams = []

    def sft(*inputs: Any) -> Any:
        streams.append(list(inputs[2].examples))
        return train_sft(*inputs)

    monkeypatch.setattr(warm_start, "train_sft", sft)
    for number in (0, 5, 10**6):
        assert main([*command(str(number), f"sft.max_pairs={number}"), "--stages", "data,sft"]) == 0
    assert len(streams[0]) > 5 and streams[1] == streams[0][:5] and streams[2] == streams[0]
    assert capsys.readouterr().out.count("only the first 5 of them are used") == 1


def test_a_warm_start_on_all_pairs(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """With sft.pairs=all it learns from every training pair, also where no part of the corpus is its own; GRPO's
    prompts stay those of the part train.
    """
    streams = []

    def sft(*inputs: Any) -> Any:
        streams.append(Counter(map(str, inputs[2].examples)))
        return train_sft(*inputs)

    monkeypatch.setattr(warm_start, "train_sft", sft)
    only = ["--stages", "data,sft"]
    assert main([*command("own"), *only]) == 0
    assert main([*command("all", "sft.pairs=all"), *only]) == 0
    assert main([*command("none", "sft.pairs=all", "data.warm_start_share=0.0"), *only]) == 0
    own, every, none = streams
    assert own < every == none


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["data.warm_start_share=0.0"],
            "data.warm_start_share = 0.0 leaves no pairs for sft.num_steps = 3; write sft.pairs='all'",
        ),
        ([SFT, "train.passes=2"], "train.method = 'sft' makes one update of each step; write train.passes=1"),
        (
            [SELF_SFT, "train.prompts_per_update=1"],
            "train.method = 'best_of_group' makes one update of each step",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    more: list[str], message: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("a", *more)) == 2
    assert message in capsys.readouterr().err


def test_samples_are_drawn_in_one_process(tmp_path: Path) -> None:
    own = config.Config(train=config.TrainConfig(method="best_of_group"))
    with pytest.raises(InputError, match="runs in 1 process, not in 2; start it without torchrun"):
        prepare.check_world(run_in(tmp_path, own, world=World(0, 2)))
    prepare.check_world(run_in(tmp_path, own))
