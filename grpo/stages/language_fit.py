"""Measures before training how well `reward.identifier` knows the target language, on the reference texts of dev, and
refuses one that would punish the language itself.

The threshold and its errors are in `language_fit.json` of the run folder, so a resumed run has the same gate.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from data.cache import atomic_write_text
from data.documents import read_object
from data.errors import InputError
from data.examples import Example
from data.language_names import language_name
from data.prepare import Corpus
from data.records import sample_of
from data.script import primary
from grpo.config import WITHOUT_REWARD
from grpo.stages.context import Run
from reward.combine import language_gate, reward_needs
from reward.language import LanguageFit, LanguageGate, measure_fit, refusal, stand_in

FILE = "language_fit.json"


def check_language_fit(run: Run, corpus: Corpus) -> None:
    """Say how well the identifier knows the target language. Raises InputError where the reward uses it and it
    refuses too many true texts.
    """
    name = run.config.reward.identifier
    gate = language_gate(run.config.reward, run.target_language)
    if gate is None:
        return
    fit = known_fit(run) or measured_fit(gate, corpus.dev) or measured_fit(gate, corpus.train)
    label = f"reward.identifier = {name!r}, {language_name(gate.language)}"
    if fit is None:
        raise InputError(
            f"{label}: too few reference texts of three units to measure a threshold; leave it out"
        )
    is_paid = run.config.train.method not in WITHOUT_REWARD and reward_needs(
        run.config.reward, ("language_gate",)
    )
    if (reason := refusal(fit)) and is_paid:
        raise InputError(f"{label}: {reason}")
    run.say(f"{label}: {fit}")
    if note := stand_in(gate.identifier, gate.language):
        run.say(f"WARNING: {label}: {note}")
    if reason:
        run.say(f"WARNING: {label}: {reason}")
    elif fit.passed > 0.2:
        run.say(f"WARNING: {label}: it hardly tells source texts from the target language")
    atomic_write_text(run.facts(FILE), json.dumps({"identifier": name, **asdict(fit)}, indent=1))


def measured_fit(gate: LanguageGate, examples: Sequence[Example]) -> LanguageFit | None:
    """The threshold and its errors on the texts of `examples`; sources count where they are another language."""
    examples = sample_of(examples)
    references = [text for example in examples for text in example.references]
    sources = [e.source for e in examples if primary(e.source_language) != primary(gate.language)]
    return measure_fit(gate, references, sources)


def known_fit(run: Run) -> LanguageFit | None:
    """The figures of an earlier start with this identifier. Raises InputError for a damaged file."""
    path = run.facts(FILE)
    facts: dict[str, Any] = read_object(path) if path.exists() else {}
    if facts.pop("identifier", None) != run.config.reward.identifier:
        return None
    try:
        return LanguageFit(**facts)
    except TypeError as error:
        raise InputError(
            f"{path}: not the figures of an identifier ({error}); remove the file to have them measured again"
        ) from error


def gate_of(run: Run) -> LanguageGate | None:
    """The gate with the threshold of this run; None without an identifier."""
    gate = language_gate(run.config.reward, run.target_language)
    fit = known_fit(run) if gate else None
    return replace(gate, threshold=fit.threshold) if gate and fit else gate
