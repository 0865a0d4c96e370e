"""Each alarm on rows that call for it and on healthy ones; when it is said, and what stays of it."""

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_run import arguments, write_corpus

from eval.alarms import RULES, all_alarms, current_alarms, is_look, of_reward
from grpo.run import main

HEALTHY = {
    "reward_mean": 0.2, "reward_std": 0.1, "missing_reward_share": 0.0, "script_mean": 0.9, "cosine_mean": 0.25, "length_fit_mean": 0.8,
    "unrepeated_mean": 1.0, "uncopied_mean": 1.0, "cosine_held_out_mean": 0.3, "chrf_mean": 0.1, "kl_mean": 0.02, "entropy_mean": 2.0,
    "length_mean": 8.0, "cut_share": 0.05, "zero_std_share": 0.1, "distinct_share": 0.9, "commonest_share": 0.03, "skipped_updates": 0.0,
}  # fmt: skip


def rows(steps: int, seed: int = 0, **ends: float) -> list[dict[str, Any]]:
    """Noisy healthy steps, in which the named metrics go in a line from what they are to the given values."""
    draw = random.Random(seed)
    made = []
    for step in range(steps):
        row = {name: value * draw.uniform(0.9, 1.1) for name, value in HEALTHY.items()}
        row |= {
            name: HEALTHY[name] + (end - HEALTHY[name]) * step / max(1, steps - 1)
            for name, end in ends.items()
        }
        made.append({"stage": "train", "step": step, **row})
    return made


def constant(steps: int, **metrics: float) -> list[dict[str, Any]]:
    return [row | metrics for row in rows(steps)]


def losses(values: list[float], stage: str = "sft") -> list[dict[str, Any]]:
    return [
        {"stage": stage, "step": step, "loss": loss, "skipped_updates": 0.0}
        for step, loss in enumerate(values)
    ]


@pytest.mark.parametrize("steps", [1, 3, 10, 40, 200])
def test_a_healthy_run_rings_nothing(steps: int) -> None:
    for seed in range(20):
        assert (
            all_alarms(
                rows(
                    steps,
                    seed,
                    reward_mean=0.5,
                    kl_mean=0.4,
                    entropy_mean=0.8,
                    cosine_held_out_mean=0.5,
                    chrf_mean=0.2,
                )
            )
            == []
        )
        draw = random.Random(seed)
        assert (
            all_alarms(
                losses([2 * math.exp(-step / 30) + 1 + draw.uniform(-0.2, 0.2) for step in range(steps)])
            )
            == []
        )
        # has little left to learn
        assert all_alarms(losses([1 + draw.uniform(-0.2, 0.2) for _ in range(steps)], "train")) == []


@pytest.mark.parametrize("steps", [1, 3, 25])
def test_groups_without_spread_are_said_from_the_first_step_with_their_cause(steps: int) -> None:
    flat = {"zero_std_share": 1.0, "reward_mean": 0.0, "reward_std": 0.0}
    place = {1: "step 1", 3: "steps 1 to 3", 25: "steps 16 to 25"}[steps]
    sentence = (
        f"nothing is learned: in every group of {place} all rewards are equal; "
        "they are 0: script is 0 (hardly a completion is in the target script)"
    )
    assert current_alarms(constant(steps, **flat, script_mean=0.0)) == {"no_spread": sentence}


@pytest.mark.parametrize(
    ("metrics", "cause"),
    [
        (
            {"reward_mean": 0.0, "cosine_mean": 0.0},
            "they are 0: cosine is 0 (hardly a completion is nearer its reference text than",
        ),
        ({"reward_mean": 0.0, "length_fit_mean": 0.01}, "they are 0: length_fit is 0.01 (hardly a completion is as long as"),
        ({"reward_mean": 0.0, "length_mean": 1.0, "script_mean": 0.0}, "they are 0: the completions are empty"),
        ({"reward_mean": 0.0, "my.py:style_mean": 0.0}, "they are 0: my.py:style is 0 (a term of your own)"),
        ({"reward_mean": 0.0}, "they are 0: no term is 0 alone"),
        ({"reward_mean": 0.4, "distinct_share": 0.25}, "their completions hardly differ: raise rollout.temperature"),
        ({"reward_mean": 0.4, "reward_std": 0.0}, "the reward pays all completions of a prompt the same"),
        ({"reward_mean": 0.4, "reward_std": 1e-6}, "they spread no more than the floor advantage.std_floor"),
    ],
)  # fmt: skip
def test_the_cause_of_equal_rewards_is_named(metrics: dict[str, float], cause: str) -> None:
    assert (
        f"all rewards are equal; {cause}"
        in current_alarms(constant(12, zero_std_share=1.0, **metrics))["no_spread"]
    )


def test_one_group_that_spreads_silences_the_rule() -> None:
    flat = constant(12, zero_std_share=1.0)
    flat[-1]["zero_std_share"] = 0.9375
    assert "no_spread" not in current_alarms(flat)


def test_a_window_in_which_hardly_a_group_spreads_is_named_with_its_share_and_cause() -> None:
    """9 rows without spread and one with a group of 4 of 16 that spreads: 97.5 %; below a whole window, and at 90 %,
    nothing is said.
    """
    made = constant(10, zero_std_share=1.0, reward_mean=0.0, script_mean=0.02)
    made[4] |= {"zero_std_share": 0.75, "reward_mean": 0.002}
    assert current_alarms(made) == {
        "little_spread": "hardly anything is learned: in 97.5% of the groups of steps 1 to 10 all rewards are equal; "
        "they are nearly 0: script is 0.02 (hardly a completion is in the target script)"
    }
    assert current_alarms(made[:9]) == {}
    assert current_alarms(constant(10, zero_std_share=0.9, reward_mean=0.4)) == {}


@pytest.mark.parametrize(
    ("rule", "made", "words"),
    [
        ("cut", constant(1, cut_share=0.75), "75% of the completions of step 1 were cut at rollout.max_new_tokens"),
        ("cut", rows(40, cut_share=1.0), "of the completions of steps 31 to 40 were cut"),
        ("same_text", constant(30, commonest_share=0.9), "90% of the completions of steps 21 to 30 are one and the same text"),
        ("missing", constant(3, missing_reward_share=0.6), "60% of the completions of steps 1 to 3 have no reward"),
        ("far", rows(40, kl_mean=4.5), "the policy is 4.0 nats per token from the warm start"),
        ("certain", constant(10) + constant(30, entropy_mean=0.001), "the entropy is 0.001 nats per token and the reward no higher"),
        ("fallen", constant(20) + constant(20, reward_mean=0.01), "the reward fell from 0.20"),
        ("skipped", rows(40, skipped_updates=4.0), "1 updates in steps 31 to 40 were skipped"),
        ("loss_rises", losses([1.0, math.nan, 1.0]), "the loss is not a finite number in some of steps 1 to 3"),
        ("loss_rises", losses([1 + 0.1 * step for step in range(30)]), "the loss rose from 1.450 to 3.450"),
        ("loss_stays", losses([1 + 0.1 * (step % 3) for step in range(60)]), "the loss does not fall (1.090 at the start, 1.110 now)"),
    ],
)  # fmt: skip
def test_each_rule_rings_for_what_it_is_made_for(rule: str, made: list[dict[str, Any]], words: str) -> None:
    for number, row in enumerate(made):
        row["step"] = number
    assert words in current_alarms(made).get(rule, ""), current_alarms(made)


def test_noise_and_single_steps_ring_nothing() -> None:
    """One token's k3 of 200 nats, one step all cut, one without a reward; an entropy near 0 with a better
    reward is success.
    """
    odd = rows(40)
    odd[35] |= {
        "kl_mean": 200.0,
        "cut_share": 1.0,
        "missing_reward_share": 1.0,
        "commonest_share": 1.0,
        "zero_std_share": 1.0,
    }
    assert all_alarms(odd) == []
    assert "certain" not in current_alarms(constant(10) + constant(30, entropy_mean=0.001, reward_mean=0.9))


def test_rows_of_an_older_log_ring_nothing() -> None:
    assert all_alarms([{"stage": "train", "step": step, "reward_mean": 0.1} for step in range(30)]) == []
    assert current_alarms([]) == {} and all_alarms([]) == []


def test_looks_are_early_then_every_window_and_at_the_end() -> None:
    assert [count for count in range(1, 26) if is_look(count, 25)] == [1, 3, 10, 20, 25]


def test_what_rang_is_kept_from_first_to_last_look() -> None:
    early = constant(30)
    for row in early[:3]:
        row |= {"cut_share": 1.0}
    for step, row in enumerate(early):
        row |= {"step": step, "kl_mean": 9.0 if step > 15 else 0.0}
    found = all_alarms(early)
    assert [(one.rule, one.first, one.last, one.over) for one in found] == [
        ("cut", 1, 3, True),
        ("far", 30, 30, False),
    ]
    assert found[0].line().startswith("ALARM steps 1 to 3: 100% of the completions of steps 1 to 3 were cut")
    assert found[0].line().endswith("; no longer so at the end") and found[1].line().startswith(
        "ALARM step 30: the policy is 9.0"
    )


def test_no_rule_is_missing() -> None:
    assert len(RULES) == 12


@pytest.fixture
def run(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a run whose reward is always 0: a gate that no completion passes."""
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "cache"))
    gate = tmp_path / "gate.py"
    gate.write_text(
        "def shut(sources, completions, references):\n    return [0.0] * len(completions)\n", encoding="utf-8"
    )
    more = [
        f'reward.gates=["{gate}:shut"]',
        f"reward.encoder=static:{tiny_folder}",
        "threads=1",
        "reward.threshold=0.0",
    ]
    return arguments(write_corpus(tmp_path / "pairs.tsv"), tiny_folder, tmp_path / "run", *more)


def test_a_run_that_learns_nothing_says_so_at_once_at_the_end_and_in_its_report(
    run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*run, "train.num_steps=11"]) == 0
    said = [
        line
        for line in capsys.readouterr().out.splitlines()
        if "no_spread" in line or ": nothing is learned" in line
    ]
    assert [line.split(":")[0] for line in said[:2]] == ["ALARM step 1", "ALARMS in this stage"]
    assert f"all rewards are equal; they are 0: {tmp_path}/gate.py:shut is 0" in said[0]
    assert "no_spread (steps 1 to 11)" in said[1]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    markdown = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    found = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))["alarms"]
    line = "GRPO, ALARM steps 1 to 11: nothing is learned: in every group of steps 2 to 11"
    assert '<ul class="alarms"><li>' in page and line in page and line in markdown
    assert any(alarm.startswith(line) for alarm in found)


def test_a_new_start_says_again_what_still_is_wrong(
    run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*run, "train.num_steps=6", "--stages", "data,sft,train"]
    assert main(argv) == 0
    whole = capsys.readouterr().out
    shutil.rmtree(tmp_path / "run" / "policy")
    assert main(argv) == 0
    again = capsys.readouterr().out
    for printed in (whole, again):
        assert printed.count(": nothing is learned") == 1 and printed.count("ALARMS in this stage:") == 1


def test_a_term_that_is_only_shown_is_no_cause() -> None:
    """Past bug: with a reward of chrF alone the alarm blamed the script, which was no gate."""
    row = {
        "step": 0,
        "reward_mean": 0.0,
        "script_mean": 0.0,
        "cosine_mean": 0.0,
        "zero_std_share": 1.0,
        "length_mean": 5.0,
    }
    (kept,) = of_reward([row], {"weights": {"chrf": 1.0, "cosine": 0.0}, "gates": []})
    assert kept == {"step": 0, "reward_mean": 0.0, "zero_std_share": 1.0, "length_mean": 5.0}
    assert of_reward([row], {"weights": {"cosine": 1.0}, "gates": ["script"]}) == [row]
    assert of_reward([row], {})[0].keys() == kept.keys()
