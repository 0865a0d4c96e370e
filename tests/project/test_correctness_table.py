"""docs/correctness.md names a test for each of the 44 properties, and each of these tests exists."""

import ast
import re

from repository import ROOT

PAGE = (ROOT / "docs" / "correctness.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d*) ?\| (.+?) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
TESTS = {
    number or name: re.findall(r"`((?:\w+/)*test_\w+\.py)::(\w+)`", tests) for number, name, _, tests in ROWS
}


def functions(file: str) -> set[str]:
    """The names of a test file's functions; none where there is no such file."""
    path = ROOT / "tests" / file
    body = ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else []
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_every_number_has_one_row_and_every_row_a_test() -> None:
    assert [int(number) for number, *_ in ROWS if number] == list(range(1, 45))
    others = {
        "several terms", "order, markers, coverage", "significance",
        "determinism", "forward pass size", "fast paths", "memory", "baselines", "tax budget", "drift",
        "sampler weights", "sampler gap", "memory modes", "checkpoints in shares", "export from shares",
        "split weights", "frozen models", "loading", "loading in shares", "processes", "prompts", "mixture",
        "redraws", "distillation", "refreshed samples", "shield", "pull (L2, EWC)", "token losses", "replay",
        "model families", "new pieces", "fused layers", "anchor beside pairs",
        "kills of several processes", "evaluation by several processes", "study by several processes",
        "cost and claim of a study", "KL on task prompts", "transfer in a sequence",
        "translation", "added systems, compared runs", "learned metrics", "learning rates by depth",
        "metrics that score a share of the groups",
        "whole steps", "guides", "cut completions",
    }  # fmt: skip
    assert {name for number, name, *_ in ROWS if not number} == others
    assert [key for key, tests in TESTS.items() if not tests] == []


def test_every_named_test_exists() -> None:
    named = sorted({pair for pairs in TESTS.values() for pair in pairs})
    assert len(named) > 60
    assert [f"{file}::{name}" for file, name in named if name not in functions(file)] == []
