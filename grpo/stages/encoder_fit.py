"""Measures before training whether the reward's encoder fits the run's own pairs (reward/fit.py), and refuses one that
cannot tell their texts apart.

The figures are in `encoder_fit.json` of the run folder, with the encoder's name. A later start prints them without
measuring.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from data.cache import atomic_write_text
from data.documents import read_object
from data.errors import InputError
from data.examples import Example
from data.records import sample_of
from grpo.config import WITHOUT_REWARD
from grpo.stages.context import Run
from grpo.stages.mixing import encoder_setting
from grpo.stages.reward_setup import FILE as REWARD_FILE
from grpo.stages.reward_setup import read_facts, store_of
from reward.combine import reward_needs
from reward.fit import EncoderFit, Side, measure_fit, refusal, threshold_warning, warnings

FILE = "encoder_fit.json"


def check_encoder_fit(run: Run, examples: Sequence[Example]) -> None:
    """Say how the encoder fits these pairs. Raises InputError where it is blind to them and the reward is
    made of its cosines.
    """
    reward = run.config.reward
    setting = encoder_setting(run.config, run.target_language)
    fit = known_fit(run) or measured_fit(run, examples)
    if fit is None:
        run.say(f"encoder {reward.encoder}: too few pairs to see whether it fits them")
        return
    reason = refusal(fit)
    is_paid = run.config.train.method not in WITHOUT_REWARD and reward_needs(reward, ("vectors", "bank"))
    if reason and is_paid:
        raise InputError(f"{setting} = {reward.encoder!r}: {reason}")
    run.say(f"encoder {reward.encoder}: {fit}")
    threshold = reward.threshold if isinstance(reward.threshold, float) else fit.references.unrelated
    of_interest = warnings(fit, threshold) if is_paid else []
    for sentence in [reason] if reason else of_interest:
        run.say(f"WARNING: {setting} = {reward.encoder!r}: {sentence}")
    atomic_write_text(run.facts(FILE), json.dumps({"encoder": reward.encoder, **asdict(fit)}, indent=1))


def check_measured_threshold(run: Run) -> None:
    """Say where a tau that was measured (reward.json) leaves much for an unrelated text."""
    fit = known_fit(run)
    if isinstance(run.config.reward.threshold, str) and fit is not None:
        threshold = read_facts(run.facts(REWARD_FILE))["threshold"]
        if sentence := threshold_warning(fit, threshold):
            setting = encoder_setting(run.config, run.target_language)
            run.say(f"WARNING: {setting} = {run.config.reward.encoder!r}: {sentence}")


def known_fit(run: Run) -> EncoderFit | None:
    """The figures of an earlier start with this encoder. Raises InputError for a damaged file."""
    path = run.facts(FILE)
    facts = read_object(path) if path.exists() else {}
    if facts.pop("encoder", None) != run.config.reward.encoder:
        return None
    try:
        sources, references = (Side(**facts.pop(name)) for name in ("sources", "references"))
        return EncoderFit(sources=sources, references=references, **facts)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the figures of an encoder ({error}); remove the file to have them measured again"
        ) from error


def measured_fit(run: Run, examples: Sequence[Example]) -> EncoderFit | None:
    """The fit of the run's encoder to these pairs."""
    encoder = store_of(run).encoder
    examples = [example for example in sample_of(examples) if example.reference]
    return measure_fit(
        encoder.encode, [e.source for e in examples], [e.reference for e in examples], run.config.seed
    )
