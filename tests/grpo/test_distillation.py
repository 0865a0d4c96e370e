"""On-policy distillation: the reverse KL and its gradient by finite differences and against a dense softmax, other prompts
for the teacher, passes and processes, and whole runs of both methods.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_processes
from safetensors.torch import load_file
from tiny import byte_tokenizer, capped_gemma, flat_gradient, tiny_gemma, tiny_gpt2, tiny_llama
from tiny_hooks import stop_after
from tiny_run import Command, general_text, metrics, weights
from transformers import AutoModelForCausalLM

from data.examples import Example
from data.prompt import Prompt
from grpo.config import Config, OptimConfig, TrainConfig
from grpo.distillation import distil
from grpo.engine import chunked_head
from grpo.engine.model_kl import kl_from_policy
from grpo.engine.packing import pack
from grpo.engine.sampler import Sampling, generate
from grpo.kl import full_kl, reverse_kl_slope
from grpo.optim import Optimizer
from grpo.run import main
from grpo.runtime.device import choose
from grpo.runtime.parallel import World
from grpo.runtime.run_log import RunLog
from grpo.stages.self_distillation import DemonstratedPrompts, nearest_pairs
from grpo.training import Training

PROMPTS = [[2, 40, 41], [2, 90]]
READ = [[2, 7, 8, 9, 40, 41], [2, 90]]  # what the teacher reads
GROUPS = [[[50, 51, 1], [60, 1]], [[70], [71, 72, 73, 1]]]
ROWS = [ids for group in GROUPS for ids in group]
Go = Callable[..., int]


def test_the_slope_is_the_gradient_of_the_reverse_kl() -> None:
    """By finite differences; by hand at (1/2, 1/2) against (1/4, 3/4): KL = log 2 - log(3) / 2, slope 1/2 (log 2 - KL)."""
    generator = torch.Generator().manual_seed(0)
    logits, base = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    base = base.log_softmax(-1)
    values = logits.clone().requires_grad_(True)
    kl = full_kl(values.log_softmax(-1), base)
    assert torch.autograd.gradcheck(lambda x: full_kl(x.log_softmax(-1), base), (values,))
    kl.sum().backward()
    slope = reverse_kl_slope(logits.log_softmax(-1), base, kl.detach())
    assert values.grad is not None and torch.allclose(slope, values.grad, atol=1e-12)
    assert slope.sum(dim=-1).abs().max() < 1e-12
    one, other = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    by_hand = 0.5 * (0.693147 - 0.143841)
    assert reverse_kl_slope(one, other, full_kl(one, other)).tolist() == pytest.approx(
        [by_hand, -by_hand], abs=1e-5
    )


def dense_kl(policy: Any, teacher: Any) -> torch.Tensor:
    """Sum of KL(policy || teacher) over all completion tokens, each behind its own prompt, by the definition."""
    total = []
    for p, group in enumerate(GROUPS):
        for ids in group:
            mine, theirs = (
                model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
                for model, prompt in ((policy, PROMPTS[p]), (teacher, READ[p]))
            )
            total.append((mine.exp() * (mine - theirs)).sum())
    return torch.stack(total).sum()


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, tiny_gpt2, capped_gemma])
def test_value_and_gradient_are_those_of_a_dense_softmax(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher reads the same completions behind another prompt; chunks of three tokens."""
    monkeypatch.setattr(chunked_head, "KL_CHUNK", 3)
    policy = make(seed=0).double()
    same = make(seed=0).double()
    teacher = make(seed=1).double().requires_grad_(False)
    value = kl_from_policy(policy, pack(PROMPTS, ROWS, 2), teacher, pack(READ, ROWS, 2))
    expected = dense_kl(same, teacher)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6) and value.item() > 1
    (0.3 * value).backward()
    (0.3 * expected).backward()
    assert torch.allclose(flat_gradient(policy), flat_gradient(same), rtol=1e-5, atol=1e-7)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def gradient_of(
    folder: Path, max_tokens: int = 64, shares: tuple[World, ...] = (World(),)
) -> tuple[torch.Tensor, float]:
    """Of one update on drawn completions, added up over the shares of the prompts, and the KL per token."""
    policy = tiny_gpt2(0).double()
    teacher = tiny_gpt2(1).double().requires_grad_(False)
    config = Config(train=TrainConfig(max_tokens_per_pass=max_tokens))
    sampling = Sampling(3, 6, 1.0, tuple(range(60)))
    total = 0.0
    whole = generate(policy, PROMPTS, sampling, (0, 0))
    with RunLog(folder, "train", 0, 1, {}, quiet=True) as log:
        for world in shares:
            optimizer = Optimizer(policy, OptimConfig(), 1)
            training = Training(policy, optimizer, log, choose("cpu"), world=world)
            own = world.own_share([*map(len, PROMPTS)])
            rollout = generate(policy, [PROMPTS[i] for i in own], sampling, (0, 0), own)
            read = [READ[i] for i in own]
            total += float(distil(config, training, teacher, rollout, read, float(whole.lengths.sum())))
    return flat_gradient(policy), total / float(whole.lengths.sum())


def test_neither_passes_nor_processes_change_the_gradient(tmp_path: Path) -> None:
    whole, kl = gradient_of(tmp_path)
    assert kl > 0.1 and float(whole.norm()) > 1e-3
    for other, value in (
        gradient_of(tmp_path, max_tokens=8),
        gradient_of(tmp_path, shares=(World(0, 2), World(1, 2))),
    ):
        assert torch.allclose(other, whole, rtol=1e-6, atol=1e-9) and value == pytest.approx(kl)


def example(number: int, source: str) -> Example:
    return Example(str(number), source, f"r{number}", "o", "l", "en", "zh")


def test_a_demonstration_stands_in_front_of_the_prompt() -> None:
    """The reference text itself; or the two nearest pairs, the nearest one last, none with the source that is asked for."""
    sources = ["open the file", "open the files", "close it", "open the file", "open a file now"]
    examples = [example(n, source) for n, source in enumerate(sources)]
    nearest = nearest_pairs(examples, 2)(examples[0])
    assert [one.id for one in nearest] == ["4", "1"]
    assert [one.id for one in nearest_pairs(examples[:2], 5)(examples[0])] == ["1"]
    prompt = Prompt.of(byte_tokenizer())

    class Stream:
        def at(self, step: int) -> list[Example]:
            return [examples[step]]

    [(plain, shown)] = DemonstratedPrompts(Stream(), prompt, lambda one: (one,)).at(2)  # type: ignore[arg-type]
    assert plain == prompt.encode_prompt(examples[2])
    text, more = (prompt.tokenizer.decode(ids[1:]) for ids in (plain, shown))
    assert text == "英文：close it\n中文：" and more == f"{text}r2\n{text}"


@pytest.fixture
def go(command: Command, tmp_path: Path, own_cache: None) -> Go:
    """Run the stages data, sft, train into tmp_path/name/run; the exit code."""
    text = general_text(tmp_path, [f"The river rose in the night of day {n}." for n in range(12)])
    more = [text, "tax.texts=2", "sft.optim.lr=1e-2", "sft.num_steps=6", "rollout.num_prompts=4"]
    return lambda name, *settings: main(command(name, *more, "train.optim.lr=3e-3", *settings))


@pytest.mark.parametrize(
    "settings",
    [
        ["train.method=recovery", "train.num_steps=12"],
        ["train.method=self_distillation"],
        pytest.param(["train.method=self_distillation", "train.nearest_pairs=2"], marks=pytest.mark.slow),
    ],
    ids=["recovery", "reference", "nearest"],
)
def test_a_stopped_run_ends_bit_equal(
    settings: list[str], go: Go, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery also brings the policy back to the untouched model, which the warm start has left."""
    assert go("whole", *settings) == 0
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert go("parts", *settings) != 0
    assert go("parts", *settings) == 0
    whole, parts = (tmp_path / name / "run" for name in ("whole", "parts"))
    assert weights(parts) == weights(whole) != (whole / "warm_start" / "model.safetensors").read_bytes()
    assert metrics(parts) == metrics(whole)
    rows = metrics(whole, "train")
    assert all(row["loss"] > 0 and 0 < row["tokens"] < row["trained_tokens"] for row in rows)
    if "train.method=recovery" in settings:
        assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
        prompts = [[2, *map(int, b"The river rose")]]
        models = [
            AutoModelForCausalLM.from_pretrained(folder).double()
            for folder in (whole / "warm_start", whole / "policy", tiny_folder)
        ]
        with torch.no_grad():
            logps = [model(torch.tensor(prompts)).logits[0].log_softmax(-1) for model in models]
        before, after = (float(full_kl(one, logps[2]).mean()) for one in logps[:2])
        assert after < 0.9 * before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.method=recovery", "reward.control=random"], "train.method = 'recovery' has no reward"),
        (
            ["train.nearest_pairs=3"],
            "train.nearest_pairs = 3 is of train.method = 'self_distillation', not 'grpo'",
        ),
        (
            ["train.method=recovery", "train.passes=2"],
            "train.method = 'recovery' makes one update of each step",
        ),
        (["train.method=recovery", "tax.texts=12"], "own.txt: has no text besides the first 12 (tax.texts)"),
        (["train.method=recovery", "rollout.redraws=1"], "rollout.redraws = 1 is of GRPO"),
    ],
)
def test_what_cannot_work_is_refused(
    settings: list[str], message: str, go: Go, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go("a", *settings) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["data", "fsdp"])
@pytest.mark.parametrize("method", ["recovery", "self_distillation"])
def test_two_processes_train_as_one(
    method: str, mode: str, command: Command, tmp_path: Path, empty_cache: None
) -> None:
    """The whole command: the same rollouts, losses and policy but for rounding."""
    text = general_text(tmp_path, [f"The river rose on day {n}." for n in range(12)])
    more = [f"train.method={method}", text, "tax.texts=2", "rollout.num_prompts=4"]
    assert main(command("one", *more)) == 0
    run_processes([sys.executable, "-m", "grpo.run", *command("two", *more), f"parallel.mode={mode}"], 2)
    one, two = (tmp_path / name / "run" for name in ("one", "two"))
    for ours, theirs in zip(metrics(two), metrics(one), strict=True):
        for name in ours.keys() & {"loss", "tokens", "trained_tokens", "length_mean", "grad_norm"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name
    first, second = (load_file(run / "policy" / "model.safetensors") for run in (one, two))
    for name, values in first.items():
        assert (second[name] - values).norm() < 1e-2 * values.norm(), name
