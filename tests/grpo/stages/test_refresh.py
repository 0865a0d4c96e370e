"""Iterated self-SFT: which policy draws the samples of a window, and that a run stopped anywhere learns from the same
ones.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_hooks import stop_after
from tiny_run import Command, arguments, assert_same_run, quick

from grpo.engine.model import parameter_hash
from grpo.run import main
from grpo.stages import imitation
from grpo.stages.hooks import UpdateHook

pytestmark = pytest.mark.usefixtures("own_cache")
SETTINGS = [
    "train.method=best_of_group", "train.refresh_every=2", "train.num_steps=5", "rollout.num_prompts=4",
    "rollout.max_new_tokens=64", "rollout.group_size=6", "checkpoint.every=1",
]  # fmt: skip
Go = Callable[..., int]


@pytest.fixture
def go(command: Command) -> Go:
    """Run the command in tmp_path/NAME/run; the exit code."""
    return lambda name, *more: main(command(name, *SETTINGS, *more))


def best_samples(run: Path) -> list[Any]:
    """What each step of the file has chosen."""
    content = (run / imitation.FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["chosen"] for line in content[1:]]


def stop_sampling(patched: pytest.MonkeyPatch, at: int, error: type[BaseException]) -> None:
    """Raise `error` in the place of writing the samples of step `at`."""
    real = imitation.append

    def append(path: Path, step: Any) -> None:
        if step.step == at:
            raise error("stopped")
        real(path, step)

    patched.setattr(imitation, "append", append)


@pytest.fixture(scope="module")
def whole(corpus: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SEMANTIC_GRPO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert main([*arguments(corpus, tiny_folder, run, *quick(tiny_folder)), *SETTINGS]) == 0
    return run


def check_equal(run: Path, whole: Path) -> None:
    assert_same_run(run, whole)
    assert best_samples(run) == best_samples(whole)


def test_a_window_is_drawn_by_the_policy_at_its_begin(
    go: Go, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 0 and 1 as without a refresh; then by the policies after two and after four steps."""
    drawn: list[str] = []
    trained: dict[int, str] = {}
    sample, hook = imitation.sample_step, UpdateHook.__call__

    def sample_step(run: Any, policy: Any, *more: Any) -> Any:
        drawn.append(parameter_hash(policy))
        return sample(run, policy, *more)

    def call(self: UpdateHook, state: Any) -> bool:
        if self.stage == "train":
            trained[state.step] = parameter_hash(self.model)
        return hook(self, state)

    monkeypatch.setattr(imitation, "sample_step", sample_step)
    monkeypatch.setattr(UpdateHook, "__call__", call)
    assert go("again") == 0
    assert drawn[1:] == [drawn[0], trained[2], trained[2], trained[4]] and len({*drawn}) == 3
    assert go("plain", "train.refresh_every=0") == 0
    plain, refreshed = (best_samples(run) for run in (tmp_path / "plain" / "run", whole))
    assert plain[:2] == refreshed[:2] and plain[2:] != refreshed[2:] and sum(map(len, plain)) > 4


@pytest.mark.parametrize(
    ("at", "checkpoints"),
    [(3, 1), pytest.param(3, 0, marks=pytest.mark.slow), pytest.param(4, 2, marks=pytest.mark.slow)],
)
def test_a_run_killed_while_it_samples_ends_bit_equal(
    at: int, checkpoints: int, go: Go, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the second sample of a window and at the first; from a checkpoint there, from none, from an earlier one."""
    more = f"checkpoint.every={checkpoints}"
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        stop_sampling(patched, at, SystemExit)
        go("parts", more)
    assert len(best_samples(tmp_path / "parts" / "run")) == at
    assert go("parts", more) == 0
    check_equal(tmp_path / "parts" / "run", whole)


def test_a_run_stopped_in_a_window_ends_bit_equal(
    go: Go, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its samples are on disk already. Without them it cannot go on."""
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert go("parts") != 0
    run = tmp_path / "parts" / "run"
    content = (run / imitation.FILE).read_bytes()
    assert len(best_samples(run)) == 4
    (run / imitation.FILE).write_bytes(b"".join(content.splitlines(keepends=True)[:3]))
    assert go("parts") == 2
    assert "the samples of step 3 are gone, and the policy that drew them" in capsys.readouterr().err
    (run / imitation.FILE).write_bytes(content)
    assert go("parts") == 0
    check_equal(run, whole)


def test_other_methods_have_no_samples_to_refresh(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    assert go("a", "train.method=sft") == 2
    assert (
        "train.refresh_every = 2 is of train.method = 'best_of_group', not 'sft'" in capsys.readouterr().err
    )


def test_a_run_without_any_sample_is_refused_and_not_finished(go: Go, tmp_path: Path) -> None:
    assert go("none", "rollout.max_new_tokens=1", "reward.weights={chrf=1.0}", "reward.normalise=false") == 2
    assert not (tmp_path / "none/run/policy").exists()
    assert all(not one for one in best_samples(tmp_path / "none/run"))
