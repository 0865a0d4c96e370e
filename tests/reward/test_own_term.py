"""A user's term: one function in one file, one line of configuration, and one sentence for everything that
can be wrong with it.
"""

import pytest
import torch
from plain_vectors import PlainVectors, counts
from tiny_run import Write

from data.errors import InputError
from reward.combine import RewardConfig, check, make_reward
from reward.own_term import load_own_term

GOOD = """
import torch

def ends_well(sources, completions, references, *, end="。", target_script=None):
    return torch.tensor([float(text.endswith(end)) for text in completions])
"""


def test_one_line_of_configuration_is_enough(written: Write) -> None:
    name = f"{written(GOOD, 'terms.py')}:ends_well"
    config = RewardConfig(weights={name: 2.0}, gates=(), shown=("cosine_raw",))
    check(config, "zh")
    reward = make_reward(config, {"vectors": lambda: PlainVectors(counts), "target_script": lambda: "Hani"})
    rewards, terms = reward(["s"] * 2, ["甲。", "甲"], [["甲"]] * 2, 2)
    assert rewards.tolist() == [[2.0, 0.0]] and torch.equal(terms[name], torch.tensor([[1.0, 0.0]]))


def test_its_settings_come_from_the_configuration(written: Write) -> None:
    name = f"{written(GOOD, 'terms.py')}:ends_well"
    config = RewardConfig(weights={name: 1.0}, gates=(), shown=(), settings={name: {"end": "乙"}})
    check(config, "zh")
    assert make_reward(config, {})(["s"], ["甲乙"], [["甲"]], 1)[0].item() == 1.0
    with pytest.raises(InputError, match=r"unknown setting 'ending'; known settings: end, target_script"):
        check(RewardConfig(weights={name: 1.0}, gates=(), shown=(), settings={name: {"ending": "乙"}}), "zh")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def other(a, b, c): ...\n", r"has no function 'ends_well'; its functions: other"),
        ("x = 1\n", r"has no function 'ends_well'; its functions: none"),
        (
            "def ends_well(completions): ...\n",
            r"it must take three lists: def TERM\(sources, completions, references",
        ),
        ("1 / 0\n", r"cannot be run: ZeroDivisionError: division by zero"),
        ("def ends_well(:\n", r"cannot be run: SyntaxError"),
        ("import sys; sys.exit()", "cannot be run: SystemExit"),
        ("raise SystemExit(0)", "cannot be run: SystemExit: 0"),
        ("ends_well = max", "it must take three lists"),
        ("ends_well = 3", "has no function 'ends_well'"),
        ("def ends_well(*texts): ...", "it must take three lists"),
        ("\0", "cannot be run: "),
        ("x = " + "(" * 5000, "cannot be run: "),
        ("ends_well = lambda a, b: 0", "it must take three lists"),
        ("raise RecursionError", "cannot be run: RecursionError"),
        ("raise GeneratorExit", "cannot be run: GeneratorExit"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(written: Write, text: str, message: str) -> None:
    """Past bug: sys.exit() in the file ended the run with exit code 0 and no word; a function of Python's own
    in a ValueError.
    """
    with pytest.raises(InputError, match=message):
        load_own_term(f"{written(text, 'terms.py')}:ends_well")


def test_settings_of_the_process_are_as_before_the_file(written: Write) -> None:
    """Past bug: a file that says torch.set_grad_enabled(False), as scripts for inference do, ended a run in a
    traceback.
    """
    load_own_term(f"{written(GOOD + 'torch.set_grad_enabled(False)', 'terms.py')}:ends_well")
    assert torch.is_grad_enabled()


def test_a_missing_file_is_named() -> None:
    with pytest.raises(
        InputError,
        match=r"reward term 'nowhere\.py:f': nowhere\.py is not a file; write it as FILE\.py:function",
    ):
        check(RewardConfig(weights={"nowhere.py:f": 1.0}, gates=(), shown=()), "zh")
