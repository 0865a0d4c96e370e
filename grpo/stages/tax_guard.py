"""Keeps training within its tax budget: measures the tax on general text, moves the KL coefficient, and goes
back to the last state within the budget.

The tax is the mean negative log-likelihood per token of the texts under the policy, less that under a
baseline: the untouched model or the warm start. The last state within the budget is on disk as a checkpoint,
and so is the one for each training checkpoint that a run can resume from: a run that was killed anywhere goes
back to the same bits as one that was not. What follows from a tax is in grpo/stages/tax_controller.py.
"""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.cache import atomic_write_text, remove_folder
from data.documents import read_object
from data.errors import InputError
from data.sources.general_texts import read_general_texts
from eval.forgetting.probes import text_ids
from grpo.engine.likelihood import first_ids, log_likelihoods
from grpo.engine.model import parameter_hash
from grpo.records import LoopState
from grpo.runtime import checkpoint
from grpo.stages.context import Run, load_model, untouched_model
from grpo.stages.hooks import UpdateHook
from grpo.stages.tax_controller import SafeState, after_measurement, next_coefficient
from grpo.training import AfterStep, same_state

MAX_TOKENS = 96  # of a text: with 32 texts a measurement costs less than 3,100 tokens forward
FACTS = "tax.json"

Ids = list[list[int]]  # of each text


def make_tax_guard(hook: UpdateHook, tokenizer: PreTrainedTokenizerBase) -> tuple[AfterStep, LoopState]:
    """The guard of a hook's stage, to be called after each step, and the state to begin from. Without a tax.budget
    nothing is guarded.

    Raises InputError where the model is beyond the budget before the first step.
    """
    run = hook.run
    if not run.config.tax.budget:
        return same_state, hook.state
    start = first_ids(tokenizer)
    texts = [text_ids(tokenizer, text)[:MAX_TOKENS] for text in texts_of(run)]
    guard = TaxGuard(hook, start, texts, baseline_nll(run, start, texts))
    return guard, guard.begin(hook.state)


def texts_of(run: Run) -> list[str]:
    """The general texts that the tax is measured on. Raises InputError where there are none."""
    return read_general_texts(run.config.tax.text, run.config.tax.texts, run.cache)


def mean_nll(model: PreTrainedModel, start: list[int], texts: Ids) -> float:
    """Nats per token over all texts. In fp32, whatever training computes in: a budget is smaller than the
    noise of bf16.
    """
    scores = log_likelihoods(model, [start] * len(texts), [[ids] for ids in texts])
    return -math.fsum(score for (score,) in scores) / sum(map(len, texts))


def baseline_nll(run: Run, start: list[int], texts: Ids) -> float:
    """`mean_nll` of the model of `tax.against`. Computed once, by all processes together, and written to run/tax.json
    with what it depends on.
    """
    path = run.folder / FACTS
    against = run.config.tax.against
    facts = {
        "against": against, "texts": len(texts), "tokens": sum(map(len, texts)),
        "texts_sha256": hashlib.sha256(json.dumps([start, texts]).encode()).hexdigest(),
    }  # fmt: skip
    if not run.world.any(path.exists()):
        model = load_model(run, untouched_model(run) if against == "untouched" else run.warm_start)
        measured = {"sha256": parameter_hash(model), "nll": mean_nll(model, start, texts)}
        if run.world.is_first:
            atomic_write_text(path, json.dumps(facts | measured, indent=1))
        run.world.wait()
    saved_facts = read_object(path)
    if any(saved_facts.get(name) != facts[name] for name in ("against", "texts_sha256")) or not isinstance(
        saved_facts.get("nll"), float
    ):
        raise InputError(
            f"{path}: this run's tax was counted on other texts; restore tax.text, or write run_dir=runs/another"
        )
    return float(saved_facts["nll"])


@dataclass
class TaxGuard:
    """Called after each step of a hook's stage with its state; gives back the state that training goes on from.

    start     token ids in front of each text
    texts     token ids of each text that the tax is measured on
    baseline  mean NLL that the tax is counted from
    """

    hook: UpdateHook
    start: list[int]
    texts: Ids
    baseline: float

    @property
    def run(self) -> Run:
        return self.hook.run

    @property
    def folder(self) -> Path:
        """Of the last state within the budget."""
        return self.run.checkpoints(self.hook.stage) / "within_budget"

    def measure(self) -> float:
        """Nats per token that training has cost; the same in every process. What is no number counts as
        infinite.
        """
        with self.hook.log.phase("tax"):
            tax = mean_nll(self.hook.model, self.start, self.texts) - self.baseline
            return self.run.world.largest({"tax": tax if math.isfinite(tax) else math.inf})["tax"]

    def begin(self, state: LoopState) -> LoopState:
        """`state` with its tax measured, where it is the first one. A resumed one has its tax; then the later
        states of a session that was killed are removed.
        """
        if state.tax:
            safe = SafeState(**state.tax)
            self.hook.optimizer.pace = safe.pace
            self._remove(lambda step: step > safe.step)
            return state
        tax = self.measure()
        config = self.run.config.tax
        if not tax <= config.budget:
            raise InputError(
                f"tax.budget = {config.budget:g}: the warm start alone costs {tax:.3g} nats per token against the untouched model; lower "
                'sft.optim.lr or sft.num_steps under a new run_dir, raise the budget, or write tax.against="warm_start"'
            )
        self.run.say(
            f"tax before the first step: {tax:.4f} nats per token against {self.words()}, of a budget of {config.budget:g}"
        )
        return self._save(replace(state, tax=asdict(SafeState(state.step, tax))))

    def words(self) -> str:
        tokens = sum(map(len, self.texts))
        return f"the {self.run.config.tax.against.replace('_', ' ')} model on {len(self.texts)} texts of {tokens:,} tokens"

    def __call__(self, state: LoopState) -> LoopState:
        if state.step % self.run.config.tax.every and state.step < self.hook.num_steps:
            return state
        config = self.run.config
        before = SafeState(**state.tax)
        tax = self.measure()
        safe = after_measurement(before, state.step, tax, config.tax.budget)
        self.hook.optimizer.pace = safe.pace
        kl_coef = state.kl_coef
        if kl_coef is not None:
            kl_coef = next_coefficient(kl_coef, tax, before.tax, config.tax.budget, config.loss.kl_coef)
        following = LoopState(
            self.hook.num_steps if safe.is_final else state.step, kl_coef=kl_coef, tax=asdict(safe)
        )
        self._report(state, following, safe, tax)
        return self._save(following) if safe.step == state.step else self._go_back(following, safe)

    def _save(self, state: LoopState) -> LoopState:
        """Write the state, which is within the budget, and remove those that nothing can go back to any more."""
        if state.step < self.hook.num_steps:  # after the last step the stage hands the model over
            world = self.run.world
            checkpoint.save(
                self.folder, self.hook.model, self.hook.optimizer, state, keep=sys.maxsize, world=world
            )
            to_keep = needed_steps(steps_in(self.folder), steps_in(self.folder.parent), state.step)
            self._remove(lambda step: step not in to_keep)
        return state

    def _remove(self, condition: Callable[[int], bool]) -> None:
        if self.run.world.is_first:
            for path in checkpoint.checkpoints(self.folder):
                if condition(step_of(path)):
                    remove_folder(path)
        self.run.world.wait()

    def _go_back(self, state: LoopState, safe: SafeState) -> LoopState:
        """Parameters and moments of the last state within the budget; counters, and with them the learning
        rate, go on.
        """
        path = checkpoint.path_of(self.folder, LoopState(safe.step))
        if cause := checkpoint.damage_of(path):
            raise InputError(
                f"{path}: {cause}, and the tax is beyond its budget; delete {self.folder.parent} to start this stage anew"
            )
        counters = {name: getattr(self.hook.optimizer, name) for name in checkpoint.COUNTERS}
        checkpoint.restore(path, self.hook.model, self.hook.optimizer)
        for name, value in counters.items():
            setattr(self.hook.optimizer, name, value)
        return state

    def _report(self, state: LoopState, following: LoopState, safe: SafeState, tax: float) -> None:
        """A row of the log and a line for the console."""
        budget = self.run.config.tax.budget
        gone_back = safe.step != state.step
        row = {
            "tax": tax,
            "tax_kept": safe.tax,
            "budget": budget,
            "rolled_back": int(gone_back),
            "ended": int(safe.is_final),
        }
        row["pace"] = safe.pace
        coefficients = {} if following.kl_coef is None else {"kl_coef": following.kl_coef}
        self.hook.log.note(f"{self.hook.log.stage}_tax", state.step - 1, row | coefficients)
        line = f"  tax after step {state.step}: {tax:.4f} nats per token of {budget:g}"
        line += (
            f"; back to the state after step {safe.step}, {safe.tax:.4f}; learning rate x {safe.pace:g}"
            if gone_back
            else ""
        )
        line += f"; next KL coefficient {following.kl_coef:.3g}" if following.kl_coef is not None else ""
        self.run.say(
            line
            + (f"; gone back {safe.strikes} times in a row, so training ends here" if safe.is_final else "")
        )


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-").partition(".")[0])


def steps_in(folder: Path) -> set[int]:
    """The steps of the checkpoints in a folder."""
    return {step_of(path) for path in checkpoint.checkpoints(folder)}


def needed_steps(within: Iterable[int], resumable: Iterable[int], now: int) -> set[int]:
    """Which of the states `within` the budget training can still go back to: that of `now`, and the newest one
    up to each `resumable` step.

    States after `now` are of a session that was killed, and are made again.

    >>> sorted(needed_steps([0, 5, 10, 15, 20], resumable=[7, 12], now=15))
    [5, 10, 15]
    """
    earlier = {step for step in within if step <= now}
    return {now} | {max(earlier & set(range(step + 1)), default=now) for step in resumable}
