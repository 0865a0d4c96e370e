"""A card that runs out of memory in the middle of a run: the run goes on with smaller passes, once."""

import json
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny import tiny_gemma
from tiny_faults import Fault, at_call, send
from tiny_run import arguments, assert_same_run, metrics, nothing, quick, start, wait_for_exit
from tiny_team import start_team

from grpo.engine.draw import Sampling
from grpo.engine.sampler import generate
from grpo.stages.smaller_passes import FILE

SIZES = ["sft.max_tokens_per_pass=160", "train.max_tokens_per_pass=200", "train.passes=2"]
SMALL_SFT = ["sft.max_tokens_per_pass=80"]
SMALL_TRAIN = ["train.max_tokens_per_pass=100", "rollout.parts=2", "eval.batch_size=32"]
STEP = "grpo.optim:Optimizer.step"  # calls 1 to 3 are of the warm start
IN_BACKWARD = ["sft.num_steps=0", "train.optim.max_grad_norm=0.0", "engine.step_in_backward=true"]


def fill() -> None:
    """What torch raises where a card has no memory."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def fill_twice(target: str, number: int) -> None:
    """The call and, after the stage has begun again, another one."""
    at_call(target, number, fill)
    at_call(target, number + 1, fill)


class Runs:
    """Runs of one corpus and model."""

    def __init__(self, corpus: Path, model: Path):
        self.corpus = corpus
        self.model = model

    def arguments(self, folder: Path, *more: str, stages: str = "data,sft,train") -> list[str]:
        settings = [*quick(self.model)[2:], *SIZES, "rollout.num_prompts=4", *more]
        return arguments(self.corpus, self.model, folder / "run", "--stages", stages, *settings)

    def start(
        self, folder: Path, *more: str, fault: Fault = nothing, **stages: str
    ) -> tuple[int | None, str]:
        return wait_for_exit(*start(self.arguments(folder, *more, **stages), fault))


@pytest.fixture
def runs(corpus: Path, tiny_folder: Path, own_cache: None) -> Runs:
    return Runs(corpus, tiny_folder)


@pytest.mark.parametrize(
    ("target", "number", "more"),
    [
        ("grpo.loop:generate", 1, []),
        ("grpo.loop:completion_logps", 2, []),  # some gradients are there
        pytest.param(
            "grpo.updates:BackwardUpdater._step", 20, IN_BACKWARD, marks=pytest.mark.slow
        ),  # some parameters have changed
    ],
)
def test_a_first_step_without_memory_equals_a_run_with_smaller_passes(
    target: str, number: int, more: list[str], runs: Runs, tmp_path: Path
) -> None:
    code, output = runs.start(tmp_path / "full", *more, fault=partial(at_call, target, number, fill))
    assert code == 0 and output.count("WARNING train: the card had no memory") == 1, output
    assert "train.max_tokens_per_pass=100 rollout.parts=2 eval.batch_size=32; write these" in output
    code, output = runs.start(tmp_path / "small", *more, *SMALL_TRAIN)
    assert code == 0 and "no memory" not in output, output
    assert_same_run(tmp_path / "full" / "run", tmp_path / "small" / "run")


def test_a_later_update_is_repeated_from_the_one_before_it(runs: Runs, tmp_path: Path) -> None:
    """The gradients and the log of the failed update are complete when memory ends."""
    fault = partial(at_call, "grpo.loop:accumulate", 4, fill, after=True)
    code, output = runs.start(tmp_path / "full", fault=fault)
    assert code == 0 and "resuming train at step 1, after 1 of its updates" in output, output
    stop = partial(at_call, STEP, 6, partial(send, signal.SIGTERM))
    assert runs.start(tmp_path / "small", fault=stop)[0] == 143
    assert runs.start(tmp_path / "small", *SMALL_TRAIN)[0] == 0
    assert_same_run(tmp_path / "full" / "run", tmp_path / "small" / "run")


@pytest.mark.slow
def test_the_warm_start_has_smaller_passes_and_training_has_not(runs: Runs, tmp_path: Path) -> None:
    code, output = runs.start(tmp_path / "full", fault=partial(at_call, "grpo.sft:completion_logps", 2, fill))
    assert code == 0 and "WARNING sft: the card had no memory for sft.max_tokens_per_pass=160" in output
    assert json.loads((tmp_path / "full" / "run" / FILE).read_text()) == {
        "sft": {"sft.max_tokens_per_pass": 160}
    }
    assert runs.start(tmp_path / "small", *SMALL_SFT)[0] == 0
    assert_same_run(tmp_path / "full" / "run", tmp_path / "small" / "run")


def test_the_second_time_is_an_error_until_the_settings_change(runs: Runs, tmp_path: Path) -> None:
    code, output = runs.start(tmp_path, fault=partial(fill_twice, "grpo.loop:generate", 2))
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code == 2 and "Traceback" not in output
    assert line.startswith("error: train: the card has no memory for passes of half the size either; write ")
    assert "train.max_tokens_per_pass=50 rollout.parts=4 eval.batch_size=16, or" in line
    code, output = runs.start(tmp_path)  # a resumed run keeps the smaller passes
    assert code == 0 and "resuming train at step 1" in output and output.count("WARNING train") == 1
    rows = metrics(tmp_path / "run")
    assert [row["step"] for row in rows if row["stage"] == "train"] == [0, 1, 2, 3]


def test_the_evaluation_has_smaller_batches(runs: Runs, tmp_path: Path) -> None:
    fault = partial(at_call, "grpo.stages.context:greedy_outputs", 2, fill)
    code, output = runs.start(tmp_path, "sft.num_steps=1", fault=fault, stages="data,sft,eval")
    assert code == 0 and "WARNING eval: the card had no memory for eval.batch_size=64" in output
    names = sorted(path.name for path in (tmp_path / "run" / "eval").glob("*.json"))
    assert {"untouched.json", "warm_start.json"} <= {*names}


@pytest.mark.slow
def test_scoring_the_dev_set_has_smaller_batches(runs: Runs, tmp_path: Path) -> None:
    """It is a part of training, which begins again from its last checkpoint."""
    more = ["eval.every=1", "data.dev_size=4", "checkpoint.every=1"]
    fault = partial(at_call, "grpo.stages.context:greedy_outputs", 2, fill)
    code, output = runs.start(tmp_path / "full", *more, fault=fault)
    assert code == 0 and output.count("eval.batch_size=32; write these settings") == 1, output
    assert runs.start(tmp_path / "small", *more, *SMALL_TRAIN)[0] == 0
    assert_same_run(tmp_path / "full" / "run", tmp_path / "small" / "run")


@pytest.mark.slow
def test_several_processes_end_and_the_same_command_goes_on(runs: Runs, tmp_path: Path) -> None:
    """The others wait for the one without memory, so all end at once, in one sentence."""
    fault = partial(at_call, "grpo.loop:completion_logps", 1, fill)
    ends = start_team(runs.arguments(tmp_path), 2, {1: fault}).ends()
    output = "".join(text for _, text in ends)
    assert [code for code, _ in ends] == [2, 2] and "Traceback" not in output, output
    assert "train: the card of one process has no memory for train.max_tokens_per_pass=200" in output
    ends = start_team(runs.arguments(tmp_path), 2).ends()
    assert [code for code, _ in ends] == [0, 0] and "WARNING train: the card had no memory" in ends[0][1]


def test_a_rollout_in_parts_is_the_same_rollout() -> None:
    prompts = [[2, 5 + number, 9] for number in range(5)]
    whole, parts = (
        generate(tiny_gemma(), prompts, Sampling(3, 6, 1.0, (1,), parts=count), (0, 4)) for count in (1, 2)
    )
    assert whole.completions() == parts.completions() and whole.prompt_ids == parts.prompt_ids
    assert torch.allclose(whole.sampling_logps, parts.sampling_logps, atol=1e-5)
    assert torch.equal(whole.finished, parts.finished)
