"""Opens everything that a configuration names, for `--check`: what would stop the run stops the check, with the same
sentence.

Nothing is trained and nothing is downloaded. A corpus of the user's own is prepared, and the run finds it prepared.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from data.cache import cache_dir
from data.config import BUILT_IN, DataConfig
from data.console import say, silent
from data.documents import read_object
from data.model_folder import check_model_folder
from data.prepare import RULES, Corpus, load, prepare
from data.prompt import Prompt
from data.records import Chain, sample_of
from data.sources.headlines import HEADLINES
from data.sources.package_corpus import INTERFACES
from data.template import Wording
from data.tokens import token_report
from grpo.config import EARLIER_TASKS, Config, value_of, with_numbers
from grpo.engine.model import load_policy, load_tokenizer
from grpo.engine.self_check import Need, check_positions
from grpo.runtime.device import Compute
from grpo.runtime.interrupt import StopRequest
from grpo.runtime.run_folder import check_place, check_settings
from grpo.stages.context import Run, check_unchanged, prompt_of, shots_and_others
from grpo.stages.duration import counted_tokens
from grpo.stages.earlier_tasks import earlier_runs, pairs_of
from grpo.stages.lengths import fits, needs
from grpo.stages.plan import known_model
from grpo.stages.prepare import check_inputs, check_names, check_pairs
from grpo.stages.token_limits import FACT, LIMITS, limits_of

LACKS_MODEL = "prompt       not shown: the model's folder is not there yet (the stage model makes it)"
SHOWN_IDS = (300, 100)  # of a long prompt, the first and the last
COUNTED = 2000  # examples give the medians
LACKS_CORPUS = "prompt       not shown: the corpus is not prepared yet (the stage data does it)"


@dataclass(frozen=True)
class Inputs:
    """What a configuration names and is there already: the model's folder and the prepared corpus."""

    model: Path | None
    corpus: Corpus | None

    @property
    def pairs(self) -> int | None:
        """Pairs to train on, where the corpus is there."""
        return len(self.corpus.warm_start) + len(self.corpus.train) if self.corpus else None


def open_inputs(config: Config, compute: Compute) -> Inputs:
    """Open everything that is here. Raises InputError as the run would."""
    run = Run(config, Path(config.run_dir), cache_dir(), compute, StopRequest(), silent)
    check_place(run.folder)
    check_settings(config, run.folder)
    check_names(run)
    check_inputs(run, is_run=False)
    model = known_model(config)
    if model:
        check_model_folder(model, AutoModelForCausalLM)
        load_tokenizer(model)
    corpus = prepared_corpus(config)
    if corpus:
        check_unchanged(run, corpus)
        check_pairs(config, corpus)
    if config.trains_on_general_text and EARLIER_TASKS in config.anchor.sources:
        check_earlier_tasks(run)
    return Inputs(model, corpus)


def check_earlier_tasks(run: Run) -> None:
    """Raises InputError where the pairs of an earlier run are not there, or have changed."""
    for _, earlier in earlier_runs(run):
        with pairs_of(earlier):
            corpus = prepared_corpus(earlier.config, silent)
            if corpus:
                check_unchanged(earlier, corpus)


def prompt_lines(config: Config, inputs: Inputs) -> list[str]:
    """How many texts are over a length limit, and a rendered prompt with its token ids; or one line that says why
    there is none. Raises InputError where the model cannot be asked as [prompt] says, or no text is within the limits.
    """
    if inputs.model is None:
        return [LACKS_MODEL]
    if inputs.corpus is None:
        return [LACKS_CORPUS]
    shots, others = shots_and_others(config, inputs.corpus)
    prompt = prompt_of(inputs.model, Wording.of(config.prompt, shots))
    config = with_numbers(config, limits_of(inputs.corpus, prompt))
    parts = fits(inputs.corpus, prompt, config)
    reports = [part.check().report() for part in parts.values()]
    reports.append(position_line(inputs.model, needs(parts, prompt, config)))
    return [
        *filter(None, reports),
        *prompt.lines(others[0]),
        f"token ids: {ids_in_words(prompt.encode_prompt(others[0]))}",
    ]


def ids_in_words(ids: Sequence[int]) -> str:
    """Token ids; of many the first and the last ones.

    >>> ids_in_words(range(1000)).split()[299:302]
    ['299', '...', '900']
    """
    if len(ids) <= SHOWN_IDS[0] + SHOWN_IDS[1]:
        return " ".join(map(str, ids))
    return f"{' '.join(map(str, ids[: SHOWN_IDS[0]]))} ... {' '.join(map(str, ids[-SHOWN_IDS[1] :]))}"


def position_line(folder: Path, texts: list[Need]) -> str:
    """A line where texts need more positions than the model was made for, else "". Raises InputError where it has no
    more; its weights are read only to see that.
    """
    shape = AutoConfig.from_pretrained(folder).get_text_config()
    if not 0 < (getattr(shape, "max_position_embeddings", None) or 0) < max(texts).tokens:
        return ""
    line = check_positions(load_policy(folder, torch.device("cpu")), texts)
    return line and f"NOTE: {line}"


def prepared_corpus(config: Config, say: Callable[[str], None] = say) -> Corpus | None:
    """The corpus of the configuration from the cache; the user's own files are prepared where they are not yet. None
    where packages would have to be obtained.
    """
    manifests = (cache_dir() / "corpus").glob("*/manifest.json")
    if all(map(is_own_file, config.data.members.values())):
        return prepare(config.data, cache_dir(), say=say)
    for path in sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True):
        if is_manifest_of(read_object(path), config.data):
            return load(path.parent)
    return None


def is_manifest_of(facts: dict[str, Any], config: DataConfig) -> bool:
    """Whether a corpus was prepared by these settings and today's rules. A setting that is younger than the corpus had
    the value that is its default now.
    """
    defaults, settings = (json.loads(json.dumps(asdict(one))) for one in (DataConfig(), config))
    own = facts.get("config")
    return isinstance(own, dict) and (defaults | own, facts.get("rules")) == (settings, RULES)


def is_own_file(config: DataConfig) -> bool:
    """Whether the corpus is a file of the user's."""
    return config.pairs not in (BUILT_IN, *INTERFACES, *HEADLINES)


@contextmanager
def counted_config(config: Config, inputs: Inputs) -> Iterator[Config]:
    """The configuration for a bill: as it is where its run folder has counted tokens, or model or corpus are not there
    yet; else with a folder for the time of the bill, whose corpus.json has them. The run folder stays as it is.
    """
    if counted_tokens(config) or inputs.model is None or inputs.corpus is None:
        yield config
        return
    shots, _ = shots_and_others(config, inputs.corpus)
    prompt = prompt_of(inputs.model, Wording.of(config.prompt, shots))
    facts = corpus_file(config, inputs.corpus, prompt)
    with TemporaryDirectory() as folder:
        (Path(folder) / "corpus.json").write_text(json.dumps(facts), encoding="utf-8")
        yield replace(config, run_dir=folder)


def corpus_file(config: Config, corpus: Corpus, prompt: Prompt) -> dict[str, object]:
    """What corpus.json of a run says of its corpus, as far as a bill reads it."""
    examples = sample_of(Chain([*corpus.parts.values()]), COUNTED)
    tokens = token_report(prompt, examples, config.model.max_prompt_tokens, config.rollout.max_new_tokens)
    is_open = any(not value_of(config, name) for name in LIMITS)
    limits = {FACT: limits_of(corpus, prompt)} if is_open else {}
    return {"manifest": corpus.manifest, "tokens": tokens, **limits}
