"""What the hook of a run in this process is made to do: end it after a step, or find invented scores on dev."""

from collections.abc import Mapping

import pytest

from grpo.records import LoopState
from grpo.stages.hooks import UpdateHook


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """As Ctrl-C in that step of the stage train."""
    real = UpdateHook.__call__
    monkeypatch.setattr(
        UpdateHook,
        "__call__",
        lambda self, state: real(self, state) or (self.stage == "train" and state.step == step),
    )


def save_and_stop_at(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    """End the run after each (stage, step), one start after the other, with its state saved."""
    real = UpdateHook.__call__
    left = [*places]

    def stop(hook: UpdateHook, state: LoopState) -> bool:
        ended = real(hook, state)
        if left and (hook.stage, state.step, state.update) == (*left[0], 0):
            left.pop(0)
            hook.save()
            return True
        return ended

    monkeypatch.setattr(UpdateHook, "__call__", stop)


def invent_scores(monkeypatch: pytest.MonkeyPatch, scores: Mapping[int, float]) -> None:
    """The reward and the held-out cosine of the dev set after each step."""
    real = UpdateHook._score_dev_set

    def score_dev_set(self: UpdateHook) -> float | None:
        assert self.score is not None
        score = scores[self.state.step]
        self.score = lambda: {"reward_mean": score, "cosine_held_out": score}
        return real(self)

    monkeypatch.setattr(UpdateHook, "_score_dev_set", score_dev_set)
