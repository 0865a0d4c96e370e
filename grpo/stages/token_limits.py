"""Finds the limits on tokens that are 0 in the configuration: what 99 % of the texts to learn from need, and every prompt
of dev and test.

Measured once a run, on a sample of a large corpus, and kept in corpus.json: a resumed run has the same limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.examples import Example
from data.prepare import Corpus
from data.prompt import Prompt
from data.records import Chain, sample_of
from grpo.config import Config, value_of, with_numbers
from grpo.runtime.run_folder import corpus_facts
from grpo.stages.context import Run, corpus_of, load_prompt, untouched_model, write_corpus_facts
from grpo.stages.lengths import COMPLETION, ENOUGH, PROMPT, TOKENS, Counts, smallest

FACT = "limits"  # in corpus.json
NEW = "rollout.max_new_tokens"
OUTPUT = "eval.max_new_tokens"
LIMITS = {PROMPT: 96, COMPLETION: 32, NEW: 32, OUTPUT: 40}  # setting -> a guess before anything is measured


def with_limits(run: Run) -> Run:
    """The run with a number for each limit that is left to the corpus. Only the first process may measure; the others
    find its file.
    """
    names = [name for name in LIMITS if not value_of(run.config, name)]
    if not names:
        return run
    facts = corpus_facts(run.folder)
    if FACT not in facts:
        facts = {
            "manifest": corpus_of(run).manifest,
            **facts,
            FACT: limits_of(corpus_of(run), load_prompt(run, untouched_model(run))),
        }
        write_corpus_facts(run, facts)
        values = ", ".join(f"{name} = {facts[FACT][name]}" for name in names)
        run.say(
            f"limits from the corpus: {values} ({ENOUGH} % of what is learned, all prompts of dev and test)"
        )
    return replace(run, config=with_numbers(run.config, read_limits(facts[FACT], run.folder / "corpus.json")))


def read_limits(values: Any, path: Path) -> dict[str, int]:
    """What corpus.json says of the limits. Raises InputError for what no run has measured."""
    is_whole = isinstance(values, dict) and all(
        isinstance(values.get(name), int) and values[name] > 0 for name in LIMITS
    )
    if not is_whole:
        raise InputError(
            f"{path}: {FACT} = {values!r} was never measured; remove the file, and the next start "
            "measures anew"
        )
    return dict(values)


def limits_of(corpus: Corpus, prompt: Prompt) -> dict[str, int]:
    """A number for each limit: of prompts, and one for all that a model writes or learns."""
    learned_pairs = sample_of(Chain([corpus.warm_start, corpus.train]))
    others = [
        part for name, part in corpus.parts.items() if name not in ("warm_start", "train") and len(part)
    ]
    longest = [smallest(counts(PROMPT, learned_pairs, prompt))]
    longest += [int(counts(PROMPT, part, prompt).max()) for part in others]
    pairs = [one for one in learned_pairs if one.reference]
    written = max(smallest(counts(COMPLETION, part, prompt)) for part in (pairs, *others) if len(part))
    return {PROMPT: max(longest), COMPLETION: written, NEW: written, OUTPUT: written}


def counts(setting: str, examples: Sequence[Example], prompt: Prompt) -> Counts:
    """(n,) the tokens that each example has of what a setting limits."""
    return np.fromiter((TOKENS[setting](prompt, one) for one in examples), np.int32, len(examples))


def known_limits(config: Config) -> Mapping[str, int]:
    """The limits as the run folder has them; a guess before they are measured."""
    folder = Path(config.run_dir)
    values = corpus_facts(folder).get(FACT)
    return LIMITS if values is None else read_limits(values, folder / "corpus.json")
