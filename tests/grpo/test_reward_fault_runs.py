"""Whole small runs whose reward fails on the way: what is said, what is saved, and that the next start ends
bit-equal to a run unharmed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tiny_run import HAN, SYLLABLES, assert_same_run, metrics
from torch import Tensor

from grpo.run import main
from reward.encoders.static import StaticEncoder

GOOD = "return [len(text) % 5 / 4 for text in completions]"
STEPS = 4
PROMPTS = 2
GROUP = 3
Start = Callable[..., int]


@pytest.fixture
def term(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the body of the user's own term, which counts its calls."""

    def write(body: str) -> Path:
        path = tmp_path / "mine.py"
        lines = [
            "calls = 0",
            "",
            "def judge(sources, completions, references):",
            "    global calls",
            "    calls += 1",
            f"    {body}",
            "",
        ]
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def start(tmp_path: Path, tiny_folder: Path, term: Callable[[str], Path], empty_cache: None) -> Start:
    """Starts the run of that name, rewarded by the own term, and gives the exit code; the same call goes on
    with it.
    """
    numbers = torch.randint(0, 16, (96, 4), generator=torch.Generator().manual_seed(0)).tolist()
    pairs = ["་".join(SYLLABLES[n] for n in row) + "\t" + "".join(HAN[n] for n in row) for row in numbers]
    (tmp_path / "pairs.tsv").write_text("\n".join(["source\treference", *pairs]) + "\n", encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(
        f"""
device = "cpu"
data = {{ corpus = "{tmp_path / "pairs.tsv"}", test_size = 8, test_min_per_language = 0, dev_size = 4 }}
model = {{ policy = "{tiny_folder}", max_prompt_tokens = 128 }}
sft = {{ num_steps = 1, batch_size = 4 }}
rollout = {{ num_prompts = {PROMPTS}, group_size = {GROUP}, max_new_tokens = 8 }}
train = {{ num_steps = {STEPS}, optim = {{ lr = 1e-3 }} }}
checkpoint = {{ every = 0 }}
eval = {{ probes = false }}
[reward]
encoder = "static:{tiny_folder}"
gates = []
shown = []
weights = {{ "{tmp_path / "mine.py"}:judge" = 1.0 }}
""",
        encoding="utf-8",
    )
    fixed = ["--config", str(tmp_path / "tiny.toml"), "--stages", "data,sft,train"]
    return lambda name, *more: main([*fixed, f"run_dir={tmp_path / name}", *more])


def assert_same(run: Path, other: Path) -> None:
    """The same policy and the same log, of a run in which every step taught something."""
    assert [row["grad_norm"] > 0 for row in metrics(other, "train")] == [True] * STEPS
    assert_same_run(run, other)


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_completions_without_a_number_cost_only_themselves(
    start: Start, term: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second of each three is None, in one step NaN: the run ends well and the log has the share."""
    term(
        "return [(None if calls != 2 else float('nan')) if row % 3 == 1 else row * 1.0 for row in range(len(completions))]"
    )
    assert start("run") == 0
    said = capsys.readouterr().out
    assert said.count("gave no number for 2 of 6 completions, the first ") == 1
    found = metrics(tmp_path / "run", "train")
    assert [row["missing_reward_share"] for row in found] == [pytest.approx(1 / 3)] * STEPS
    assert [row["reward_mean"] for row in found] == [2.5] * STEPS  # of 0, 2, 3, 5
    assert all(row["grad_norm"] > 0 for row in found)


def test_a_step_without_any_number_stops_and_goes_on_from_there(
    start: Start, term: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    term(GOOD)
    assert start("whole") == 0
    term(f"{GOOD[:-1]}] if calls < 3 else [None] * len(completions)")
    assert start("parts") == 2
    error = one_sentence(capsys)
    assert "mine.py:judge' gave no number for 6 of 6 completions, the first '" in error
    assert error.endswith("; correct it and run the same command; everything up to step 2 is saved\n")
    term(GOOD)
    assert start("parts") == 0 and "resuming train at step 2" in capsys.readouterr().out
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_a_term_that_raises_stops_each_start_until_it_is_corrected(
    start: Start, term: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At its third call, and once more at the first call of the next start; with two updates a step, and a KL
    coefficient that moves.
    """
    more = ("train.passes=2", "loss.kl_target=0.01")
    term(GOOD)
    assert start("whole", *more) == 0
    capsys.readouterr()
    term(f"{GOOD} if calls < 3 else [1 / 0]")
    assert start("parts", *more) == 2
    place = f"mine.py:judge' raised ZeroDivisionError: division by zero ({tmp_path / 'mine.py'}:6), on a batch of 6"
    error = one_sentence(capsys)
    assert place in error and error.endswith("; everything up to step 2 is saved\n")
    term("raise ZeroDivisionError")
    assert start("parts", *more) == 2
    error = one_sentence(capsys)
    assert "raised ZeroDivisionError (" in error and error.endswith("; everything up to step 2 is saved\n")
    term(GOOD)
    assert start("parts", *more) == 0 and "resuming train at step 2" in capsys.readouterr().out
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_a_term_that_fails_at_once_loses_no_warm_start(
    start: Start, term: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    term("raise ValueError")
    assert start("run") == 2
    assert one_sentence(capsys).endswith("; everything up to step 0 is saved\n")
    made = (tmp_path / "run" / "warm_start" / "model.safetensors").stat().st_mtime_ns
    term(GOOD)
    assert start("run") == 0
    assert (tmp_path / "run" / "warm_start" / "model.safetensors").stat().st_mtime_ns == made and len(
        metrics(tmp_path / "run", "train")
    ) == STEPS


def dying_at(call: int) -> Callable[[StaticEncoder, Sequence[str]], Tensor]:
    """The static encoder's `encode`, which raises when it is called for the `call`-th time."""
    whole = StaticEncoder.encode
    calls = iter(range(1, call + 1))

    def encode(self: StaticEncoder, texts: Sequence[str]) -> Tensor:
        if next(calls) == call:
            raise RuntimeError("the device is gone")
        return whole(self, texts)

    return encode


def test_an_encoder_that_dies_is_named_and_the_next_start_goes_on(
    start: Start,
    term: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While its noise is measured (9 calls), while reference texts are embedded, and in the third step."""
    term(GOOD)
    settings = ("reward.weights={cosine=1.0}", "reward.threshold=-0.5")
    assert start("whole", *settings) == 0
    capsys.readouterr()
    monkeypatch.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path / "fresh"))  # nothing embedded yet
    for call, saved in ((1, ""), (10, ""), (4, "; everything up to step 2 is saved")):
        with monkeypatch.context() as patched:
            patched.setattr(StaticEncoder, "encode", dying_at(call))
            assert start("parts", *settings) == 2
        error = one_sentence(capsys)
        assert (
            "encoder 'static:" in error
            and "raised RuntimeError: the device is gone (" in error
            and "reward term" not in error
        )
        assert error.endswith(f"; correct it and run the same command{saved}\n")
    assert start("parts", *settings) == 0 and "resuming train at step 2" in capsys.readouterr().out
    assert_same(tmp_path / "parts", tmp_path / "whole")
