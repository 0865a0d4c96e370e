"""What happens around the steps of a training stage: resume from a checkpoint, save, score the dev set, stop,
export the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel

from data.cache import atomic_folder
from data.errors import Interrupted
from data.prompt import Prompt
from data.saved_prompt import kinds_of, save
from eval.alarms import all_alarms, current_alarms, is_look, of_reward, summary
from grpo.engine.halves import low_halves
from grpo.engine.licences import copy_licences
from grpo.engine.sharding import is_sharded
from grpo.engine.weight_files import FILE_BYTES, ModelTensors, TensorSource, write_folder
from grpo.optim import Optimizer
from grpo.records import LoopState
from grpo.runtime import checkpoint
from grpo.runtime.run_log import RunLog
from grpo.runtime.shared_folder import shared_folder
from grpo.stages.context import Run, corpus_of, greedy_texts, untouched_model, within_limit
from grpo.stages.dev_metric import dev_metric
from grpo.training import RewardFunction, Rewards, reward_examples

Scores = dict[str, float]
Stage = Literal["sft", "train"]


def resume(run: Run, stage: str, model: PreTrainedModel, optimizer: Optimizer) -> LoopState:
    """The state of a stage's newest whole checkpoint, which is loaded into model and optimiser; a fresh state
    where there is none.
    """
    folder = run.world.first_then_all(lambda: checkpoint.newest(run.checkpoints(stage), run.say))
    if folder is None:
        log = run.log_folder / "metrics.jsonl"
        if log.exists() and f'"stage": "{stage}", "step": 0,' in log.read_text(
            encoding="utf-8", errors="replace"
        ):
            run.say(
                f"{stage} was begun before and nothing of it was saved (checkpoint.every), so it begins anew"
            )
        return LoopState()
    state = checkpoint.restore(folder, model, optimizer)
    run.say(
        f"resuming {stage} at step {state.step}"
        + (f", after {state.update} of its updates" if state.update else "")
    )
    return state


def open_log(run: Run, stage: str, state: LoopState, num_steps: int, shown: Mapping[str, str]) -> RunLog:
    """The log of a stage that goes on from `state`; `shown` as in `RunLog`. Only the first process shows it."""
    return RunLog(
        run.log_folder,
        stage,
        state.step,
        num_steps,
        shown,
        quiet=run.is_silent,
        report=run.world.report,
        to=() if run.is_silent else run.config.log.to,
    )


@dataclass
class UpdateHook:
    """What the loops call after every update. It raises alarms, scores the dev set and saves checkpoints when
    they are due, and saves and returns True, which ends the loop, when the user asks to stop.

    state      of the last call, which `save` writes; the model is in it until the next update begins
    score      the figures of the dev set; the best checkpoint is that of the highest `eval.best_by`
    snapshots  called after each step with the number of steps done
    alarms     said since this start, each with whether a full window was judged
    notes      by the name of an alarm: what this run adds to its sentence
    is_at_work between the end of an update and the begin of the next one
    """

    run: Run
    stage: Stage
    model: PreTrainedModel
    optimizer: Optimizer
    num_steps: int
    log: RunLog
    state: LoopState
    score: Callable[[], Scores] | None = None
    snapshots: Callable[[int], None] | None = None
    last_score: float | None = None
    alarms: set[str] = field(default_factory=set)  # of this start
    notes: Mapping[str, str] = field(default_factory=dict)
    is_at_work: bool = False

    @property
    def best_by(self) -> str:
        return self.run.config.eval.best_by

    @property
    def is_repeatable(self) -> bool:
        """Whether the model is in `state`, which is not the first one, and all that belongs to it is done."""
        is_whole = not self.is_at_work and not self.optimizer.is_changing and self.log.step == self.state.step
        return is_whole and self.optimizer.update > 0

    def __call__(self, state: LoopState) -> bool:
        self.state = state
        self.is_at_work = True
        stopping = self.run.is_stopping()
        if state.update == 0:
            self._after_step()
        if stopping and state.step < self.num_steps:
            self.save()
        self.is_at_work = False
        return stopping

    def _after_step(self) -> None:
        step = self.state.step
        every = self.run.config.checkpoint.every
        self._raise_alarms(step)
        if self.snapshots:  # before the checkpoint, as a resumed run does not come to this step again
            self.snapshots(step)
        best = (
            self._score_dev_set()
            if self.score and (step == self.num_steps or step % self.run.config.eval.every == 0)
            else None
        )
        if step < self.num_steps and (best is not None or (every > 0 and step % every == 0)):
            self.save(best)

    def _raise_alarms(self, step: int) -> None:
        """Say each alarm once a start, and the names of all at the end."""
        if not is_look(step, self.num_steps):
            return
        rows = of_reward(self.log.rows, asdict(self.run.config.reward))
        for name, sentence in current_alarms(rows).items():
            if name not in self.alarms:
                self.alarms.add(name)
                self.run.say(f"ALARM step {step}: {sentence}{self.notes.get(name, '')}")
        if step == self.num_steps and (rules := all_alarms(rows)):
            self.run.say(summary(rules))

    def _score_dev_set(self) -> float | None:
        """Log the figures of the dev set; returns the score where it is the best so far, else None."""
        assert self.score is not None
        with self.log.phase("dev"):
            scores = self.score()
        self.last_score = scores["reward_mean" if self.best_by == "reward" else self.best_by]
        self.log.note(f"{self.log.stage}_dev", self.state.step - 1, scores)
        self.run.say(
            f"  dev after step {self.state.step}: "
            + "  ".join(f"{name} {scores[name]:.3f}" for name in list(scores)[:3])
        )
        before = checkpoint.best(self.run.checkpoints(self.stage), self.best_by)
        is_best = before is None or self.last_score > before[1]
        return self.last_score if self.run.world.any(self.run.world.is_first and is_best) else None

    def save(self, best: float | None = None) -> None:
        """Write the checkpoint of `state`, unless it is there."""
        folder = self.run.checkpoints(self.stage)
        self.log.sync()  # what a checkpoint covers must not be lost from the log
        world = self.run.world
        if world.any(world.is_first and checkpoint.path_of(folder, self.state).exists()):
            return
        with self.log.phase("save"):
            checkpoint.save(
                folder,
                self.model,
                self.optimizer,
                self.state,
                keep=self.run.config.checkpoint.keep,
                best=best,
                best_by=self.best_by,
                world=world,
            )


def dev_score(
    run: Run, policy: PreTrainedModel, prompt: Prompt, reward: RewardFunction | Rewards
) -> Callable[[], Scores] | None:
    """Greedy outputs on the first `eval.dev_items` of the dev set under `eval.best_by` and the run's own reward; None when
    `eval.every` is 0.
    """
    config = run.config.eval
    if not config.every:
        return None
    examples = within_limit(corpus_of(run).dev, prompt, run.config.model.max_prompt_tokens)[
        : config.dev_items
    ]
    if not examples:
        return None

    metric = dev_metric(run)

    def score() -> Scores:
        outputs = greedy_texts(run, policy, prompt, examples)
        rewards, terms = reward_examples(reward, examples, outputs, 1)
        own: Scores = {} if metric is None else {config.best_by: metric(examples, outputs)}
        return {
            **own,
            "reward_mean": float(rewards.nanmean()),
            **{f"{name}_mean": float(values.nanmean()) for name, values in terms.items()},
        }

    return score


def check_end(run: Run, state: LoopState, num_steps: int) -> None:
    """Raises Interrupted where a stage was stopped before its last step."""
    if state.step < num_steps:
        raise Interrupted(run.stop.signal)


def finish(run: Run, stage: str, model: PreTrainedModel, prompt: Prompt, target: Path) -> None:
    """Save the trained model as a plain transformers folder, and remove the stage's checkpoints."""
    with shared_folder(target, run.world) as work:  # it appears whole or not at all
        write_model(run, model, prompt, work)
    if run.world.is_first:
        checkpoint.clear(run.checkpoints(stage))
    run.world.wait()


def write_model(
    run: Run, model: PreTrainedModel, prompt: Prompt, work: Path, source: TensorSource | None = None
) -> None:
    """The files of a transformers folder, with the licence texts of the untouched model, into `work`. Every
    process calls this; the first one writes. `source`: tensors other than those of the model.

    Its end tokens are the one that was trained, and those that the untouched model has.
    """
    model.config.use_cache = True
    name_ends(model, prompt)
    if source or is_sharded(model) or low_halves(model):
        write_folder(work if run.world.is_first else None, model, source or ModelTensors(model))
    elif run.world.is_first:
        model.save_pretrained(work, max_shard_size=FILE_BYTES)
    model.config.use_cache = False
    if not run.world.is_first:
        return
    save(prompt, kinds_of(corpus_of(run).train), work, run.config.data.normalise)
    if folder := untouched_model(run).folder:
        copy_licences(folder, work)


def name_ends(model: PreTrainedModel, prompt: Prompt) -> None:
    """Write the end token that was trained as the first one into both settings of a model, and a padding token for
    generating.

    The padding token of config.json stays: a model that is loaded gives the row of that token no gradient.
    """
    settings = model.generation_config
    if settings is None:
        return
    tokenizer = prompt.tokenizer
    tokens = [prompt.end, int(tokenizer.eos_token_id)]
    for ends in (settings.eos_token_id, model.config.get_text_config().eos_token_id):
        tokens += ends if isinstance(ends, list) else [] if ends is None else [ends]
    ends = list(dict.fromkeys(tokens))
    settings.eos_token_id = model.config.eos_token_id = ends if len(ends) > 1 else ends[0]
    if settings.pad_token_id is None:
        pad = tokenizer.pad_token_id
        settings.pad_token_id = tokenizer.eos_token_id if pad is None else pad


def export_best(hook: UpdateHook, prompt: Prompt, target: Path) -> None:
    """Export the best checkpoint to `target` where it did better on the dev set than the last step."""
    run = hook.run
    best = checkpoint.best(run.checkpoints(hook.stage), hook.best_by)
    if not run.world.is_first or hook.last_score is None or best is None or best[1] <= hook.last_score:
        return
    path, score = best
    if cause := checkpoint.damage_of(path):
        run.say(f"{path}, the best on the dev set, cannot be saved as {target.name}/: {cause}")
        return
    with atomic_folder(target) as work:
        write_model(run, hook.model, prompt, work, checkpoint.SavedModel(path, hook.model))
    run.say(
        f"{path.name} did better on the dev set ({score:.3f}, the end {hook.last_score:.3f}); it is saved as {target.name}/"
    )
