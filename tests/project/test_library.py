"""examples/library: each runs on the tiny model as it is written, in ten lines, and gives the right numbers; what
the packages offer by name is imported when it is used, and the page shows the examples.
"""

import ast
import importlib
import math
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from repository import ROOT, python_files

FOLDER = ROOT / "examples" / "library"
FILES = python_files("examples/library", at_least=9)
Example = Callable[[str], dict[str, Any]]
NO_USE = (ast.Import, ast.ImportFrom, ast.FunctionDef)  # what a notebook has above the use


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> Example:
    """Runs an example with an argument, and gives its variables."""

    def run(name: str) -> dict[str, Any]:
        argument = str(tiny_folder) if name in ("sampler", "one_update") else f"static:{tiny_folder}"
        monkeypatch.setattr(sys, "argv", [name, argument])
        return runpy.run_path(str(FOLDER / f"{name}.py"))

    return run


def lines_of_use(path: Path) -> int:
    """The lines of its statements, without imports, functions and the docstring."""
    _, *statements = ast.parse(path.read_text(encoding="utf-8")).body
    used = [one for one in statements if not isinstance(one, NO_USE)]
    return sum((one.end_lineno or 0) - one.lineno + 1 for one in used)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ten_lines_are_enough(path: Path) -> None:
    assert 1 < lines_of_use(path) <= 10


def test_advantages(example: Example) -> None:
    found = example("advantage")
    high = 0.5 / math.sqrt(1 / 3)
    assert found["grpo"].tolist() == [pytest.approx([-high, -high, high, high]), [0.0] * 4]
    assert found["dr_grpo"][0].tolist() == [-0.5, -0.5, 0.5, 0.5]
    assert found["rloo"][0].tolist() == pytest.approx([-2 / 3, -2 / 3, 2 / 3, 2 / 3])


def test_loss(example: Example) -> None:
    """By hand: ratios exp(0, 0.1, 0.5) and exp(0, -0.5), five tokens that count the same."""
    found = example("loss")
    surrogate = (1 + math.exp(0.1) + 1.2) + (-1 - 0.8)
    kl = [math.exp(-x) - 1 + x for x in (0.0, 0.1, 0.5, 0.0, -0.5)]
    assert found["loss"].item() == pytest.approx((-surrogate + 0.05 * sum(kl)) / 5, abs=1e-6)
    clipped = 0.05 * (1 - math.exp(-0.5)) / 5  # of the token beyond the range only the KL has a gradient
    gradient = found["policy_logps"].grad
    assert gradient[0, 2].item() == pytest.approx(clipped, abs=1e-7) and gradient[1, 2] == 0


def test_kl(example: Example) -> None:
    found = example("kl")
    assert found["exact"] == pytest.approx(0.5 * math.log(0.5 / 0.4) + 0.3 * math.log(0.3 / 0.4))
    assert found["estimates"]["kl_k3"] == pytest.approx(found["exact"], rel=0.01)


def test_cosines(example: Example) -> None:
    found = example("cosines")
    rows = found["matrix"][found["rows"]]
    product = (found["completions"][[0, 0, 1, 2, 2, 2]] * rows).sum(dim=1)
    torch.testing.assert_close(found["cosines"], product)
    assert found["best"].tolist() == [
        max(part) for part in (found["cosines"].tolist()[i:j] for i, j in ((0, 2), (2, 3), (3, 6)))
    ]


def test_sampler(example: Example) -> None:
    first = example("sampler")
    assert first["rollout"].completion_ids.shape[0] == len(first["texts"]) == 8
    assert int(first["rollout"].lengths.max()) <= 8 and len(set(first["texts"])) > 1
    assert example("sampler")["texts"] == first["texts"]


def test_one_update(example: Example) -> None:
    found = example("one_update")
    policy = found["policy"]
    gradient = {name: weight.grad.clone() for name, weight in policy.named_parameters()}
    policy.zero_grad()
    packed = found["grpo"].pack(found["prompts"], found["rollout"].completions(), group_size=4)
    logps = found["grpo"].completion_logps(policy, packed).logps
    means = logps.sum(dim=1) / found["rollout"].lengths  # plain REINFORCE: mean over tokens, then over rows
    (-(found["advantages"] * means).mean()).backward()
    for name, weight in policy.named_parameters():
        torch.testing.assert_close(weight.grad, gradient[name], rtol=1e-4, atol=1e-6)
    assert max(float(one.abs().max()) for one in gradient.values()) > 1e-3


def test_reward_and_both_adapters(example: Example) -> None:
    found = example("semantic_reward")
    rewards = found["rewards"].tolist()
    product = torch.stack([*found["terms"].values()]).double().prod(dim=0)
    assert rewards == pytest.approx(product.tolist()) and rewards[0] == 1.0 and rewards[2] == 0.0
    assert example("reward_in_trl")["rewards"] == [1.0, 0.0]
    found = example("trl_reward_in_ours")
    assert found["rewards"].tolist() == [1.0, 0.0]


def test_importing_a_package_is_cheap() -> None:
    """Past bug: a second of torch before a sentence could be printed."""
    code = "import grpo, reward, sys; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("use", ["grpo.load_policy", "reward.SemanticReward"])
def test_a_first_use_prints_nothing(use: str) -> None:
    """Past bug: with torchao installed the reward alone printed its warnings of kernels that are not used."""
    pytest.importorskip("torchao")
    code = f"import {use.split('.')[0]}; {use}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("package", ["grpo", "reward"])
def test_the_names_of_a_package_are_those_that_editors_see(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == module.__all__ and len(seen) > 10
    for name, place in seen.items():
        assert getattr(module, name) is getattr(importlib.import_module(str(place)), name)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


def test_the_page_shows_the_examples_and_names_all() -> None:
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for path in FILES]
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 3
    assert [block for block in blocks if not any(block in source for source in sources)] == []
    assert [path.name for path in FILES if f"examples/library/{path.name})" not in page] == []


@pytest.mark.filterwarnings("ignore")
def test_the_real_trl_trains_on_our_reward(tiny_folder: Path, tmp_path: Path) -> None:
    """No stand-in: its log has the mean of our rewards of the completions that it made."""
    trl = pytest.importorskip("trl", reason="TRL is not installed here; type: pip install trl")
    datasets = pytest.importorskip(
        "datasets", reason="datasets is not installed here; type: pip install datasets"
    )
    from reward import SemanticReward, as_trl_reward

    reward = SemanticReward(language="zh", encoder=f"static:{tiny_folder}")
    ours = as_trl_reward(reward, source="question", reference="answer")
    seen: list[list[float | None]] = []

    def record(completions: list[str], **columns: Any) -> list[float | None]:
        seen.append(ours(completions, **columns))
        return seen[-1]

    rows = {
        "prompt": ["\u5929\u5730"] * 4,
        "question": ["\u5929\u5730"] * 4,
        "answer": ["\u5929\u5730\u4eba"] * 4,
    }
    settings = trl.GRPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=6, max_steps=2,
        logging_steps=1, report_to=[], use_cpu=True, bf16=False, save_strategy="no", disable_tqdm=True, temperature=1.0,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        str(tiny_folder), reward_funcs=[record], args=settings, train_dataset=datasets.Dataset.from_dict(rows)
    )
    trainer.train()
    logged = [one["reward"] for one in trainer.state.log_history if "reward" in one]
    assert len(seen) == 2 and all(len(values) == 4 for values in seen)
    assert logged == pytest.approx([sum(value or 0.0 for value in values) / 4 for values in seen], abs=1e-5)
