"""The lengths of a prepared corpus for a bill that is made before the run has counted them: its range is then as narrow
as later.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from data.prepare import Corpus
from data.prompt import Prompt
from data.records import Chain, sample_of
from data.tokens import token_report
from grpo.config import Config, value_of
from grpo.stages.dry_run import Inputs, prompt_of
from grpo.stages.duration import counted_tokens
from grpo.stages.token_limits import FACT, LIMITS, limits_of

COUNTED = 2000  # examples give the medians


@contextmanager
def counted_config(config: Config, inputs: Inputs) -> Iterator[Config]:
    """The configuration for a bill: as it is where its run folder has counted tokens, or model or corpus are not there
    yet; else with a folder for the time of the bill, whose corpus.json has them. The run folder stays as it is.
    """
    if counted_tokens(config) or inputs.model is None or inputs.corpus is None:
        yield config
        return
    facts = corpus_file(config, inputs.corpus, prompt_of(config, inputs.model, inputs.corpus))
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
