"""What follows from several corpora: a run for each target language, and the stream that mixes their prompts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from data.examples import Example
from data.stream import MixedStream, PromptStream
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


def of_language(run: Run, examples: Sequence[Example]) -> list[Example]:
    """The examples that a run for one target language is about."""
    return [one for one in examples if run.language in ("", one.target_language)]


def stream_of(
    run: Run, examples: Sequence[Example], items: Sequence[Item], num_items: int
) -> PromptStream[Item] | MixedStream[Item]:
    """`num_items` of `items` a step, each made of the example in its place. Those of several corpora are drawn by the
    shares of [data], which the run says.
    """
    data = run.config.data
    if not data.corpora:
        return PromptStream(items, num_items, run.config.seed)
    corpora = {
        name: [item for item, one in zip(items, examples, strict=True) if one.origin == name]
        for name in data.corpora
    }
    shares = data.shares({name: len(own) for name, own in corpora.items()})
    run.say("drawn from " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    return MixedStream(corpora, shares, num_items, run.config.seed)
