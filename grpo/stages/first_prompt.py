"""The first prompt of a run before it starts, for `--check`: from a model folder and a corpus that are there."""

import json
from dataclasses import asdict
from pathlib import Path

from data.cache import cache_dir
from data.console import silent
from data.documents import read_object
from data.prepare import RULES, Corpus, load, prepare
from data.prompt import Prompt
from data.saved_prompt import model_ends
from data.template import Wording
from grpo.config import Config
from grpo.engine.model import load_tokenizer
from grpo.stages.context import shots_and_others
from grpo.stages.plan import lines_of

FEW_LINES = 50_000  # of a user's file that is prepared for this in seconds; the run finds it prepared


def prompt_lines(config: Config, model: Path | None) -> list[str]:
    """A rendered prompt with its token ids, or one line that says why there is none. Raises InputError where the
    model cannot be asked as [prompt] says.
    """
    if model is None or not (model / "config.json").is_file():
        return ["prompt       not shown: the model's folder is not there yet (the stage model makes it)"]
    corpus = prepared_corpus(config)
    if corpus is None:
        return ["prompt       not shown: the corpus is not prepared yet (the stage data does it)"]
    shots, others = shots_and_others(config, corpus)
    tokenizer = load_tokenizer(model)
    prompt = Prompt.of(tokenizer, Wording.of(config.prompt, shots), model_ends(model, tokenizer))
    return [*prompt.lines(others[0]), f"token ids: {' '.join(map(str, prompt.encode_prompt(others[0])))}"]


def prepared_corpus(config: Config) -> Corpus | None:
    """The corpus of the configuration from the cache; a user's file of few lines is prepared. None where neither
    can be. Nothing is downloaded.
    """
    settings = json.loads(json.dumps(asdict(config.data)))
    manifests = (cache_dir() / "corpus").glob("*/manifest.json")
    for path in sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True):
        facts = read_object(path)
        if (facts.get("config"), facts.get("rules")) == (settings, RULES):
            return load(path.parent)
    counts = [lines_of(one.pairs) for one in config.data.members.values()]
    is_small = min(counts) > 0 and sum(counts) <= FEW_LINES
    return prepare(config.data, cache_dir(), say=silent) if is_small else None
