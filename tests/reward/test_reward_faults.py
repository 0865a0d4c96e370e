"""What a term may answer, and the sentence that is said when it or its encoder fails. In whole runs:
grpo/test_reward_fault_runs.py.
"""

import math
import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from plain_vectors import counts
from torch import Tensor

from data.errors import InputError
from reward.combine import RewardConfig, combine, make_reward
from reward.embedding import EmbeddingStore
from reward.faults import NamedEncoder, RewardFailure

TEXTS = ["一", "二", "三"]


def reward_of(answer: Callable[..., Any], weight: float = 1.0, gates: tuple[str, ...] = ()) -> Tensor:
    """Rewards (1, 3) of TEXTS by one term."""
    return combine({"t": answer}, {"t": weight}, gates)(["s"] * 3, TEXTS, [["r"]] * 3, 3)[0]


@pytest.mark.parametrize(
    "answer",
    [
        [0.5, None, 1],
        (0.5, math.inf, True),
        torch.tensor([0.5, math.nan, 1.0], dtype=torch.float64),
        np.array([0.5, -np.inf, 1.0]),
        [torch.tensor(0.5), None, np.float32(1)],
        [Fraction(1, 2), 1e300, 1.0],
        torch.tensor([0.5, math.nan, 1.0], requires_grad=True),
    ],
)
def test_a_term_may_answer_with_a_tensor_an_array_or_a_list_with_gaps(answer: Any) -> None:
    rewards = reward_of(lambda *lists: answer)
    torch.testing.assert_close(rewards, torch.tensor([[0.5, math.nan, 1.0]]), equal_nan=True)
    assert rewards.dtype == torch.float32 and not rewards.requires_grad


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            torch.zeros(1),
            r"reward term 't' returned shape \(1,\); return one number, or None, for each of the 3 completions; correct",
        ),
        ([0.0, 1.0], r"returned shape \(2,\); return"),
        (torch.zeros(3, 1), r"returned shape \(3, 1\); return"),
        (None, "returned a NoneType; return"),
        ("abc", "returned a str; return"),
        ({0: 1.0}, "returned a dict; return"),
        (torch.zeros(3, dtype=torch.complex64), "returned a torch.complex64; return"),
        (
            [0.0, "high", 1.0],
            "reward term 't' is str 'high' in row 1, completion '二'; return a number, or None",
        ),
        (np.zeros((3, 2)), r"is list '\[0.0, 0.0\]' in row 0, completion '一'"),
        ([0.0, 10**400, 0.0], r"raised OverflowError: int too large to convert to float \("),
    ],
)
def test_an_answer_that_is_no_row_of_numbers_is_refused(answer: Any, message: str) -> None:
    with pytest.raises(RewardFailure, match=message) as caught:
        reward_of(lambda *lists: answer)
    assert "\n" not in str(caught.value)


def test_a_term_that_changes_its_lists_or_its_answer_changes_nothing_for_others() -> None:
    answer = torch.tensor([1.0, 2.0, 3.0])

    def careless(sources: list, completions: list, references: list) -> Tensor:
        for texts in (sources, completions, references):
            texts.clear()
        return answer

    terms = {
        "careless": careless,
        "length": lambda sources, completions, references: [len(text) for text in completions],
    }
    texts = list(TEXTS)
    rewards, values = combine(terms, {"careless": 1.0, "length": 1.0})(["s"] * 3, texts, [["r"]] * 3, 3)
    answer.zero_()
    assert (
        rewards.tolist() == [[2.0, 3.0, 4.0]]
        and values["careless"].tolist() == [[1.0, 2.0, 3.0]]
        and texts == TEXTS
    )


def test_a_batch_without_any_reward_names_each_term_that_has_a_part_in_it() -> None:
    terms = {"a": lambda *_: [None, None, 1.0], "b": lambda *_: [1.0, None, None], "c": lambda *_: [1.0] * 3}
    with pytest.raises(RewardFailure) as caught:
        combine(terms, {"a": 1.0, "c": 1.0}, ("b",))(["s"] * 3, TEXTS, [["r"]] * 3, 3)
    assert str(caught.value) == (
        "no completion has a reward: reward term 'a' gave no number for 2 of 3 completions, the first '一' and "
        "reward term 'b' gave no number for 2 of 3 completions, the first '二'; correct it and run the same command"
    )
    rewards = combine({**terms, "d": lambda *_: [None] * 3}, {"c": 1.0, "d": 0.0})(
        ["s"] * 3, TEXTS, [["r"]] * 3, 3
    )[0]
    assert rewards.tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit("no licence"), "reward term 't' raised SystemExit: no licence ("),
        (SystemExit(0), "reward term 't' raised SystemExit: 0 ("),
        (GeneratorExit(), "reward term 't' raised GeneratorExit ("),
    ],
)
def test_a_term_or_an_encoder_that_ends_the_program_is_named(error: BaseException, message: str) -> None:
    """Past bug: sys.exit() in a term ended a run with exit code 0 and no word."""

    def leave(*lists: Any) -> Any:
        raise error

    with pytest.raises(RewardFailure, match=re.escape(message)):
        reward_of(leave)
    encoder: Any = SimpleNamespace(dim=1, fingerprint="x", encode=leave)
    with pytest.raises(RewardFailure, match=re.escape(message.replace("reward term", "encoder"))):
        NamedEncoder("t", encoder).encode(TEXTS)


def test_settings_of_the_process_are_as_before_a_term(tmp_path: Path) -> None:
    """Past bug: torch.set_grad_enabled(False) in a term ended a run in a traceback, and after os.chdir its files
    went elsewhere.
    """

    def careless(*lists: Any) -> list[float]:
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(threads + 1)
        torch.set_default_device("meta")
        os.chdir(tmp_path)
        return [1.0] * 3

    threads = torch.get_num_threads()
    folder = Path.cwd()
    assert folder != tmp_path
    assert reward_of(careless).tolist() == [[1.0] * 3]
    assert torch.is_grad_enabled() and torch.zeros(1).dtype == torch.float32
    assert torch.zeros(1).device.type == "cpu" and torch.get_num_threads() == threads
    assert Path.cwd() == folder


def test_an_own_term_that_raises_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The innermost line of the user's file, not of the library it called; one sentence, whatever the
    exception says.
    """
    (tmp_path / "mine.py").write_text(
        "import json\ndef f(a, b, c):\n    return g(b)\ndef g(b):\n    return json.loads('\\n' + b[0])\n"
    )
    monkeypatch.chdir(tmp_path)
    reward = make_reward(RewardConfig(weights={"mine.py:f": 1.0}, gates=(), shown=()), {})
    with pytest.raises(RewardFailure) as caught:
        reward(["s"], ["{甲"], [["甲"]], 1)
    assert re.fullmatch(
        r"reward term 'mine\.py:f' raised JSONDecodeError: Expecting property name .* \(\S+/mine\.py:5\), "
        r"on a batch of 1, the first '\{甲'; correct it and run the same command",
        str(caught.value),
    )
    with pytest.raises(RewardFailure, match=r"on a batch of 2; correct it"):  # a long completion is not shown
        reward(["s"] * 2, ["{" * 100, "甲"], [["甲"]] * 2, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_is_no_fault_of_a_term_passes_through(error: type[BaseException]) -> None:
    def raising(*lists: object) -> None:
        raise error

    with pytest.raises(error):
        reward_of(raising)


class Dying:
    """An encoder that raises, or gives no unit vectors."""

    dim = 2
    fingerprint = "f" * 64

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def encode(self, texts: list[str]) -> Tensor:
        if self.error:
            raise self.error
        return counts(texts) * torch.nan


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError("out of\n memory"),
            r"^encoder 'use' raised RuntimeError: out of memory \(\S+:\d+\), on a batch of 1, the first",
        ),
        (None, "^encoder ffffffffffffffff: the vector of '甲' has length nan instead of 1"),
    ],
)
def test_an_encoder_that_fails_is_named_and_no_term_is_blamed(error: Exception | None, message: str) -> None:
    store = EmbeddingStore(NamedEncoder("use", Dying(error)), None)
    resources = {"vectors": lambda: store, "threshold": lambda: 0.1}
    reward = make_reward(RewardConfig(gates=(), shown=()), resources)
    with pytest.raises(RewardFailure, match=message):
        reward(["s"], ["乙"], [["甲"]], 1)
    assert issubclass(RewardFailure, InputError)  # so the command ends with the sentence and exit code 2
