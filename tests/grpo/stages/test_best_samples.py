"""Which sample stands for its group, and the file of samples: whole steps, resumed, shared, refused when it
is another run's.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.errors import InputError
from data.examples import Example
from grpo.config import Config, RolloutConfig
from grpo.records import Rollout
from grpo.stages.best_samples import Sample, SampledStep, append, best_of_groups, header_of, steps_in
from reward.combine import RewardConfig

NAN = float("nan")
FIRST = Sample("a", (5, 1), 0.9, 0.25)
LAST = Sample("甲", (7,), 1.0, 0.5)
STEPS = [SampledStep(0, 0.5, (FIRST,)), SampledStep(1, 0.25, ()), SampledStep(2, 2.0, (LAST,))]
HEADER = {"model": "m", "seed": 0}


def rollout_of(finished: list[bool], group_size: int) -> Rollout:
    """Row n is the completion [10 + n, 1], or [10 + n, 20 + n] where it was cut off."""
    rows = len(finished)
    ids = torch.tensor([[10 + row, 1 if finished[row] else 20 + row, 0] for row in range(rows)])
    prompts = tuple((2, p) for p in range(rows // group_size))
    return Rollout(
        prompts, ids, torch.full((rows,), 2), torch.tensor(finished), torch.zeros(rows, 3), group_size
    )


@pytest.mark.parametrize(
    ("rewards", "cut", "empty", "best"),
    [
        ([0.1, 0.9, 0.5], [], [], 1),
        ([0.9, 0.1, 0.9], [], [], 0),  # the first of equals
        ([0.1, 0.9, 0.5], [1], [], 2),  # cut off by the length limit
        ([0.1, 0.9, 0.5], [], [1], 2),
        ([0.1, NAN, 0.5], [], [], 2),  # no reward
        ([0.5, 0.5, 0.5], [], [], None),  # nothing to tell them apart by
        ([0.5, 0.5005, 0.5], [], [], None),  # spreads 0.00024 < 0.001
        ([0.1, 0.9, 0.5], [0, 2], [1], None),
        ([NAN, NAN, 0.5], [], [], None),  # one alone spreads nothing
        ([NAN, NAN, NAN], [], [], None),
    ],
)
def test_the_best_that_may_be(
    rewards: list[float], cut: list[int], empty: list[int], best: int | None
) -> None:
    rollout = rollout_of([row not in cut for row in range(3)], 3)
    texts = ["" if row in empty else "x" for row in range(3)]
    chosen = best_of_groups(["p"], rollout, texts, torch.tensor([rewards]), 1e-3)
    assert [one.completion_ids for one in chosen] == ([] if best is None else [(10 + best, 1)])
    if best is not None:
        present = [reward for reward in rewards if reward == reward]
        assert (chosen[0].id, chosen[0].reward) == ("p", pytest.approx(rewards[best]))
        assert chosen[0].group_mean == pytest.approx(sum(present) / len(present))


def test_each_group_has_its_own_best_and_flat_ones_are_left_out() -> None:
    rewards = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.3, 0.1]])
    chosen = best_of_groups(["a", "b", "c"], rollout_of([True] * 6, 2), ["x"] * 6, rewards, 1e-3)
    assert [(one.id, one.completion_ids) for one in chosen] == [("a", (11, 1)), ("c", (14, 1))]


def write(path: Path) -> Path:
    steps_in(path, HEADER)
    for step in STEPS:
        append(path, step)
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert steps_in(tmp_path / "f", HEADER) == []
    assert steps_in(write(tmp_path / "f"), HEADER) == STEPS


def test_a_kill_anywhere_leaves_whole_steps_and_a_file_to_go_on_with(tmp_path: Path) -> None:
    """Cut after every byte: the whole steps before are there, and the others, appended again, give the same
    file.
    """
    path = write(tmp_path / "f")
    content = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        steps = steps_in(path, HEADER)
        assert steps == STEPS[: max(0, sum(end <= length for end in ends) - 1)]
        for step in STEPS[len(steps) :]:
            append(path, step)
        assert path.read_bytes() == content


def test_a_file_of_two_runs_is_made_ones_own_before_it_grows(tmp_path: Path) -> None:
    shared = write(tmp_path / "shared")
    os.link(shared, tmp_path / "own")
    assert steps_in(tmp_path / "own", HEADER) == STEPS
    append(tmp_path / "own", replace(STEPS[1], step=3))
    assert steps_in(shared, HEADER) == STEPS and len(steps_in(tmp_path / "own", HEADER)) == 4


def test_samples_drawn_otherwise_are_refused_with_the_first_difference(tmp_path: Path) -> None:
    examples = [Example("i", "s", "r", "o", "l", "bo", "zh")]
    own = header_of(Config(), "hash", examples)
    steps_in(tmp_path / "f", own)
    others = {
        "model": header_of(Config(), "another", examples),
        "prompts": header_of(Config(), "hash", [replace(examples[0], reference="another")]),
        "seed": header_of(replace(Config(), seed=3), "hash", examples),
        "rollout.temperature": header_of(
            replace(Config(), rollout=RolloutConfig(temperature=0.7)), "hash", examples
        ),
        "reward.weights": header_of(
            replace(Config(), reward=RewardConfig(weights={"chrf": 1.0})), "hash", examples
        ),
        "reward.control": header_of(
            replace(Config(), reward=RewardConfig(control="random")), "hash", examples
        ),
    }
    for name, other in others.items():
        with pytest.raises(
            InputError,
            match=rf"f: these samples were drawn with {name} = .*restore that value, or remove the file",
        ):
            steps_in(tmp_path / "f", other)
    assert steps_in(tmp_path / "f", own) == []


def test_samples_of_a_version_before_a_setting_of_the_optimiser_are_read(tmp_path: Path) -> None:
    examples = [Example("i", "s", "r", "o", "l", "bo", "zh")]
    config = replace(Config(), train=replace(Config().train, method="best_of_group", refresh_every=2))
    now = header_of(config, "hash", examples)
    old = {
        **now,
        "train.optim": {key: value for key, value in now["train.optim"].items() if key != "lower_lr_share"},
    }
    steps_in(tmp_path / "f", old)
    assert steps_in(tmp_path / "f", now) == []
    other = {**now, "train.optim": now["train.optim"] | {"lower_lr_share": 0.5}}
    with pytest.raises(InputError, match=r"drawn with train\.optim = "):
        steps_in(tmp_path / "f", other)


def step_line(**chosen: object) -> str:
    return json.dumps(
        {"step": 0, "seconds": 1.0, "chosen": [{"id": "a", "reward": 1, "group_mean": 1, **chosen}]}
    )


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("{}", r"f:2: not a step of samples \('chosen'\)"),
        ("[1]", r"f:2: must hold a JSON object"),
        ("nonsense", r"f:2: not a readable JSON file"),
        (
            json.dumps({"step": 1, "seconds": 1.0, "chosen": []}),
            r"f:2: step 0 with its completions belongs here",
        ),
        (json.dumps({"step": 0, "seconds": 1.0, "chosen": 3}), r"f:2: not a step"),
        (step_line(completion_ids=["x"]), r"f:2: not a step of samples"),
        (step_line(completion_ids=[]), r"f:2: step 0 with its completions"),
    ],
)
def test_a_damaged_line_is_named(line: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(json.dumps(HEADER) + f"\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=cause):
        steps_in(tmp_path / "f", HEADER)
