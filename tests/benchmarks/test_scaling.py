"""The model of many processes against the sharing that the loops do, and where it must be exact."""

import math

import pytest
import torch

from benchmarks.scaling import Step, imbalance, largest_normal, lines, main, seconds, sent_bytes
from grpo.runtime.parallel import World

STEP = Step(rollout=5.0, update=2.0, parameters=4e9, rows=64, spread=0.5)


def test_the_largest_of_two_normal_numbers_is_known() -> None:
    assert largest_normal(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_imbalance_is_that_of_the_prompts_that_processes_get(size: int) -> None:
    """8 prompts of 8 completions for each process, of 1 to 64 tokens; the mean of 400 steps within 1 %."""
    rows = 64
    lengths = torch.randint(1, 65, (400, size * rows), generator=torch.Generator().manual_seed(0)).double()
    tokens = torch.stack(
        [lengths[:, World(rank, size).share(size * rows)].sum(dim=1) for rank in range(size)], dim=1
    )
    counted = (tokens.max(dim=1).values / tokens.mean(dim=1)).mean().item()
    spread = (lengths.std() / lengths.mean()).item()
    assert counted == pytest.approx(imbalance(size, rows, spread), rel=0.01)
    assert size == 1 or counted > 1.03


def test_one_process_sends_nothing_and_takes_its_own_time() -> None:
    assert sent_bytes(4e9, 1) == 0
    assert seconds(STEP, 1, bandwidth=1.0) == pytest.approx(7.0)


def test_a_step_by_hand() -> None:
    """Two processes: half of the gradient out and half of the sums out, and 3.5 % more tokens in one of them."""
    assert sent_bytes(4e9, 2) == 16e9
    more = 0.5 / 8 / math.sqrt(math.pi)
    assert seconds(STEP, 2, bandwidth=32e9) == pytest.approx(5 + 2 * (1 + more) + 0.5, rel=1e-5)


def test_the_table_has_a_line_for_each_size(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"rollout": 5, "update": 2, "parameters": 4e9, "rows": 64, "spread": 0.5, "bandwidth": 32e9}
    main([f"--{name}={value}" for name, value in options.items()])
    printed = capsys.readouterr().out.splitlines()
    assert printed == lines(STEP, 32e9) and len(printed) == 8
    assert printed[1].split() == ["1", "7.00", "0.00", "1.000", "1.0"]
