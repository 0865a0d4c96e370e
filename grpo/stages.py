"""The stages of a run - data, model, sft, grpo, eval, report - each finished work that the next session skips.

A stage is done when its last output exists; outputs appear whole or not at all.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.cache import atomic_folder, atomic_write_text
from data.errors import InputError
from data.obtain import UnobtainableError
from data.prepare import prepare
from data.stream import PromptStream
from data.template import encode_completion, encode_prompt
from data.tokens import token_report
from eval.probe_items import Panel, load_panel
from grpo import checkpoint
from grpo.context import DEFAULT_POLICY, Interrupted, Run, corpus_of, start_folder, within_limit
from grpo.loop import train_grpo
from grpo.metrics import RunLog
from grpo.modelcheck import check_packing
from grpo.optim import Optimizer
from grpo.policy import frozen_copy, load_policy, load_tokenizer, parameter_hash
from grpo.pretrained import NOTICE_FILE, TERMS_FILE, check_pieces
from grpo.records import LoopState
from grpo.rewarding import STATIC, logged, measured, reward_of, store_of
from grpo.sft import Pair, train_sft
from reward.combine import check as check_reward
from reward.encoder import check_encoder
from reward.panel import ALARM_WINDOW, alarm


def preflight(run: Run) -> None:
    """Refuse, before anything is downloaded or loaded, what would only fail stages later. Raises InputError."""
    language, name = run.config.data.completion_language, run.config.model.policy
    check_reward(run.config.reward, language)
    check_encoder(run.config.reward.encoder, run.cache)
    if run.config.reward.held_out != STATIC:
        check_encoder(run.config.reward.held_out, run.cache)
    if name != DEFAULT_POLICY:
        start_folder(run)


def corpus_facts(run: Run) -> dict[str, Any]:
    """What corpus.json says so far; empty before the data stage."""
    path = run.folder / "corpus.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_corpus_facts(run: Run, facts: dict[str, Any]) -> None:
    atomic_write_text(run.folder / "corpus.json", json.dumps(facts, ensure_ascii=False, indent=1))


def data_stage(run: Run) -> None:
    corpus = prepare(run.config.data, run.cache, say=run.say)
    if corpus_facts(run).get("manifest") != corpus.manifest:
        write_corpus_facts(run, {"manifest": corpus.manifest})
    if run.config.eval.probes:
        panel_of(run)  # obtained here, so that nothing after this stage needs a network


def panel_of(run: Run) -> Panel | str:
    """The general-competence probes, or the sentence that says why there are none."""
    try:
        return load_panel(run.cache)
    except UnobtainableError as error:
        run.say(f"no general-competence probes: {error}")
        return str(error)


def model_stage(run: Run) -> None:
    """Obtain the model; check its tokenizer on the whole corpus and its attention on packed rows; report token counts."""
    config, facts, folder = run.config, corpus_facts(run), start_folder(run)
    if "tokens" in facts:
        return
    corpus, tokenizer = corpus_of(run), load_tokenizer(folder)
    everything = [*corpus.warm_start, *corpus.train, *corpus.dev, *corpus.test]
    facts["tokens"] = token_report(tokenizer, everything, config.model.max_prompt_tokens, config.rollout.max_new_tokens)
    run.say(token_lines(facts["tokens"]))
    if config.model.policy == DEFAULT_POLICY and config.model.vocabulary == "trimmed":
        pieces = check_pieces((text for example in everything for text in (example.source, example.reference)), run.cache)
        run.say(
            f"trimmed vocabulary: {pieces['equal_share']:.1%} of {pieces['texts']:,} texts keep the full vocabulary's pieces; "
            f"{pieces['tokens_trimmed']:,} tokens against {pieces['tokens_full']:,}"
        )
        facts["pieces"] = pieces
    gap = check_packing(load_policy(folder, run.compute.device))
    run.say(f"packed rows and sampler agree with the plain forward pass to {gap:.1e} nats")
    write_corpus_facts(run, {"manifest": corpus.manifest, **facts})


def token_lines(tokens: dict[str, Any]) -> str:
    """The tokenizer report in two lines."""
    source, reference = tokens["tokens_per_source_unit"], tokens["tokens_per_reference_unit"]
    lines = [f"tokenizer: {source:.2f} tokens a source unit, {reference:.2f} a reference unit"]
    for name in ("prompt", "completion"):
        percentiles = ", ".join(f"{key} {value}" for key, value in tokens[f"{name}_tokens"].items())
        lines.append(f"{name} tokens: {percentiles}; over the limit of {tokens[f'max_{name}_tokens']}: {tokens[f'{name}s_cut']:.2%}")
    return "\n".join(lines)


def resume(run: Run, stage: str, model: PreTrainedModel, optimizer: Optimizer) -> LoopState:
    """State of the newest checkpoint of a stage, loaded into model and optimiser; a fresh one when there is none."""
    saved = checkpoint.checkpoints(run.folder / "checkpoints" / stage)
    if not saved:
        return LoopState()
    state = checkpoint.restore(saved[-1], model, optimizer)
    run.say(f"resuming {stage} at step {state.step}")
    return state


def after_step(
    run: Run, stage: str, model: PreTrainedModel, optimizer: Optimizer, num_steps: int, log: RunLog
) -> Callable[[LoopState], bool]:
    """Called between steps: raises the alarm, saves when due or asked to stop; True ends the loop."""
    settings = run.config.checkpoint

    def between(state: LoopState) -> bool:
        stopping = run.stop()
        warning = alarm(log.rows, ALARM_WINDOW) if state.step % ALARM_WINDOW == 0 else ""
        if warning:
            run.say(warning)
        due = settings.every > 0 and state.step % settings.every == 0
        if (due or stopping) and state.step < num_steps:
            checkpoint.save(run.folder / "checkpoints" / stage, model, optimizer, state, settings.keep)
        return stopping

    return between


def finish(
    run: Run, stage: str, state: LoopState, num_steps: int, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, target: Path
) -> None:
    """Save the finished model as a plain transformers folder and drop the stage's checkpoints; or report an early stop."""
    if state.step < num_steps:
        raise Interrupted(run.stop.signal)
    model.config.use_cache = True
    with atomic_folder(target) as work:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        for notice in (NOTICE_FILE, TERMS_FILE):
            if (start_folder(run) / notice).is_file():
                (work / notice).write_bytes((start_folder(run) / notice).read_bytes())
    model.config.use_cache = False
    checkpoint.clear(run.folder / "checkpoints" / stage)


def sft_stage(run: Run) -> None:
    """The warm start: base model -> run/warm_start."""
    if run.warm_start.exists():
        return
    config, folder = run.config, start_folder(run)
    tokenizer, policy = load_tokenizer(folder), load_policy(folder, run.compute.device)
    available = corpus_of(run).warm_start
    examples = within_limit(available, tokenizer, config.model.max_prompt_tokens)
    encoded: list[Pair] = [(encode_prompt(tokenizer, example), encode_completion(tokenizer, example.reference)) for example in examples]
    pairs = [pair for pair in encoded if len(pair[1]) <= config.sft.max_completion_tokens]
    run.say(f"warm start on {len(pairs):,} pairs ({len(available) - len(pairs):,} are over a length limit)")
    optimizer = Optimizer(policy, config.sft.optim, config.sft.num_steps)
    state = resume(run, "sft", policy, optimizer)
    stream = PromptStream(pairs, config.sft.batch_size, config.seed)
    shown = {"loss": "loss", "tokens_per_second": "tok/s"}
    with RunLog(run.folder, "sft", state.step, config.sft.num_steps, shown) as log:
        between = after_step(run, "sft", policy, optimizer, config.sft.num_steps, log)
        state = train_sft(config.sft, policy, stream, optimizer, log, state, run.compute, after_step=between)
    finish(run, "sft", state, config.sft.num_steps, policy, tokenizer, run.warm_start)


def grpo_stage(run: Run) -> None:
    """GRPO: run/warm_start -> run/policy, with the warm start's weights, frozen in memory, as the reference policy."""
    if run.policy.exists():
        return
    if not run.warm_start.exists():
        raise InputError(f"{run.warm_start}: there is no warm start yet; run the stages data,model,sft first")
    config = run.config
    tokenizer, policy = load_tokenizer(run.warm_start), load_policy(run.warm_start, run.compute.device)
    reference = frozen_copy(policy)
    reference_hash = parameter_hash(reference)
    corpus = corpus_of(run)
    examples = within_limit(corpus.train, tokenizer, config.model.max_prompt_tokens)
    run.say(f"GRPO on {len(examples):,} prompts ({len(corpus.train) - len(examples):,} are over the length limit)")
    store = store_of(run)
    facts = measured(run, policy, tokenizer, store)
    reward = reward_of(run, store, examples, facts["threshold"])
    config = replace(config, advantage=replace(config.advantage, std_floor=facts["std_floor"]))
    updates = config.train.passes * config.rollout.num_prompts // (config.train.prompts_per_update or config.rollout.num_prompts)
    optimizer = Optimizer(policy, config.train.optim, config.train.num_steps * updates)
    state = resume(run, "grpo", policy, optimizer)
    prompts = PromptStream(examples, config.rollout.num_prompts, config.seed)
    shown = {"reward_mean": "reward", "kl_mean": "KL", "length_mean": "length", "tokens_per_second": "tok/s"}
    with RunLog(run.folder, "grpo", state.step, config.train.num_steps, shown) as log:
        between = after_step(run, "grpo", policy, optimizer, config.train.num_steps, log)
        watched = logged(reward, store, log)
        state = train_grpo(config, policy, reference, tokenizer, prompts, watched, optimizer, log, state, run.compute, after_step=between)
    run.say(store.summary())
    if parameter_hash(reference) != reference_hash:
        raise RuntimeError("the reference policy changed during training; its KL term meant nothing - please report this")
    finish(run, "grpo", state, config.train.num_steps, policy, tokenizer, run.policy)
