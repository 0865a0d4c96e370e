"""Estimates how long the stages of a run take: counts their operations, and divides by measured rates of the machine
(grpo/stages/machine.py).
"""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from data.documents import user_path
from data.errors import InputError
from data.model_folder import tensor_shapes
from data.model_settings import model_settings
from grpo.config import EARLIER_TASKS, Config, with_numbers
from grpo.runtime.run_folder import corpus_facts, run_of
from grpo.stages.machine import Machine
from grpo.stages.memory_bill import PROTECTION, ModelSizes, StepWork, metric_bytes
from grpo.stages.pass_size import MOST
from grpo.stages.token_limits import known_limits

# of the default model by vocabulary: all, embedding
DEFAULT_PARAMETERS = {"trimmed": (131_000_000, 31_000_000), "full": (268_000_000, 168_000_000)}
DEFAULT_SIZES = {
    "model_type": "gemma3_text",
    "num_hidden_layers": 18,
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
}
# of a length limit that a typical prompt or completion uses, before the corpus has been counted
LENGTH_SHARE = 0.4
# of the bill, what runs take: other work on the machine, warm-up, padding; and before the corpus has been counted,
# texts that are much shorter or longer than LENGTH_SHARE of their limits
SPREAD = (0.5, 2.0)
UNCOUNTED_SPREAD = (0.25, 3.0)
# of the evaluation of one model: 5,000 tokens of general texts, 2,000 of the task, 15,000 of questions
PANEL_TOKENS = 22_000


def stage_seconds(config: Config, sizes: ModelSizes, machine: Machine) -> tuple[float, float]:
    """The seconds of the warm start, and of the stage after it. On an accelerator a rollout goes on to the length limit,
    since one of its rows does.
    """
    prompt, _ = typical_lengths(config)
    warm_start, stage = stage_flops(config, sizes)
    rollout = 0.0 if config.train.method == "sft" else decode_flops(config, sizes)
    steps = config.train.num_steps
    seconds = machine.training_seconds(stage - steps * rollout, sizes, steps)
    if rollout:
        work = replace(step_work(config, 0), prompt=prompt)
        seconds += steps * machine.decoding_seconds(rollout, sizes, work)
    return machine.training_seconds(warm_start, sizes, config.sft.num_steps), seconds


def output_seconds(config: Config, sizes: ModelSizes, machine: Machine) -> float:
    """The seconds that the test set is decoded in. On an accelerator each batch goes on to the length limit."""
    prompt, completion = typical_lengths(config)
    items = config.data.test_size * len(config.data.members)
    body = sizes.parameters - sizes.embedding
    flops = 2 * items * (sizes.parameters * completion + body * prompt)
    rows = min(items, config.eval.batch_size)
    new = with_numbers(config, known_limits(config)).eval.max_new_tokens
    batch = replace(step_work(config, 0), prompts=rows, group=1, prompt=prompt, new=new)
    batches = -(-items // rows) if machine.memory and rows else 1
    return batches * machine.decoding_seconds(flops / batches, sizes, batch)


def panel_seconds(sizes: ModelSizes, machine: Machine, passes: float = 1.0) -> float:
    """The seconds of `passes` passes over the probes of general competence."""
    return machine.training_seconds(2 * sizes.parameters * PANEL_TOKENS * passes, sizes)


def evaluation_seconds(config: Config, sizes: ModelSizes, machine: Machine) -> float:
    """The seconds of the evaluation of untouched model, warm start and trained model."""
    panel = panel_seconds(sizes, machine) if config.eval.probes else 0.0
    return 3 * (output_seconds(config, sizes, machine) + panel)


def spread(config: Config) -> tuple[float, float]:
    """The least and the most that a run takes, as shares of its bill."""
    return SPREAD if counted_tokens(config) else UNCOUNTED_SPREAD


def stage_flops(config: Config, sizes: ModelSizes) -> tuple[float, float]:
    """The floating-point operations of the warm start, and of the stage after it, whose train.method may be one that
    samples nothing.
    """
    total, embedding = sizes.parameters, sizes.embedding
    body = total - embedding
    rollout = config.rollout
    train = config.train
    sft = config.sft
    prompt, completion = typical_lengths(config)
    pair = pair_flops(config, "train", body, embedding)
    anchor = (
        8 * total * anchor_tokens(config) * config.anchor.batch_size
    )  # an update: both models forward, one back
    anchored_flops = anchor if config.anchor.train else 0
    warm_pairs = sft.batch_size * pair_flops(config, "sft", body, embedding)
    warm_start = sft.num_steps * (warm_pairs + (anchor if config.anchor.sft else 0))
    warm_start += protection_flops(config, config.protection.sft, body, embedding)
    once = protection_flops(config, config.protection.train, body, embedding)
    if train.method == "sft":
        return warm_start, once + train.num_steps * (rollout.num_prompts * pair + anchored_flops)
    sampled_tokens = rollout.num_prompts * rollout.group_size * completion
    decode = decode_flops(config, sizes)
    if train.method == "best_of_group":
        return warm_start, once + train.num_steps * (decode + rollout.num_prompts * pair + anchored_flops)
    prompts = rollout.num_prompts if config.engine.share_prefix else rollout.num_prompts * rollout.group_size
    passes = train.passes * 3 + 1 + config.reuses_rollout
    update = 2 * passes * (body * (prompts * prompt + sampled_tokens) + embedding * sampled_tokens)
    return warm_start, once + train.num_steps * (decode + update + config.updates_per_step * anchored_flops)


def anchor_tokens(config: Config) -> float:
    """Of a text of the anchor: pairs of earlier tasks are whole, and as long as those of the latest one."""
    weights = config.anchor.sources
    share = weights.get(EARLIER_TASKS, 0.0) / sum(weights.values()) if weights else 0.0
    earlier = run_of(user_path(config.model.policy)) if share else None
    pair = sum(typical_lengths(replace(config, run_dir=str(earlier)))) if earlier else 0.0
    return share * pair + (1 - share) * config.anchor.max_tokens


def pair_flops(config: Config, stage: Literal["sft", "train"], body: int, embedding: int) -> float:
    """The operations of SFT on a pair, with its part of the general texts that are replayed and of the base of "asft"."""
    prompt, completion = typical_lengths(config)
    learned_tokens = completion / (1 - getattr(config.replay, stage))
    body_flops = body * (prompt + learned_tokens)
    head_flops = embedding * learned_tokens
    # the base runs forward; the policy's head makes its logits and their gradients once more
    base = 2 * (body_flops + head_flops) + 6 * head_flops
    return 6 * (body_flops + head_flops) + base * (getattr(config.token_loss, stage) == "asft")


def protection_flops(config: Config, kind: str, body: int, embedding: int) -> float:
    """The operations of what a protection reads before the first step: forward for a shield, there and back for EWC."""
    tokens = config.protection.texts * anchor_tokens(config)
    return tokens * {"shield": 2 * body, "ewc": 6 * (body + embedding)}.get(kind, 0)


def decode_flops(config: Config, sizes: ModelSizes) -> float:
    """The operations of one rollout."""
    prompt, completion = typical_lengths(config)
    prompts = config.rollout.num_prompts
    sampled = 2 * sizes.parameters * prompts * config.rollout.group_size * completion
    return sampled + 2 * (sizes.parameters - sizes.embedding) * prompts * prompt


def typical_lengths(config: Config) -> tuple[float, float]:
    """Tokens of a typical prompt and completion: medians of the token report if the run folder has one, else
    from the limits.
    """
    path = Path(config.run_dir) / "corpus.json"
    if tokens := counted_tokens(config):
        return median_of(tokens, "prompt_tokens", path), median_of(tokens, "completion_tokens", path)
    config = with_numbers(config, known_limits(config))
    return LENGTH_SHARE * config.model.max_prompt_tokens, LENGTH_SHARE * config.rollout.max_new_tokens


def counted_tokens(config: Config) -> Any:
    """The token report of the run folder; nothing before there is one."""
    return corpus_facts(Path(config.run_dir)).get("tokens")


def median_of(tokens: Any, name: str, path: Path) -> float:
    percentiles = tokens.get(name) if isinstance(tokens, dict) else None
    median = percentiles.get("p50") if isinstance(percentiles, dict) else None
    if not isinstance(median, int | float) or not 0 <= median < 1e9:
        raise InputError(
            f"{path}: tokens.{name}.p50 = {median}: a number of tokens is needed; remove the file and run the stage model"
        )
    return median


def stored_parameters(config: Config, folder: Path | None) -> tuple[int, int, bool]:
    """(all, output embedding) parameters, and whether the head is the embedding: by the headers of a model folder, where
    a head of its own has a name, or as known of the default model.
    """
    files = sorted(folder.glob("*.safetensors")) if folder else []
    if not files:
        return *DEFAULT_PARAMETERS[config.model.vocabulary], True
    counts = {name: math.prod(shape) for file in files for name, shape in tensor_shapes(file).items()}
    heads = [size for name, size in counts.items() if "embed" in name or "lm_head" in name]
    return sum(counts.values()), max(heads, default=0), not any("lm_head" in name for name in counts)


def model_sizes(config: Config, folder: Path | None) -> ModelSizes:
    """The sizes of the untouched model: of its folder, or of the default one, with the rows of all pieces of
    model.add_pieces.
    """
    path = folder / "config.json" if folder else None
    settings = DEFAULT_SIZES if path is None else model_settings(path)
    sizes = ModelSizes.of(settings, *stored_parameters(config, folder))
    return sizes.with_rows(new_rows(config, folder, sizes.vocabulary))


def new_rows(config: Config, folder: Path | None, rows: int) -> int:
    """How many rows the embedding lacks for model.add_pieces: those of no token are filled first."""
    if not config.model.add_pieces:
        return 0
    from grpo.engine.token_rows import count_tokens  # it imports transformers

    tokens = (count_tokens(folder) if folder else 0) or rows
    return max(0, tokens + config.model.add_pieces - rows)


def step_work(config: Config, packed: float) -> StepWork:
    """The work of a step with the longest prompts and completions that the limits allow; `packed`: its tokens."""
    config = with_numbers(config, known_limits(config))
    train = config.train
    rollout = config.rollout
    pair = config.model.max_prompt_tokens + config.sft.max_completion_tokens
    return StepWork(
        rollout.num_prompts,
        rollout.group_size if train.method != "sft" else 0,
        config.model.max_prompt_tokens,
        rollout.max_new_tokens,
        max(
            min(train.max_tokens_per_pass or MOST, packed),
            min(config.sft.max_tokens_per_pass or MOST, config.sft.batch_size * pair),
        ),
        has_reference=train.method in ("grpo", "recovery", "self_distillation")
        or "asft" in (config.token_loss.sft, config.token_loss.train),  # a frozen model beside the policy
        has_anchor=bool(config.anchor.sft or config.anchor.train),
        engine=config.engine,
        optimizer=train.optim.name,
        fixes_lower=all(not one.optim.lower_lr_share for one in (config.sft, train) if one.num_steps),
        protection=max((config.protection.sft, config.protection.train), key=lambda kind: PROTECTION[kind]),
        metrics=metric_bytes(config, in_training=True),
        evaluation_metrics=metric_bytes(config, in_training=False),
        processes=int(os.environ.get("WORLD_SIZE", "1")) if config.parallel.mode == "fsdp" else 1,
    )
