"""Keeps training within its tax budget: measures the tax on general text, moves the KL coefficient, goes back
where it must.

The tax is the mean negative log-likelihood a token of the texts under the policy, less that under the model
it is counted from. The last state within the budget lies on disk as a checkpoint of its own, and of each
earlier one that a training checkpoint goes on from: so a run that was killed anywhere goes back to the same
bits as one that was not. What a probe decides is in grpo/stages/tax_controller.py.
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
from data.checksums import damage
from data.documents import read_object
from data.errors import InputError
from data.sources.general_texts import control_texts
from eval.forgetting.probes import text_ids
from grpo.engine.likelihood import first_ids, log_likelihoods
from grpo.engine.model import load_policy, parameter_hash
from grpo.engine.source import ModelSource
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime import checkpoint
from grpo.runtime.run_log import RunLog
from grpo.stages.context import Run, untouched_model
from grpo.stages.tax_controller import Kept, after, next_coefficient
from grpo.training import no_change

MAX_TOKENS = 96  # of a text: with 32 texts a measurement costs less than 3,100 tokens forward
FACTS = "tax.json"

Ids = list[list[int]]  # of each text


def guarded(
    run: Run,
    stage: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: Optimizer,
    num_steps: int,
    log: RunLog,
    state: LoopState,
) -> tuple[Callable[[LoopState], LoopState], LoopState]:
    """The control that keeps a training stage within `tax.budget`, and the state to begin from; without a
    budget, nothing changes.

    Raises InputError where the model is beyond the budget before the first step.
    """  # fmt: skip
    if not run.config.tax.budget:
        return no_change, state
    start = first_ids(tokenizer)
    texts = [text_ids(tokenizer, text)[:MAX_TOKENS] for text in texts_of(run)]
    zero = run.world.first_then_all(lambda: zero_nll(run, start, texts))
    guard = TaxGuard(
        run, run.checkpoints(stage) / "within_budget", model, optimizer, num_steps, log, start, texts, zero
    )
    return guard, guard.begin(state)


def texts_of(run: Run) -> list[str]:
    """The texts the budget is kept on. Raises InputError, also where no text is to be had."""
    return control_texts(run.config.tax.text, run.config.tax.texts, run.cache)


def mean_nll(model: PreTrainedModel, start: list[int], texts: Ids) -> float:
    """Nats a token over all texts. In fp32, whatever training computes in: a budget is smaller than the noise
    of bf16.
    """
    scores = log_likelihoods(model, [start] * len(texts), [[ids] for ids in texts])
    return -math.fsum(score for (score,) in scores) / sum(map(len, texts))


def zero_nll(run: Run, start: list[int], texts: Ids) -> float:
    """`mean_nll` of the model that the tax is counted from; computed once, kept in run/tax.json with what it
    depends on.
    """
    path = run.folder / FACTS
    against = run.config.tax.against
    digest = hashlib.sha256(json.dumps([start, texts]).encode()).hexdigest()
    if path.exists():
        facts = read_object(path)
        if (facts.get("against"), facts.get("texts_sha256")) != (against, digest) or not isinstance(
            facts.get("nll"), float
        ):
            raise InputError(
                f"{path}: this run's tax was counted on other texts; restore tax.text, or write run_dir=runs/another"
            )
        return facts["nll"]
    folder: Path | ModelSource = untouched_model(run) if against == "untouched" else run.warm_start
    model = load_policy(folder, run.compute.device, run.config.train.packed_attention)
    facts = {
        "against": against, "sha256": parameter_hash(model), "nll": mean_nll(model, start, texts),
        "texts": len(texts), "tokens": sum(map(len, texts)), "texts_sha256": digest,
    }  # fmt: skip
    atomic_write_text(path, json.dumps(facts, indent=1))
    return facts["nll"]


@dataclass
class TaxGuard:
    """The control of a training loop: called after each step with its state, it gives back the one to go on
    from.

    `folder` holds the last state within the budget, `texts` the token ids behind `start` that the tax is
    measured on, `zero` the mean NLL that it is counted from.
    """

    run: Run
    folder: Path
    model: PreTrainedModel
    optimizer: Optimizer
    num_steps: int
    log: RunLog
    start: list[int]
    texts: Ids
    zero: float

    def measure(self) -> float:
        """Nats a token that training has cost; the same in every process. What is no number counts as
        infinite.
        """
        with self.log.phase("tax"):
            tax = mean_nll(self.model, self.start, self.texts) - self.zero
            return self.run.world.largest({"tax": tax if math.isfinite(tax) else math.inf})["tax"]

    def begin(self, state: LoopState) -> LoopState:
        """The state with what the guard goes by; a resumed one has it, and what a session that was killed
        kept later is removed.
        """
        if state.tax:
            self.optimizer.pace = Kept(**state.tax).pace
            self._remove(lambda step: step > Kept(**state.tax).step)
            return state
        tax = self.measure()
        config = self.run.config.tax
        if not tax <= config.budget:
            raise InputError(
                f"tax.budget = {config.budget:g}: the warm start alone costs {tax:.3g} nats a token against the untouched model; lower "
                'sft.optim.lr or sft.num_steps under a new run_dir, raise the budget, or write tax.against="warm_start"'
            )
        self.run.say(
            f"tax before the first step: {tax:.4f} nats a token against {self.words()}, of a budget of {config.budget:g}"
        )
        return self._keep(replace(state, tax=asdict(Kept(state.step, tax))))

    def words(self) -> str:
        tokens = sum(map(len, self.texts))
        return f"the {self.run.config.tax.against.replace('_', ' ')} model on {len(self.texts)} texts of {tokens:,} tokens"

    def __call__(self, state: LoopState) -> LoopState:
        if state.step % self.run.config.tax.every and state.step < self.num_steps:
            return state
        config = self.run.config
        before = Kept(**state.tax)
        tax = self.measure()
        kept = after(before, state.step, tax, config.tax.budget)
        self.optimizer.pace = kept.pace
        kl_coef = state.kl_coef
        if kl_coef is not None:
            kl_coef = next_coefficient(kl_coef, tax, before.tax, config.tax.budget, config.loss.kl_coef)
        following = LoopState(
            self.num_steps if kept.is_final else state.step, kl_coef=kl_coef, tax=asdict(kept)
        )
        self._tell(state, following, kept, tax)
        return self._keep(following) if kept.step == state.step else self._go_back(following, kept)

    def _keep(self, state: LoopState) -> LoopState:
        """Write the state, which is within the budget, and remove those that nothing goes back to any
        more.
        """
        if state.step < self.num_steps:  # after the last step the stage hands the model over
            if self.run.world.is_first:
                checkpoint.save(self.folder, self.model, self.optimizer, state, keep=sys.maxsize)
            needed = needed_steps(steps_in(self.folder), steps_in(self.folder.parent), state.step)
            self._remove(lambda step: step not in needed)
        return state

    def _remove(self, unneeded: Callable[[int], bool]) -> None:
        if self.run.world.is_first:
            for path in checkpoint.checkpoints(self.folder):
                if unneeded(step_of(path)):
                    remove_folder(path)
        self.run.world.wait()

    def _go_back(self, state: LoopState, kept: Kept) -> LoopState:
        """Parameters and moments of the last state within the budget; counters, and with them the learning
        rate, go on.
        """
        path = checkpoint.path_of(self.folder, LoopState(kept.step))
        if cause := damage(path, checkpoint.NEEDED):
            raise InputError(
                f"{path}: {cause}, and the tax is beyond its budget; delete {self.folder.parent} to start this stage anew"
            )
        counters = {name: getattr(self.optimizer, name) for name in checkpoint.COUNTERS}
        self.optimizer.adamw.state.clear()
        checkpoint.restore(path, self.model, self.optimizer)
        for name, value in counters.items():
            setattr(self.optimizer, name, value)
        return state

    def _tell(self, state: LoopState, following: LoopState, kept: Kept, tax: float) -> None:
        """A row of the log and a line for the console."""
        budget = self.run.config.tax.budget
        gone_back = kept.step != state.step
        row = {
            "tax": tax,
            "tax_kept": kept.tax,
            "budget": budget,
            "rolled_back": int(gone_back),
            "ended": int(kept.is_final),
        }
        row["pace"] = kept.pace
        coefficients = {} if following.kl_coef is None else {"kl_coef": following.kl_coef}
        self.log.note(f"{self.log.stage}_tax", state.step - 1, row | coefficients)
        line = f"  tax after step {state.step}: {tax:.4f} nats a token of {budget:g}"
        line += (
            f"; back to the state after step {kept.step}, {kept.tax:.4f}; learning rate x {kept.pace:g}"
            if gone_back
            else ""
        )
        line += f"; next KL coefficient {following.kl_coef:.3g}" if following.kl_coef is not None else ""
        self.run.say(
            line
            + (f"; gone back {kept.strikes} times running, so training ends here" if kept.is_final else "")
        )


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-").partition(".")[0])


def steps_in(folder: Path) -> set[int]:
    """The steps of the checkpoints in a folder."""
    return {step_of(path) for path in checkpoint.checkpoints(folder)}


def needed_steps(within: Iterable[int], resumable: Iterable[int], now: int) -> set[int]:
    """Which of the states `within` the budget are still gone back to: that of `now`, and the newest before
    each `resumable` step.

    States after `now` are of a session that was killed, and are made again.

    >>> sorted(needed_steps([0, 5, 10, 15, 20], resumable=[7, 12], now=15))
    [5, 10, 15]
    """
    earlier = {step for step in within if step <= now}
    return {now} | {max(earlier & set(range(step + 1)), default=now) for step in resumable}
