"""What follows from several corpora: a run for each target language, and the stream that mixes their prompts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from data.examples import Example
from data.records import Selection, examples_where
from data.stream import MixedStream, PromptStream
from grpo.config import Config
from grpo.stages.context import Run

Item = TypeVar("Item")


def runs_by_language(run: Run) -> dict[str, Run]:
    """The run for each target language, with that language's encoder; `run` itself where there is one."""
    reward = run.config.reward
    languages = list(run.config.data.completion_languages)
    configs = {
        language: replace(
            run.config, reward=replace(reward, encoder=reward.encoders.get(language, reward.encoder))
        )
        for language in languages
    }
    return {
        language: replace(run, config=config, language=language if len(languages) > 1 else "")
        for language, config in configs.items()
    }


def encoder_setting(config: Config, language: str) -> str:
    """The setting that names the encoder for a target language."""
    is_own = language in config.reward.encoders
    return f"reward.encoders.{language}" if is_own else "reward.encoder"


def of_language(run: Run, examples: Sequence[Example]) -> Sequence[Example]:
    """The examples that a run for one target language is about."""
    if not run.language:
        return examples
    return examples_where(examples, lambda one: one.target_language == run.language)


def repeat_note(setting: str, num_items: int, num_pairs: int) -> str:
    """A sentence where a step has more pairs than there are, else ""."""
    if num_items <= num_pairs:
        return ""
    return (
        f"{setting} = {num_items} is more than the {num_pairs} pairs to learn from, so a step has pairs twice; "
        f"write {setting}={num_pairs}, or give more pairs"
    )


def stream_of(
    run: Run,
    examples: Sequence[Example],
    items: Sequence[Item],
    num_items: int,
    setting: str = "rollout.num_prompts",
) -> PromptStream[Item] | MixedStream[Item]:
    """`num_items` of `items` a step, each made of the example in its place. Those of several corpora are drawn by the
    shares of [data], which the run says. `setting` gives `num_items`.
    """
    if note := repeat_note(setting, num_items, len(items)):
        run.say(f"NOTE: {note}")
    data = run.config.data
    if not data.corpora:
        return PromptStream(items, num_items, run.config.seed)
    names = [*data.corpora]
    origins = np.fromiter((names.index(one.origin) for one in examples), np.int64, len(examples))
    corpora = {name: Selection(items, np.flatnonzero(origins == i)) for i, name in enumerate(names)}
    shares = data.shares({name: len(own) for name, own in corpora.items()})
    run.say("drawn from " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    return MixedStream(corpora, shares, num_items, run.config.seed)
