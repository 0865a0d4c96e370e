"""Other prompts in the place of groups without spread: which groups are idle, what takes their place, and that a resumed
run and two processes draw the same.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks
from safetensors.torch import load_file, save_file
from tiny import byte_tokenizer, tiny_gemma
from tiny_session import EXAMPLES, TWO_PASSES, Rewards, Session, Texts, variety
from torch.nn.utils import parameters_to_vector

from data.prompt import Prompt
from data.stream import PromptStream
from grpo.config import Config, GuideConfig
from grpo.engine.sampler import generate
from grpo.records import Rollout
from grpo.redraw import REDRAW, batch_at, choose_groups, idle_groups
from grpo.runtime.parallel import SINGLE_PROCESS, World
from grpo.samples import Samples, sampling_of

CONFIG = replace(
    TWO_PASSES, rollout=replace(TWO_PASSES.rollout, redraws=3), train=replace(TWO_PASSES.train, num_steps=3)
)
PROMPTS = PromptStream(EXAMPLES, CONFIG.rollout.num_prompts, CONFIG.seed)
NAN = float("nan")


def variety_of_some(
    sources: Texts, completions: Texts, references: Sequence[Texts], group_size: int
) -> Rewards:
    """No spread for the sources with an even number."""
    values, terms = variety(sources, completions, references, group_size)
    flat = torch.tensor([int(source.split()[1]) % 2 == 0 for source in sources[::group_size]])
    return torch.where(flat[:, None], torch.full_like(values, 0.5), values), terms


def samples_of(
    rewards: list[list[float]], first: int = 0, text_rewards: list[float] | None = None
) -> Samples:
    """Groups of two; the tokens, lengths and texts of row n say n + first."""
    rows = [first + row for row in range(2 * len(rewards))]
    ids = torch.tensor(rows)
    prompts = tuple((first + p,) for p in range(len(rewards)))
    rollout = Rollout(prompts, ids[:, None], ids, ids % 2 == 0, ids[:, None].float(), 2)
    values = torch.tensor(rewards)
    texts = None if text_rewards is None else torch.tensor(text_rewards)[:, None]
    return Samples(rollout, [str(row) for row in rows], values, {"twice": 2 * values}, texts)


@pytest.mark.parametrize(
    ("guide", "texts", "idle"),
    [
        (GuideConfig(), None, [1, 2, 3]),
        (GuideConfig("term"), None, [1, 2, 3]),
        (GuideConfig("member"), [0.5, 0.5, 0.9, 0.5], [1]),  # 2 and 3 spread with their reference texts
        (GuideConfig("failed", threshold=0.3), None, [1]),  # the text alone counts where none reaches .3
        (GuideConfig("interleaved", every=2), None, []),  # step 1: texts alone
    ],
)
def test_which_groups_are_idle(guide: GuideConfig, texts: list[float] | None, idle: list[int]) -> None:
    rewards = [[0.1, 0.9], [0.5, 0.5], [0.2, 0.2005], [NAN, 0.2]]
    config = Config(guide=guide)  # the floor is .001
    assert idle_groups(config, samples_of(rewards, text_rewards=texts), step=1) == idle


def test_groups_are_chosen_with_all_that_is_said_of_them() -> None:
    first = samples_of([[0.0, 1.0], [2.0, 3.0]], text_rewards=[7.0, 8.0])
    second = samples_of([[4.0, 5.0]], first=10, text_rewards=[9.0])
    chosen = choose_groups(first, second, [2, 1])
    assert chosen.rollout.prompt_ids == ((10,), (1,)) and chosen.texts == ["10", "11", "2", "3"]
    assert chosen.rollout.lengths.tolist() == [10, 11, 2, 3]
    assert chosen.rollout.finished.tolist() == [True, False, True, False]
    assert chosen.rewards.tolist() == [[4.0, 5.0], [2.0, 3.0]]
    assert chosen.terms["twice"].tolist() == [[8.0, 10.0], [4.0, 6.0]]
    assert chosen.text_rewards is not None and chosen.text_rewards.tolist() == [[9.0], [8.0]]


def run(folder: Path, config: Config = CONFIG, world: World = SINGLE_PROCESS, **more: Any) -> Session:
    session = Session(config, folder, byte_tokenizer(), reward=variety_of_some, world=world, **more)
    session.run()
    return session


def has_spread(number: int) -> bool:
    return number % 2 == 1


def expected_tries(step: int) -> list[int]:
    """The first try whose example has an odd number; 0 where the first draw has, or none has."""
    tries = []
    for place, example in enumerate(PROMPTS.at(step)):
        found = [example, *(PROMPTS.replacement(step, attempt, place) for attempt in (1, 2, 3))]
        numbers = [int(one.source.split()[1]) for one in found]
        tries.append(next((n for n, number in enumerate(numbers) if has_spread(number)), 0))
    return tries


def test_a_run_draws_until_groups_spread_and_counts_what_it_took(tmp_path: Path) -> None:
    """By the numbers of the sources alone: which try helps each place, and how many groups all of them took."""
    states = []
    session = Session(
        CONFIG, tmp_path, byte_tokenizer(), reward=variety_of_some, between=lambda state: states.append(state)
    )
    session.run()
    for step, row in enumerate(session.metrics()):
        tries = expected_tries(step)
        first = [int(example.source.split()[1]) for example in PROMPTS.at(step)]
        idle = [not has_spread(number) for number in first]
        assert next(s for s in states if s.step == step and s.update).tensors["tries"].tolist() == tries
        redraws = sum(attempt or 3 for attempt, flag in zip(tries, idle, strict=True) if flag)
        assert (row["redrawn_groups"], row["replaced_groups"]) == (redraws, sum(map(bool, tries)))
        left = sum(flag and not attempt for attempt, flag in zip(tries, idle, strict=True))
        assert row["zero_std_share"] == left / 4
        assert row["sampled_tokens"] > row["tokens"]
    assert sum(row["replaced_groups"] for row in session.metrics()) >= 3


def test_what_a_try_draws_is_a_function_of_its_address(tmp_path: Path) -> None:
    """A replaced group of the first step, drawn again alone by the policy as it was."""
    states = []
    session = Session(
        CONFIG, tmp_path, byte_tokenizer(), reward=variety_of_some, between=lambda state: states.append(state)
    )
    session.run(stop_at=0, update=1)
    tensors = states[0].tensors
    place = next(n for n, attempt in enumerate(tensors["tries"].tolist()) if attempt)
    attempt = int(tensors["tries"][place])
    example = batch_at(PROMPTS, 0, tensors["tries"])[place]
    assert example == PROMPTS.replacement(0, attempt, place)
    prompt = Prompt.of(session.tokenizer)
    seed = (CONFIG.seed, 0, REDRAW, attempt)
    alone = generate(
        tiny_gemma(0), [prompt.encode_prompt(example)], sampling_of(CONFIG, prompt), seed, [place]
    )
    rows = slice(4 * place, 4 * place + 4)
    assert torch.equal(alone.completion_ids, tensors["completion_ids"][rows])
    assert torch.equal(alone.lengths, tensors["lengths"][rows])


@pytest.mark.parametrize(
    ("guide", "update"), [pytest.param("none", 0, marks=pytest.mark.slow), ("member", 2)]
)
def test_a_stopped_run_ends_bit_equal(guide: str, update: int, tmp_path: Path) -> None:
    config = replace(CONFIG, guide=GuideConfig(mode=guide))  # type: ignore[arg-type]
    whole = run(tmp_path / "whole", config)
    first = Session(config, tmp_path / "parts", byte_tokenizer(), reward=variety_of_some)
    first.run(stop_at=1, update=update)
    second = first.resumed()
    second.run()
    assert torch.equal(*(parameters_to_vector(one.policy.parameters()) for one in (second, whole)))
    assert second.metrics() == whole.metrics()
    rows = [(session.folder / "rollouts.jsonl").read_text() for session in (whole, second)]
    assert rows[0] == rows[1] and len({json.loads(line)["step"] for line in rows[0].splitlines()}) == 3


def run_in_data_mode(world: World, folder: Path) -> None:
    session = run(folder / str(world.rank), world=replace(world, mode="data"))
    save_file(
        {name: value.clone() for name, value in session.policy.state_dict().items()},
        folder / f"{world.rank}.safetensors",
    )


def test_two_processes_draw_what_one_draws(tmp_path: Path) -> None:
    alone = run(tmp_path / "alone")
    assert run_ranks(2, run_in_data_mode, tmp_path) == [0, 0]
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    for name, value in alone.policy.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - value).norm() < 1e-3 * value.norm(), name
    rows = [
        [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]
        for folder in ("alone", "0")
    ]
    for ours, theirs in zip(*rows, strict=True):
        for name in ("redrawn_groups", "replaced_groups", "sampled_tokens", "tokens", "zero_std_share"):
            assert ours[name] == theirs[name], name
