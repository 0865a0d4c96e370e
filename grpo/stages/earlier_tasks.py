"""The tasks that a model has learned in earlier runs, as texts that an anchor keeps it to.

`model.policy` may be the policy of a run, whose own model.policy may be that of another run, and so on. Each of these
runs has a corpus, and prompt.json beside its policy says in which words it was asked.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from data.documents import read_object, user_path
from data.errors import InputError
from data.examples import Example
from data.saved_prompt import load
from data.settings import build
from grpo.config import Config
from grpo.old_names import current_table
from grpo.runtime.run_folder import CONFIG, run_of
from grpo.stages.context import Run, corpus_of

EARLIER_TASKS = "earlier_tasks"  # its name in anchor.sources


@dataclass(frozen=True)
class EarlierTask:
    """What a model has learned in one run: its pairs of training, and the policy's folder with its prompt."""

    run: Path
    policy: Path
    pairs: Sequence[Example]


def earlier_tasks(run: Run) -> list[EarlierTask]:
    """The tasks of the runs that the model of a run comes from, the latest first; [] for a model of no run.

    Raises InputError where the pairs of one cannot be had again, or are others than it was trained on.
    """
    tasks: list[EarlierTask] = []
    policy = user_path(run.config.model.policy)
    while folder := run_of(policy):
        config = config_of(folder)
        try:
            corpus = corpus_of(replace(run, config=config, folder=folder, language=""))
        except InputError as error:
            raise InputError(
                f"anchor.sources.{EARLIER_TASKS}: the pairs of {folder} cannot be had again: {error}"
            ) from error
        tasks.append(EarlierTask(folder, policy, [*corpus.warm_start, *corpus.train]))
        policy = user_path(config.model.policy)
    return tasks


def config_of(folder: Path) -> Config:
    """The configuration in a run folder. Raises InputError."""
    path = folder / CONFIG
    config: Config = build(Config, current_table(read_object(path), str(path)), str(path))
    return config


def texts_of_tasks(run: Run, tokenizer: PreTrainedTokenizerBase, count: int) -> list[list[int]]:
    """Token ids of about `count` pairs, as many of each earlier task: the prompt as its policy was asked, and the first
    reference text. A fixed choice by the seed. The start token is left out: it stands before every text of an anchor.
    """
    tasks = earlier_tasks(run)
    names = ", ".join(str(task.run) for task in tasks) or "none, as model.policy is the policy of no run"
    run.say(f"{EARLIER_TASKS}: {names}")
    texts = []
    for task in tasks:
        prompt = load(task.policy, tokenizer)
        pairs = [*task.pairs]
        random.Random(run.config.seed).shuffle(pairs)
        for pair in pairs[: max(1, round(count / len(tasks)))]:
            asked, answer = prompt.encode_pair(pair)
            is_start = asked[:1] == [tokenizer.bos_token_id]
            texts.append([*asked[is_start:], *answer])
    return texts
