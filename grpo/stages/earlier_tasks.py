"""The tasks that a model has learned in earlier runs, as texts that an anchor keeps it to.

`model.policy` may be the policy of a run, whose own model.policy may be that of another run, and so on. Each of these
runs has a corpus, and prompt.json beside its policy says in which words it was asked.
"""

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

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

FILES = {  # section: settings that name files
    "data": {"corpus", "train", "warm_start", "dev", "test", "tests", "prompts"},
    "model": {"policy"},
}
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
        runs.append((policy, replace(run, config=config_of(folder), folder=folder, language="")))
        policy = user_path(runs[-1][1].config.model.policy)
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
    """Raises InputError with the name of an earlier run where its pairs are refused."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"anchor.sources.{EARLIER_TASKS}: the pairs of {earlier.folder} cannot be had again: {error}; a relative path "
            f"counts from the folder where that run was started: start there, or write the whole path into {earlier.folder / CONFIG}"
        ) from error


def config_of(folder: Path) -> Config:
    """The configuration in a run folder. Its relative paths count from where the run was started, as far as that is
    known. Raises InputError.
    """
    path = folder / CONFIG
    table = current_table(read_object(path), str(path))
    start = start_of(folder, table.get("run_dir"))
    for section, keys in FILES.items():
        if start and isinstance(table.get(section), dict):
            table[section] = from_start(table[section], keys, start)
    config: Config = build(Config, table, str(path))
    return config


def start_of(folder: Path, run_dir: Any) -> Path | None:
    """The folder in which the run in `folder` was started; None where a whole path, or a move, leaves that unknown."""
    own = Path(run_dir) if isinstance(run_dir, str) else Path("/")
    place = Path(os.path.abspath(folder))
    start = Path(*place.parts[: len(place.parts) - len(own.parts)])
    return start if not own.is_absolute() and start / own == place else None


def from_start(settings: dict[str, Any], keys: set[str], start: Path) -> dict[str, Any]:
    """Settings in which those of `keys`, also of tables below, name the files that lie there seen from `start`."""

    def moved(value: Any) -> Any:
        match value:
            case str():
                names = [name.strip() for name in value.split(",")]
                return ",".join(
                    str(start / name) if name and (start / name).exists() else name for name in names
                )
            case list():
                return [*map(moved, value)]
            case dict():
                return {name: moved(one) for name, one in value.items()}
        return value

    tables = {name: from_start(one, keys, start) for name, one in settings.items() if isinstance(one, dict)}
    return settings | tables | {name: moved(settings[name]) for name in keys & settings.keys()}


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
