"""The stages of a run - data, model, sft, grpo, eval, report - each finished work that the next session skips.

A stage is done when its last output exists; outputs appear whole or not at all.
"""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.cache import atomic_write_text
from data.documents import user_path
from data.ends import ends_of, text_ids
from data.errors import InputError
from data.obtain import UnobtainableError
from data.stream import PromptStream
from data.template import encode_completion, encode_prompt
from data.tokens import check_writable, concerns, token_report
from eval.probe_items import Panel
from eval.tax import load_tax_panel
from grpo import checkpoint
from grpo.anchored import anchor_texts, anchored
from grpo.between import Between, dev_score, export_best, finish, resume
from grpo.context import DEFAULT_POLICY, Run, corpus_facts, corpus_of, start_folder, trainable, within_limit
from grpo.encoder_fit import check_encoder_fit
from grpo.imitate import best_of_group, strong_sft
from grpo.lengths import Fit, fit, fits, needs, pair_limits
from grpo.loop import train_grpo
from grpo.metrics import RunLog
from grpo.modelcheck import Need, check_packing, check_positions, positions_of
from grpo.optim import Optimizer
from grpo.parallel import FailedElsewhere
from grpo.policy import frozen_copy, load_policy, load_tokenizer, parameter_hash
from grpo.pretrained import check_pieces
from grpo.records import LoopState
from grpo.rewarding import STATIC, logged, rewarded, steered
from grpo.run_folder import check_files
from grpo.sft import SHOWN_SFT, Pair, train_sft
from grpo.snapshots import Snapshots
from grpo.taxguard import guarded, texts_of
from reward.combine import check as check_reward
from reward.encoder import check_encoder, encoder_folder
from reward.encoders.folder import shaping_files
from reward.encoders.screen import readable
from reward.faults import RewardFailure
from reward.own_term import is_own_term

SHOWN_GRPO = {"reward_mean": "reward", "kl_mean": "KL", "length_mean": "length", "ratio_gap_max": "gap", "ratio_gap_mean": "mean gap",
              "tokens_per_second": "tok/s"}  # fmt: skip
PROBE_TOKENS = 4096  # no text of the probes has so many


def preflight(run: Run, stages: Collection[str]) -> None:
    """Refuse, before anything is downloaded or loaded, what would only fail stages later. Raises InputError."""
    language, name = run.config.data.completion_language, run.config.model.policy
    if "grpo" in stages and "sft" not in stages:
        require_warm_start(run)
    check_world(run)
    check_reward(run.config.reward, language)
    check_encoder(run.config.reward.encoder, run.cache)
    if run.config.reward.held_out != STATIC:
        check_encoder(run.config.reward.held_out, run.cache)
    if name != DEFAULT_POLICY:
        start_folder(run)
    if run.config.tax.text:
        check_texts(run)


def check_inputs(run: Run) -> None:
    """Record the files of model, encoders and general texts; raises InputError for one that has changed since the run began.

    A changed file of an own reward term is only said: it may have been repaired.
    """
    config = run.config
    encoders = {"reward.encoder": config.reward.encoder, "reward.held_out": config.reward.held_out}
    folders = {"model.policy": Path(config.model.policy)}
    folders |= {key: folder for key, name in encoders.items() if (folder := encoder_folder(name, run.cache))}
    for setting, folder in folders.items():
        if folder.is_dir():
            check_files(run.folder, setting, {str(path): path for path in shaping_files(folder)})
    if config.tax.text:
        check_files(run.folder, "tax.text", {config.tax.text: user_path(config.tax.text)})
    for name in filter(is_own_term, config.reward.names):
        path = name.partition(":")[0]
        check_files(run.folder, name, {path: user_path(path)}, warn=run.say)


def require_warm_start(run: Run) -> None:
    """Raises InputError where the stage grpo has nothing to begin from."""
    if not run.warm_start.exists():
        raise InputError(f"{run.warm_start}: there is no warm start yet; run the stages data,model,sft first")


def check_texts(run: Run) -> None:
    """Obtain and read the general texts that a budget or an anchor needs. Raises InputError."""
    if run.config.tax.budget:
        texts_of(run)
    if run.config.sft.anchor or run.config.train.anchor:
        anchor_texts(run)


def check_world(run: Run) -> None:
    """Every process must get as many prompts of every update as every other."""
    size, prompts = run.world.size, run.config.train.prompts_per_update or run.config.rollout.num_prompts
    if prompts % size:
        raise InputError(f"{size} processes cannot share {prompts} prompts an update; make train.prompts_per_update a multiple of {size}")
    if size > 1 and run.config.train.method == "best_of_group":
        raise InputError(f"train.method = 'best_of_group' runs in 1 process, not in {size}; start it without torchrun")
    if run.config.sft.batch_size < size:  # a process without a pair would wait for gradients that it never gets
        raise InputError(f"{size} processes cannot share sft.batch_size = {run.config.sft.batch_size}; make it {size} or more")


def write_corpus_facts(run: Run, facts: dict[str, Any]) -> None:
    atomic_write_text(run.folder / "corpus.json", json.dumps(facts, ensure_ascii=False, indent=1))


def data_stage(run: Run) -> None:
    corpus = corpus_of(run, run.say)
    if corpus_facts(run).get("manifest") != corpus.manifest:
        write_corpus_facts(run, {"manifest": corpus.manifest})
    if run.config.eval.probes:
        panel_of(run)  # obtained here, so that nothing after this stage needs a network
    check_texts(run)


def panel_of(run: Run) -> Panel | str:
    """The general-competence probes, or the sentence that says why there are none."""
    try:
        return load_tax_panel(run.cache, run.config.eval.extended_probes)
    except UnobtainableError as error:
        run.say(f"no general-competence probes: {error}")
        return str(error)


def model_stage(run: Run) -> None:
    """Obtain the model; check its tokenizer on the corpus and itself on packed rows; report token counts.

    Raises InputError where a part of the corpus has nothing within its limits, or the model cannot be trained.
    """
    config, facts, folder = run.config, corpus_facts(run), start_folder(run)
    check_encoder_fit(run, corpus_of(run).train)
    if "tokens" in facts:
        return
    corpus, tokenizer = corpus_of(run), load_tokenizer(folder)
    everything = [*corpus.warm_start, *corpus.train, *corpus.dev, *corpus.test]
    facts["tokens"] = token_report(tokenizer, everything, config.model.max_prompt_tokens, config.rollout.max_new_tokens)
    run.say(token_lines(facts["tokens"]))
    check_writable(facts["tokens"])
    found = fits(corpus, tokenizer, config)
    for part in found.values():
        if len(part.check().kept) < len(part.given):
            run.say(part.line())
    if config.model.policy == DEFAULT_POLICY and config.model.vocabulary == "trimmed":
        pieces = check_pieces((text for example in everything for text in (example.source, example.reference)), run.cache)
        run.say(
            f"trimmed vocabulary: {pieces['equal_share']:.1%} of {pieces['texts']:,} texts keep the full vocabulary's pieces; "
            f"{pieces['tokens_trimmed']:,} tokens against {pieces['tokens_full']:,}"
        )
        facts["pieces"] = pieces
    for line in concerns(facts["tokens"], facts.get("pieces")):
        run.say(f"NOTE: {line}")
    if not ends_of(tokenizer).line_ends:
        run.say("NOTE: this tokenizer writes no line end, so a completion ends with the end token alone")
    check_model(run, folder, tokenizer, found)
    write_corpus_facts(run, {"manifest": corpus.manifest, **facts})


def check_model(run: Run, folder: Path, tokenizer: PreTrainedTokenizerBase, found: dict[str, Fit]) -> None:
    """InputError for a model that cannot be trained on packed rows, or has too few positions."""
    with readable(folder, "is no model that can be run"):
        model = load_policy(folder, run.compute.device, run.config.train.packed_attention)
        gap = check_packing(model, run.config.rollout.fast_decode)
        run.say(f"packed rows and sampler agree with the plain forward pass to {gap:.1e} nats")
        wanted = needs(found, tokenizer, run.config)
        if run.config.eval.probes and 0 < positions_of(model) < PROBE_TOKENS:
            wanted += probe_needs(run, tokenizer)
        if line := check_positions(model, wanted):
            run.say(f"NOTE: {line}")


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
    source, reference = tokens["tokens_per_source_unit"], tokens["tokens_per_reference_unit"]
    lines = [f"tokenizer: {source:.2f} tokens a source unit, {reference:.2f} a reference unit"]
    for name in ("prompt", "completion"):
        percentiles = ", ".join(f"{key} {value}" for key, value in tokens[f"{name}_tokens"].items())
        lines.append(f"{name} tokens: {percentiles}; over the limit of {tokens[f'max_{name}_tokens']}: {tokens[f'{name}s_cut']:.2%}")
    return "\n".join(lines)


def sft_stage(run: Run) -> None:
    """The warm start: base model -> run/warm_start."""
    if run.warm_start.exists():
        checkpoint.clear(run.checkpoints("sft"))  # where a kill came between finishing and this
        return
    config, folder = run.config.sft, start_folder(run)
    tokenizer, policy = load_tokenizer(folder), trainable(run, folder)
    if config.num_steps == 0:
        run.say("no warm start: sft.num_steps = 0, so training begins from the untouched model")
        finish(run, "sft", LoopState(), 0, policy, tokenizer, run.warm_start)
        return
    available = corpus_of(run).warm_start
    found = fit("warm_start", available, tokenizer, pair_limits(run.config))
    examples = found.check().examples
    pairs: list[Pair] = [
        (encode_prompt(tokenizer, example), encode_completion(tokenizer, example.reference))
        for example in examples
    ]
    run.say(f"warm start on {len(pairs):,} pairs ({len(available) - len(pairs):,} are over a length limit)")
    if 0 < config.max_pairs < len(pairs):
        pairs = pairs[: config.max_pairs]
        run.say(f"only the first {len(pairs):,} of them are used: sft.max_pairs")
    optimizer = Optimizer(policy, config.optim, config.num_steps)
    state = resume(run, "sft", policy, optimizer)
    stream = PromptStream(pairs, config.batch_size, run.config.seed)
    with RunLog(run.log_folder, "sft", state.step, config.num_steps, SHOWN_SFT, quiet=run.is_silent) as log:
        between = Between(run, "sft", policy, optimizer, config.num_steps, log, state)
        anchor = anchored(run, tokenizer, config.anchor, config.max_tokens_per_pass)
        state = train_sft(config, policy, stream, optimizer, log, state, run.compute, between=between, anchor=anchor, world=run.world)
    finish(run, "sft", state, config.num_steps, policy, tokenizer, run.warm_start)


def grpo_stage(run: Run) -> None:
    """From run/warm_start to run/policy, by train.method."""
    if run.policy.exists():
        checkpoint.clear(run.checkpoints("grpo"))
        return
    require_warm_start(run)
    METHODS[run.config.train.method](run)


def reinforce(run: Run) -> None:
    """GRPO: run/warm_start -> run/policy, with the warm start's weights, frozen in memory, as the reference policy."""
    config = run.config
    tokenizer, policy = load_tokenizer(run.warm_start), trainable(run, run.warm_start)
    reference = frozen_copy(policy)
    reference_hash = parameter_hash(reference)
    available = corpus_of(run).train
    examples = within_limit(available, tokenizer, config.model.max_prompt_tokens)
    run.say(f"GRPO on {len(examples):,} prompts ({len(available) - len(examples):,} are over the length limit)")
    store, reward, std_floor = run.world.first_then_all(lambda: rewarded(run, policy, tokenizer, examples))
    config = replace(config, advantage=replace(config.advantage, std_floor=std_floor))
    optimizer = Optimizer(policy, config.train.optim, config.train.num_steps * config.updates_per_step)
    state = resume(run, "grpo", policy, optimizer)
    prompts = PromptStream(examples, config.rollout.num_prompts, config.seed)
    with RunLog(run.log_folder, "grpo", state.step, config.train.num_steps, SHOWN_GRPO, quiet=run.is_silent) as log:
        control, state = guarded(run, "grpo", policy, tokenizer, optimizer, config.train.num_steps, log, state)
        score = dev_score(run, policy, tokenizer, reward)
        snapshots = Snapshots(run, policy, tokenizer, log)
        between = Between(run, "grpo", policy, optimizer, config.train.num_steps, log, state, score, snapshots)
        trained_by = logged(steered(run, reward, examples), store, log, run.say)
        anchor = anchored(run, tokenizer, config.train.anchor, config.train.max_tokens_per_pass)
        inputs = (config, policy, reference, tokenizer, prompts, trained_by, optimizer, log, state, run.compute)
        try:
            state = train_grpo(*inputs, between=between, control=control, anchor=anchor, world=run.world)
        except (RewardFailure, FailedElsewhere) as failure:  # before the step's first update: the model still is in the last state
            between.save()
            raise InputError(f"{failure}; everything up to step {between.state.step} is saved") from failure
    run.say(store.summary())
    if parameter_hash(reference) != reference_hash:
        raise RuntimeError("the reference policy changed during training; its KL term meant nothing - please report this")
    export_best(between, reference, tokenizer, run.best_policy)
    finish(run, "grpo", state, config.train.num_steps, policy, tokenizer, run.policy)


METHODS = {"grpo": reinforce, "sft": strong_sft, "best_of_group": best_of_group}  # train.method
