"""The tasks that a model has learned in earlier runs, as texts that an anchor keeps it to.

`model.policy` may be the policy of a run, whose own model.policy may be that of another run, and so on. Each of these
runs has a corpus, and prompt.json beside its policy says in which words it was asked.
"""

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from data.documents import read_object, user_path
from data.errors import InputError
from data.examples import Example
from data.prompt_record import FILE as PROMPT
from data.saved_prompt import load, template_of
from data.settings import build
from grpo.config import EARLIER_TASKS, Config
from grpo.engine.model import load_tokenizer
from grpo.old_names import current_table
from grpo.runtime.run_folder import CONFIG, INPUTS, run_of
from grpo.stages.context import Run, corpus_of

OR_NOT = "or make an empty folder there, to leave out what came before"


@dataclass(frozen=True)
class EarlierTask:
    """What a model has learned in one run: its pairs of training, and the policy's folder with its prompt."""

    run: Path
    policy: Path
    pairs: Sequence[Example]


def earlier_runs(run: Run) -> list[tuple[Path, Run]]:
    """The policies that the model of a run comes from, the latest first, and the run of each; [] for a model of no run.

    Raises InputError where a run began from the policy of one that is no longer there.
    """
    runs: list[tuple[Path, Run]] = []
    policy = user_path(run.config.model.policy)
    while policy.is_dir() and (folder := run_of(policy)):
        if any(folder.samefile(one.folder) for _, one in runs):
            raise InputError(
                f"anchor.sources.{EARLIER_TASKS}: {folder} began from {policy}, where it is itself now; give the folder another "
                f"name, and put the earlier run there, {OR_NOT}"
            )
        whole = run.cache.absolute()  # the folder of work changes for an earlier run's pairs
        runs.append((policy, replace(run, config=config_of(folder), folder=folder, cache=whole, language="")))
        policy = start_of(runs[-1][1]) / user_path(runs[-1][1].config.model.policy)
    if runs and not policy.exists() and began_from_a_run(runs[-1][1].folder):
        raise InputError(
            f"anchor.sources.{EARLIER_TASKS}: {runs[-1][1].folder} began from {policy}, which is not there; put it back, start in the "
            f"folder where that run was started, {OR_NOT}"
        )
    return runs


def began_from_a_run(folder: Path) -> bool:
    """Whether the model that a run began from was a policy: it had a prompt beside it."""
    path = folder / INPUTS
    files = read_object(path).get("model.policy") if path.exists() else None
    return isinstance(files, dict) and any(Path(name).name == PROMPT for name in files)


def earlier_tasks(run: Run) -> list[EarlierTask]:
    """The tasks of `earlier_runs`.

    Raises InputError where the pairs of one cannot be had again, or are others than it was trained on.
    """
    tasks = []
    for policy, earlier in earlier_runs(run):
        with pairs_of(earlier):
            corpus = corpus_of(earlier)
        tasks.append(EarlierTask(earlier.folder, policy, [*corpus.warm_start, *corpus.train]))
    return tasks


@contextmanager
def pairs_of(earlier: Run) -> Iterator[None]:
    """In the folder where an earlier run was started, as the ids of its pairs hold its paths. Raises InputError with the
    name of the run where its pairs are refused.
    """
    start = start_of(earlier)
    try:
        with chdir(start):
            yield
    except InputError as error:
        raise InputError(
            f"anchor.sources.{EARLIER_TASKS}: the pairs of {earlier.folder} cannot be had again: {error}; its relative paths count "
            f"from {start}"
        ) from error


def start_of(run: Run) -> Path:
    """The folder in which a run was started, if its run_dir counts from there; else the folder of now."""
    own = Path(run.config.run_dir)
    place = Path(os.path.abspath(run.folder))
    start = Path(*place.parts[: len(place.parts) - len(own.parts)])
    is_here = own.resolve() == place.resolve()  # also through a link, which run_of follows
    return start if not (own.is_absolute() or is_here) and start / own == place else Path.cwd()


def config_of(folder: Path) -> Config:
    """The configuration in a run folder. Raises InputError."""
    path = folder / CONFIG
    config: Config = build(Config, current_table(read_object(path), str(path)), str(path))
    return config


def texts_of_tasks(run: Run, tokenizer: PreTrainedTokenizerBase, count: int) -> list[list[int]]:
    """Token ids of about `count` pairs, as many of each earlier task: the prompt as its policy was asked, and the first
    reference text. A fixed choice by the seed; a task that has fewer has them several times. The start token is left out:
    it stands before every text of an anchor.
    """
    tasks = earlier_tasks(run)
    names = ", ".join(str(task.run) for task in tasks) or "none, as model.policy is the policy of no run"
    run.say(f"{EARLIER_TASKS}: {names}")
    texts = []
    for task in tasks:
        with template_of(tokenizer, load_tokenizer(task.policy).chat_template):  # a later run writes its own
            prompt = load(task.policy, tokenizer)
        pairs = [*task.pairs]
        random.Random(run.config.seed).shuffle(pairs)
        for pair in islice(cycle(pairs), max(1, round(count / len(tasks)))):
            asked, answer = prompt.encode_pair(pair)
            is_start = asked[:1] == [tokenizer.bos_token_id]
            texts.append([*asked[is_start:], *answer])
    return texts
