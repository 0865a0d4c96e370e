"""The whole reward as one object, for a notebook or for another trainer: texts in, one number a completion out.

    reward = SemanticReward(language="zh", encoder="use")
    rewards = reward(sources, completions, references)

It is the reward of a run (reward/combine.py) with the defaults of section [reward], less what a run computes
for its log only.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.cache import cache_dir
from data.errors import InputError
from data.script import known_script
from reward.combine import Reward, RewardConfig, check, find_term, fitted_gate, keywords, make_reward
from reward.cosine import Vectors
from reward.embedding import EmbeddingStore
from reward.encoder import Encoder, load_encoder
from reward.faults import NamedEncoder
from reward.hubness import build_bank
from reward.language import LanguageGate
from reward.learned.scores import Metrics
from reward.source_length import measure_bounds

# settings of [reward] that a run needs and this does not
OF_A_RUN = ("encoder", "encoders", "held_out", "control", "metric_share")


class SemanticReward:
    """The reward of completions in `language`, any code of BCP 47.

    encoder    a name of `reward.encoder`, or an object with its three members
    texts      reference texts that are known before: they are embedded now, and the terms `rank` and `margin`
               compare a completion with all of them
    held_out   a second encoder, for the term `cosine_held_out`
    terms      functions of your own by name, to be used in `weights` and `gates` (reward.trl.as_term makes one)
    folder     where vectors are kept from process to process; None = in memory only
    settings   of section [reward]: weights, gates, normalise, threshold (a number), min_share, identifier,
               metrics, settings, shown

    `function` is what the training loop takes. Raises InputError for what cannot work.
    """

    def __init__(
        self,
        language: str,
        encoder: str | Encoder = "use",
        *,
        texts: Sequence[str] = (),
        held_out: str | Encoder | None = None,
        terms: Mapping[str, Callable[..., Any]] | None = None,
        device: str = "cpu",
        folder: Path | None = None,
        **settings: Any,
    ) -> None:
        self.config = config_of(settings)
        threshold = self.config.threshold
        if isinstance(threshold, str):
            raise InputError(f"threshold = {threshold!r} is measured by a run; give a number, such as 0.1")
        if self.config.normalise == "dev":
            raise InputError('normalise = "dev" is measured by a run; give true, "rank" or false')
        check(self.config, language, "language", terms or {})
        takes_bank = [
            one
            for one in self.config.names
            if "bank" in keywords(find_term(one, terms or {}, self.config.metrics))
        ]
        if takes_bank and not texts:
            raise InputError(
                f"{takes_bank[0]} compares with other reference texts; give SemanticReward(texts=...)"
            )
        self.language = language
        self.store = _store(encoder, device, folder)
        self.store.remember(texts)
        resources = resources_of(
            self.config,
            language,
            threshold,
            self.store,
            texts,
            held_out=lambda: _held_out_store(held_out, device, folder),
            gate=lambda: fitted_gate(self.config, language, texts),
            metrics=lambda: Metrics(
                self.config.metrics,
                torch.device(device),
                self.config.one_metric_at_a_time,
                self.config.metric_format,
            ),
            length_bounds=lambda: measure_bounds([]),  # no pairs are known: it says so
        )
        self.function: Reward = make_reward(self.config, resources, terms or {})

    def __call__(
        self,
        sources: Sequence[str],
        completions: Sequence[str],
        references: Sequence[str | Sequence[str]],
        group_size: int = 1,
    ) -> Tensor:
        """N rows -> (N,) fp32, NaN where a term that counts is missing. A row has one or more reference texts.

        `group_size` consecutive rows belong to one prompt, which `normalise` needs. Raises RewardFailure, and
        InputError for `normalise` without groups.
        """
        return self.scores(sources, completions, references, group_size)[0]

    def scores(
        self,
        sources: Sequence[str],
        completions: Sequence[str],
        references: Sequence[str | Sequence[str]],
        group_size: int = 1,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The same, and every term and gate by name, (N,) each."""
        if self.config.compares_groups and group_size < 2:
            value = "true" if self.config.normalise is True else f'"{self.config.normalise}"'
            raise InputError(f"normalise = {value} compares the completions of a prompt; give group_size")
        texts = [[one] if isinstance(one, str) else one for one in references]
        rewards, terms = self.function(sources, completions, texts, group_size)
        return rewards.flatten(), {name: values.flatten() for name, values in terms.items()}


def config_of(settings: Mapping[str, Any]) -> RewardConfig:
    """Section [reward] with nothing for the log only. Raises InputError for an unknown setting."""
    names = [one.name for one in fields(RewardConfig) if one.name not in OF_A_RUN]
    if wrong_names := [name for name in settings if name not in names]:
        raise InputError(
            f"SemanticReward: unknown setting {wrong_names[0]!r}; known settings: {', '.join(names)}"
        )
    config = replace(RewardConfig(shown=()), **settings)
    return replace(config, gates=tuple(config.gates), shown=tuple(config.shown))


def resources_of(
    config: RewardConfig,
    language: str,
    threshold: float,
    store: EmbeddingStore,
    texts: Sequence[str],
    *,
    held_out: Callable[[], Vectors],
    gate: Callable[[], LanguageGate | None],
    metrics: Callable[[], Metrics],
    length_bounds: Callable[[], tuple[float, float]],
) -> dict[str, Callable[[], Any]]:
    """What terms ask for by the name of a keyword, each made when the first term asks.

    vectors, held_out   texts as unit vectors, by the encoder that is rewarded and by the one that is not
    bank                all reference texts, for the terms that compare with other texts
    metrics             the learned metrics of `reward.metrics`
    length_bounds       the usual ratios of a text's length to its source's, for the term `source_length`
    target_language, target_script, threshold (tau), min_share, language_gate: as in section [reward]
    """
    return {
        "vectors": lambda: store,
        "held_out": functools.cache(held_out),
        "bank": functools.cache(lambda: build_bank(store, texts)),
        "target_language": lambda: language,
        "target_script": lambda: known_script(language),
        "threshold": lambda: threshold,
        "min_share": lambda: config.min_share,
        "language_gate": gate,
        "metrics": functools.cache(metrics),
        "length_bounds": length_bounds,
    }


def _store(encoder: str | Encoder, device: str, folder: Path | None) -> EmbeddingStore:
    name = encoder if isinstance(encoder, str) else type(encoder).__name__
    if isinstance(encoder, str):
        encoder = load_encoder(encoder, cache_dir(), torch.device(device))
    return EmbeddingStore(NamedEncoder(name, encoder), folder)


def _held_out_store(encoder: str | Encoder | None, device: str, folder: Path | None) -> EmbeddingStore:
    if encoder is None:
        raise InputError("cosine_held_out: give SemanticReward(held_out=...), a second encoder")
    return _store(encoder, device, folder)
