"""What comes before training: refuse what would fail later, then the stages data and model.

Whatever a later stage needs is checked here, before the first step is made.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from data.documents import user_path
from data.ends import ends_of, text_ids
from data.errors import InputError
from data.examples import Example
from data.model_folder import input_errors
from data.obtain import UnobtainableError
from data.prepare import Corpus
from data.prompt import Prompt
from data.records import Chain, places_where, sample_of
from data.sources.general_texts import COLLECTIONS, read_general_texts
from data.tokens import check_writable, concerns, token_report
from eval.forgetting.probe_items import Panel
from eval.forgetting.tax import load_tax_panel
from eval.systems import check_documents
from grpo.config import Config
from grpo.eight_bit import optimiser_class
from grpo.engine.padding import cause_of_padding
from grpo.engine.pretrained import check_pieces, model_package
from grpo.engine.self_check import Need, check_packing, check_positions, check_shares, positions_of
from grpo.engine.source import ModelSource
from grpo.runtime.parallel import SINGLE_PROCESS
from grpo.runtime.run_folder import check_files, corpus_facts
from grpo.stages.anchor_setup import anchor_texts
from grpo.stages.context import (
    DEFAULT_POLICY,
    Run,
    base_model,
    corpus_of,
    load_model,
    load_prompt,
    untouched_model,
    write_corpus_facts,
)
from grpo.stages.earlier_tasks import EARLIER_TASKS, earlier_tasks
from grpo.stages.encoder_fit import check_encoder_fit
from grpo.stages.language_fit import check_language_fit
from grpo.stages.lengths import Fit, fits, needs
from grpo.stages.mixing import encoder_setting, runs_by_language
from grpo.stages.pieces import measure_pieces
from grpo.stages.plan import known_model
from grpo.stages.reward_setup import STATIC
from grpo.stages.tax_guard import texts_of
from grpo.stages.token_limits import with_limits
from reward.combine import check as check_reward
from reward.encoder import check_encoder, encoder_folder
from reward.encoders.folder import model_files
from reward.own_term import is_own_term

MOST_COPIES = 0.5  # of the pairs may have the same text on both sides
PROBE_TOKENS = 4096  # no text of the probes has so many


def preflight(run: Run, stages: Collection[str]) -> None:
    """Refuse, before anything is downloaded or loaded, what would only fail stages later. Raises
    InputError.
    """
    if "train" in stages and "sft" not in stages:
        require_warm_start(run)
    check_names(run)
    if own_general_texts(run.config):
        check_texts(run)


def own_general_texts(config: Config) -> dict[str, str]:
    """Setting -> the user's own file of general texts that it names."""
    texts = {"tax.text": config.tax.text, "anchor.text": config.anchor.text}
    no_files = (*COLLECTIONS, EARLIER_TASKS)
    texts |= {f"anchor.sources.{name}": name for name in config.anchor.sources if name not in no_files}
    return {setting: text for setting, text in texts.items() if text}


def check_names(run: Run) -> None:
    """Raises InputError for a reward, an encoder, a model or a general text that is not what its setting says, and for
    settings that this many processes cannot share. No model is loaded.
    """
    name = run.config.model.policy
    check_world(run)
    for setting, text in own_general_texts(run.config).items():
        read_general_texts(text, run.config.tax.texts, run.cache, setting)
    if run.config.engine.moments == "8bit":
        optimiser_class()
    for language, own_run in runs_by_language(run).items():
        check_reward(own_run.config.reward, language, run.config.data.completion_languages[language])
        check_encoder(own_run.config.reward.encoder, run.cache, encoder_setting(own_run.config, language))
    if run.config.reward.held_out != STATIC:
        check_encoder(run.config.reward.held_out, run.cache, "reward.held_out")
    if name != DEFAULT_POLICY:
        base_model(run)
    elif known_model(run.config) is None:
        model_package()


def check_inputs(run: Run, is_run: bool = True) -> None:
    """Record the files of model, encoders and general texts; raises InputError for one that has changed since
    the run began. Without `is_run` nothing is recorded.

    For a changed file of an own reward term there is only a warning: it may have been repaired.
    """
    config = run.config
    encoders = {"reward.encoder": config.reward.encoder, "reward.held_out": config.reward.held_out}
    encoders |= {f"reward.encoders.{language}": name for language, name in config.reward.encoders.items()}
    folders = {"model.policy": Path(config.model.policy)}
    folders |= {key: folder for key, name in encoders.items() if (folder := encoder_folder(name, run.cache))}
    folders |= {f"reward.metrics.{name}": user_path(folder) for name, folder in config.reward.metrics.items()}
    for setting, folder in folders.items():
        if folder.is_dir():
            check_files(run.folder, setting, {str(path): path for path in model_files(folder)}, is_run=is_run)
    for setting, text in own_general_texts(config).items():
        check_files(run.folder, setting, {text: user_path(text)}, is_run=is_run)
    for name in filter(is_own_term, config.reward.names):
        path = name.partition(":")[0]
        check_files(run.folder, name, {path: user_path(path)}, is_run=is_run, warn=run.say)


def require_warm_start(run: Run) -> None:
    """Raises InputError where the stage train has nothing to begin from."""
    if not run.warm_start.exists():
        raise InputError(f"{run.warm_start}: there is no warm start yet; run the stages data,model,sft first")


def check_texts(run: Run) -> None:
    """Obtain and read the general texts that a run needs. Raises InputError."""
    if run.config.tax.budget:
        texts_of(run)
    if run.config.trains_on_general_text:
        anchor_texts(run)
        if EARLIER_TASKS in run.config.anchor.sources:
            earlier_tasks(run)


def check_world(run: Run) -> None:
    """Raises InputError where processes cannot share the prompts of an update evenly."""
    size = run.world.size
    prompts = run.config.train.prompts_per_update or run.config.rollout.num_prompts
    if prompts % size:
        raise InputError(
            f"{size} processes cannot share {prompts} prompts an update; make train.prompts_per_update a multiple of {size}"
        )
    if size > 1 and run.config.engine.step_in_backward:
        raise InputError(
            f"engine.step_in_backward runs in 1 process, not in {size}; start it without torchrun, or write engine.step_in_backward=false"
        )
    if size > 1 and run.config.train.method == "best_of_group":
        raise InputError(
            f"train.method = 'best_of_group' runs in 1 process, not in {size}; start it without torchrun"
        )
    # a process without a pair would wait for gradients that it never gets
    if run.config.sft.batch_size < size:
        raise InputError(
            f"{size} processes cannot share sft.batch_size = {run.config.sft.batch_size}; make it {size} or more"
        )


def data_stage(run: Run) -> None:
    corpus = corpus_of(run, run.say)
    check_pairs(run.config, corpus)
    if corpus_facts(run.folder).get("manifest") != corpus.manifest:
        write_corpus_facts(run, {"manifest": corpus.manifest})
    if run.config.eval.probes:
        panel_of(run)  # obtained here, so that nothing after this stage needs a network
    check_texts(run)


def check_pairs(config: Config, corpus: Corpus) -> None:
    """Raises InputError for a corpus that teaches copying, or that has no documents to draw."""
    check_sides(corpus.train)
    if config.eval.by_document:
        sets = (corpus.test, *corpus.tests.values())
        check_documents(
            ([{"id": one.id, "origin": one.origin} for one in examples] for examples in sets),
            "eval.by_document",
        )


def check_sides(examples: Sequence[Example]) -> None:
    """InputError where most reference texts are their own source: copying would be learned as the task."""
    copies = places_where(examples, lambda one: one.source in one.references)
    if len(copies) > MOST_COPIES * len(examples):
        first = examples[int(copies[0])].id
        raise InputError(
            f"data.corpus: {len(copies):,} of {len(examples):,} reference texts equal their source, the first is {first}; "
            "look whether data.source_column and data.reference_column, or the two files, are one and the same"
        )


def panel_of(run: Run) -> Panel | str:
    """The general-competence probes, or the sentence that says why there are none."""
    try:
        return load_tax_panel(run.cache, run.config.eval.extended_probes)
    except UnobtainableError as error:
        run.say(f"no general-competence probes: {error}")
        return str(error)


def model_stage(run: Run) -> None:
    """Obtain the model; check its tokenizer on the corpus and itself on packed rows; report token counts.

    Raises InputError where a part of the corpus has nothing within its limits, or the model cannot be
    trained.
    """
    run = with_limits(run)
    config = run.config
    facts = corpus_facts(run.folder)
    folder = untouched_model(run)
    corpus = corpus_of(run)
    for own_run in runs_by_language(run).values():
        own_corpus = corpus_of(own_run) if own_run.language else corpus
        check_encoder_fit(own_run, own_corpus.train)
        check_language_fit(own_run, own_corpus)
    if "tokens" in facts:
        return
    prompt = load_prompt(run, folder)
    everything = sample_of(Chain([*corpus.parts.values()]))
    facts["tokens"] = token_report(
        prompt, everything, config.model.max_prompt_tokens, config.rollout.max_new_tokens
    )
    run.say(token_lines(facts["tokens"]))
    check_writable(facts["tokens"])
    parts = fits(corpus, prompt, config)
    for part in parts.values():
        if line := part.check().report():
            run.say(line)
    if config.model.policy == DEFAULT_POLICY and config.model.vocabulary == "trimmed":
        pieces = check_pieces(
            (text for example in everything for text in (example.source, example.reference)), run.cache
        )
        run.say(
            f"trimmed vocabulary: {pieces['equal_share']:.1%} of {pieces['texts']:,} texts keep the full vocabulary's pieces; "
            f"{pieces['tokens_trimmed']:,} tokens against {pieces['tokens_full']:,}"
        )
        facts["pieces"] = pieces
    if config.model.add_pieces:
        facts["new_pieces"] = measure_pieces(run, prompt, everything, facts["tokens"])
    for line in concerns(facts["tokens"], facts.get("pieces")):
        run.say(f"NOTE: {line}")
    if prompt.wording.is_one_line and not ends_of(prompt.tokenizer).line_ends:
        run.say("NOTE: this tokenizer writes no line end, so a completion ends with the end token alone")
    check_model(run, folder, prompt, parts)
    write_corpus_facts(run, {"manifest": corpus.manifest, **facts})


def check_model(run: Run, folder: ModelSource, prompt: Prompt, parts: dict[str, Fit]) -> None:
    """InputError for a model that cannot be trained, cannot be shared out as it should, or has too few positions."""
    with input_errors(folder, "is no model that can be run"):
        model = load_model(alone(run), folder)
        gap = check_packing(model, run.config.engine.fast_decode)
        cause = cause_of_padding(model)
        if run.world.is_sharded:
            check_shares(model)
        rows = "padded" if cause else "packed"
        run.say(f"{rows} rows and sampler agree with the plain forward pass to {gap:.1e} nats")
        if cause:
            run.say(
                f"NOTE: slower than others, as {model.config.model_type} cannot compute packed rows: {cause}"
            )
        text_needs = needs(parts, prompt, run.config)
        if run.config.eval.probes and 0 < positions_of(model) < PROBE_TOKENS:
            text_needs += probe_needs(run, prompt.tokenizer)
        if line := check_positions(model, text_needs):
            run.say(f"NOTE: {line}")


def alone(run: Run) -> Run:
    """The same run without the other processes; on the host where a model is shared out, as it may be larger than a
    card.
    """
    if not run.world.is_sharded:
        return run
    compute = replace(run.compute, device=torch.device("cpu"))
    return replace(run, compute=compute, world=SINGLE_PROCESS)


def probe_needs(run: Run, tokenizer: PreTrainedTokenizerBase) -> list[Need]:
    """The positions that the longest text of the probes needs."""
    panel = panel_of(run)
    if isinstance(panel, str):
        return []
    texts = [item.text for item in (*panel.english, *panel.chinese)]
    questions = (item for items in panel.questions().values() for item in items)
    texts += [item.context + choice for item in questions for choice in item.choices]
    longest = max(len(text_ids(tokenizer, text)) for text in texts)
    return [Need(1 + longest, "texts of the probes", "write eval.probes=false")]


def token_lines(tokens: dict[str, Any]) -> str:
    """The tokenizer report in two lines."""
    source = tokens["tokens_per_source_unit"]
    reference = tokens["tokens_per_reference_unit"]
    lines = [f"tokenizer: {source:.2f} tokens a source unit, {reference:.2f} a reference unit"]
    for name in ("prompt", "completion"):
        percentiles = ", ".join(f"{key} {value}" for key, value in tokens[f"{name}_tokens"].items())
        lines.append(
            f"{name} tokens: {percentiles}; over the limit of {tokens[f'max_{name}_tokens']}: {tokens[f'{name}s_cut']:.2%}"
        )
    return "\n".join(lines)
