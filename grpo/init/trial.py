"""Tries a first configuration on a small corpus before it is written: what the run would refuse is refused here."""

import tomllib

from data.cache import cache_dir
from data.console import silent
from data.errors import InputError
from data.manifest import size_lines
from data.prepare import prepare
from data.settings import build
from grpo.config import Config
from grpo.config_file import with_defaults
from grpo.init.corpus_facts import CorpusFacts
from grpo.init.model_facts import ModelFacts
from grpo.init.text import Answers, config_text
from grpo.runtime.device import Compute
from grpo.stages.dry_run import Inputs, prompt_lines
from grpo.stages.plan import known_model

TENTH, FIFTH = 10, 5  # of the pairs for the test set; a fifth where no near-duplicate group fits into a tenth


def text_that_fits(
    corpus: CorpusFacts, model: ModelFacts, pairs: int, compute: Compute, answers: Answers
) -> tuple[str, list[str]]:
    """The TOML text with the first sizes of test and dev that the corpus can be cut into, and remarks on them. A large
    corpus is not tried. Raises InputError in the words of the run.
    """
    text = config_text(corpus, model, pairs, compute, answers, TENTH)
    if corpus.has_more:
        return text, []
    try:
        return text, remarks(text)
    except InputError:
        text = config_text(corpus, model, pairs, compute, answers, FIFTH)
        return text, remarks(text)


def remarks(text: str) -> list[str]:
    """Prepare the corpus as the run does, and ask the model for a prompt where its folder is here; which parts are
    smaller than the text wants. Raises InputError.
    """
    values = tomllib.loads(text)
    config = with_defaults(build(Config, values, "init"), values)
    corpus = prepare(config.data, cache_dir(), say=silent)
    prompt_lines(config, Inputs(known_model(config), corpus))
    return size_lines(corpus.manifest)
