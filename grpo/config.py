"""Every setting and its default, as nested frozen dataclasses; grpo/config_file.py reads them from TOML.

Defaults live here and in the section classes of `data` and `reward`, nowhere else. A `Literal` lists all
values that a setting can have; the bounds of numbers are in grpo/config_check.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from data.config import DataConfig
from data.prompt_config import PromptConfig
from reward.combine import RewardConfig

DEFAULT_POLICY = "gemma-3-270m"
EARLIER_TASKS = "earlier_tasks"  # in anchor.sources: the pairs of earlier runs
Method = Literal["grpo", "sft", "best_of_group", "recovery", "self_distillation"]
WITHOUT_REWARD = ("sft", "recovery", "self_distillation")  # methods that no reward steers


@dataclass(frozen=True)
class OptimConfig:
    """Section [sft.optim] or [train.optim].

    Where `lower_lr_share` is 0, what it names stays as it is and has no gradient and no moments (grpo/layer_rates.py).
    AdamW divides by sqrt(v) + `epsilon`: an `epsilon` above a weight's typical gradient makes its steps follow the
    gradient's size again, so that noise moves weights less that hardly matter.
    """

    name: Literal["adamw", "sgd"] = "adamw"  # "sgd" has no moments and wants a larger `lr`
    lr: float = 1e-5  # the learning rate after the warm-up
    schedule: Literal["constant", "linear", "cosine"] = (
        "constant"  # how the learning rate goes on after the warm-up
    )
    warmup_steps: int = 0  # updates in which the learning rate rises to `lr`
    final_lr_share: float = 0.0  # share of `lr` right after the last update
    lower_lr_share: float = 1.0  # share of `lr` for embeddings and the lower third of the layers; 0 = frozen
    weight_decay: float = 0.0  # decoupled from the gradient; 0 = none
    beta1: float = 0.9  # decay of AdamW's mean of gradients
    beta2: float = 0.99  # decay of AdamW's mean of their squares
    epsilon: float = 1e-8  # added to AdamW's denominator, sqrt(v)
    max_grad_norm: float = 1.0  # norm to which gradients are clipped; 0 = never


@dataclass(frozen=True)
class ModelConfig:
    """Section [model]. Only a `policy` "hub:owner/name" may use the network. New pieces are learned from the
    reference texts of the training part (grpo/engine/new_pieces.py). Limits: grpo/stages/token_limits.py.
    """

    policy: str = DEFAULT_POLICY  # the built-in model, a transformers folder, or hub:owner/name
    vocabulary: Literal["trimmed", "full"] = "trimmed"  # "trimmed" has Tibetan, Chinese and common Latin only
    add_pieces: int = 0  # new pieces for the vocabulary, at most; 0 = none
    max_prompt_tokens: int = 0  # longest prompt; 0 = as the corpus needs


@dataclass(frozen=True)
class SFTConfig:
    """Section [sft]: the warm start, a short SFT. The loss counts the completion and its end token only."""

    num_steps: int = 60  # updates of the warm start; 0 = no warm start
    batch_size: int = 32  # pairs an update
    pairs: Literal["own", "all"] = "own"  # "own": of its part of the corpus; "all": of the later stage too
    max_pairs: int = 0  # use only the first pairs, at most so many; 0 = all
    max_completion_tokens: int = 0  # longest reference text; 0 = as the corpus needs
    max_tokens_per_pass: int = 2048  # packed tokens of a forward pass; 0 = by the free memory
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=1e-4, schedule="linear", warmup_steps=5, weight_decay=0.01, final_lr_share=0.1
        )
    )


@dataclass(frozen=True)
class RolloutConfig:
    """Section [rollout]: each step samples G = `group_size` completions for each of P = `num_prompts` prompts.

    Where a group has no spread, another prompt's group takes its place, after at most `redraws` tries a step
    (grpo/redraw.py); 0 = it stays. The prompts are decoded in `parts` parts, one after the other: less memory, the
    same completions.

    Training stops where log-probabilities of sampler and trainer differ by more than `max_gap` nats per token,
    on average over a step; 0 = by the number format (grpo/runtime/device.py).
    """

    num_prompts: int = 8  # prompts a step
    group_size: int = 8  # completions of each prompt
    max_new_tokens: int = 0  # longest completion; 0 = as the corpus needs
    temperature: float = 1.0  # of the softmax from which tokens are sampled
    redraws: int = 0
    parts: int = 1
    max_gap: float = 0.0


@dataclass(frozen=True)
class AdvantageConfig:
    """Section [advantage]: what is subtracted from a reward and what divides it (grpo/advantage.py), which is
    at least `std_floor`.

    The floor of a run is never below ten times the noise that its encoder shows (reward/noise.py).
    """

    baseline: Literal["mean", "leave_one_out"] = (
        "mean"  # what is subtracted: the group's mean, or that of the others
    )
    scale: Literal["std", "batch_std", "none"] = "std"  # what divides: deviation of the group, of all, or 1
    std_floor: float = 1e-3  # the divisor is at least this


@dataclass(frozen=True)
class LossConfig:
    """Section [loss]. `objective`: a row of OBJECTIVES (grpo/loss.py, docs/training.md) with its clip range.

    `kl_coef` (beta) is the weight of `kl_estimator` (grpo/kl.py). With `kl_target` > 0 (nats per token) a
    controller starts from it. `sampler_cap` > 0 weighs each token by the ratio of trainer to sampler, at most so
    much (truncated importance sampling, grpo/loss.py); 0 = no weights. `skip_cut` gives a completion that the length
    limit has cut no loss; its reward still counts in its group (overlong filtering, DAPO, arXiv 2503.14476).
    """

    objective: Literal["grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo", "sapo"] = "grpo"
    clip_low: float = 0.2  # a ratio below 1 - `clip_low` is clipped
    clip_high: float = 0.2  # a ratio above 1 + `clip_high` is clipped
    dual_clip: float = 0.0  # largest ratio at a negative advantage; 0 = off
    kl_coef: float = 0.02  # beta, the weight of the KL term
    kl_estimator: Literal["k1", "k2", "k3", "k1_ratio", "k3_ratio"] = "k3"  # how samples give the KL
    kl_reference: Literal["warm_start", "untouched"] = "warm_start"  # the model from which the KL is counted
    kl_target: float = 0.0  # nats per token to which a controller moves `kl_coef`; 0 = none
    sampler_cap: float = 0.0
    skip_cut: bool = False


@dataclass(frozen=True)
class GuideConfig:
    """Section [guide]: what GRPO learns of the reference texts themselves (grpo/guide.py). `mode`: how texts guide GRPO;
    each other setting is of one mode. Texts of more than `sft.max_completion_tokens` guide nothing.

    member: the text joins the group, `shaping` its importance weight. term: its likelihood counts from `weight` down
    to `final_weight`, with `uncertain_tokens` most at tokens that are neither sure nor impossible. failed: it replaces
    groups of which no reward reaches `threshold`. interleaved: it replaces every `every`-th step.
    """

    mode: Literal["none", "member", "term", "failed", "interleaved"] = "none"
    shaping: float = 0.1  # importance weight of the text in "member"
    weight: float = 1.0  # weight of the likelihood in "term", at the first step
    final_weight: float = 0.1  # the same at the last step
    uncertain_tokens: bool = False  # weighs tokens by p (1 - p), in all modes but "member"
    threshold: float = 0.3  # "failed" replaces groups of which no reward reaches it
    every: int = 4  # "interleaved" replaces one step of so many


@dataclass(frozen=True)
class TrainConfig:
    """Section [train], after the warm start: `num_steps` steps, each with `passes` passes (mu) over its rollout
    in updates of `prompts_per_update` groups (0 = all). A forward pass has at most `max_tokens_per_pass` packed
    tokens; 0 = by the free memory (grpo/stages/pass_size.py), also in [sft].

    `method` "grpo" reinforces. "sft" and "best_of_group" imitate, at the prompts that GRPO would see: the
    reference texts, or the best of `rollout.group_size` samples of the warm start by the run's own reward
    (grpo/stages/imitation.py); with `refresh_every` = k > 0 every k steps those of the policy.

    "recovery" and "self_distillation" distil on the policy's own samples: from the untouched model on general texts
    (grpo/stages/recovery.py), or from the warm start with a demonstration in its prompt
    (grpo/stages/self_distillation.py): the reference text, or `nearest_pairs` pairs of the training part.
    """

    method: Method = "grpo"  # what the stage train does (docs/training.md)
    refresh_every: int = 0  # "best_of_group" samples again every so many steps; 0 = once
    nearest_pairs: int = 0  # pairs of a demonstration in "self_distillation"; 0 = the reference text
    num_steps: int = 60  # steps after the warm start
    passes: int = 1  # passes over each rollout (mu)
    prompts_per_update: int = 0  # groups of an update; 0 = all
    max_tokens_per_pass: int = 2048  # packed tokens of a forward pass; 0 = by the free memory
    optim: OptimConfig = field(default_factory=OptimConfig)


@dataclass(frozen=True)
class EngineConfig:
    """Section [engine]: what makes a run faster or smaller and changes nothing that it learns.

    `fast_decode` samples by the forward pass of grpo/engine/decode_step.py instead of the model's own.
    `share_prefix` stores a prompt once in front of its group. `packed_attention`: attention skips pairs
    of packed tokens that see nothing of each other (grpo/engine/attention.py). `gradient_checkpointing`
    computes activations again in the backward pass instead of keeping them. `number_format` of the operands of
    matrix products (grpo/engine/products.py): auto is fp16 on an accelerator and fp32 on a CPU. `deterministic`
    takes kernels on an accelerator that give the same bits every time, where torch has them; a CPU always does.
    `fuse` compiles the layers of packed rows (grpo/engine/fused_layers.py): auto does so on an accelerator.

    The others save memory (docs/memory.md). `weights` "split" keeps each layer's matrices as two 16-bit halves of
    the exact fp32 value. `gradients` and `moments` choose their formats. `step_in_backward` updates a parameter
    as soon as its gradient is there. `frozen` "host" keeps models that are not trained in the host's memory.
    """

    fast_decode: bool = True
    share_prefix: bool = True
    packed_attention: bool = True
    gradient_checkpointing: bool = False
    number_format: Literal["auto", "fp32", "bf16", "fp16", "bf16x2"] = "auto"
    deterministic: bool = False
    fuse: Literal["auto", "on", "off"] = "auto"
    weights: Literal["fp32", "split"] = "fp32"
    gradients: Literal["fp32", "bf16"] = "fp32"  # the format of gradients
    moments: Literal["fp32", "8bit"] = "fp32"  # the format of AdamW's moments
    step_in_backward: bool = False
    frozen: Literal["device", "host"] = "device"


@dataclass(frozen=True)
class ParallelConfig:
    """Section [parallel]: how the processes of `torchrun` share the work (docs/many-machines.md). `mode` "none":
    there is one process. "data": each holds the whole model. "fsdp": each holds its share of every model.

    A process that gives no sign of life for `patience` seconds has failed, and the others stop.
    """

    mode: Literal["none", "data", "fsdp"] = "data"
    patience: float = 60.0


@dataclass(frozen=True)
class AnchorConfig:
    """Section [anchor]: KL(untouched || policy) on general text, which is added to the loss of every update
    (grpo/anchor.py). A text that the tax is measured on is left out.
    """

    sft: float = 0.0  # weight of the KL in the warm start; 0 = no anchor
    train: float = 0.0  # weight of the KL after it; 0 = no anchor
    batch_size: int = 2  # general texts an update
    texts: int = 256  # general texts in all, at most; take more where an update has many
    max_tokens: int = 64  # tokens of a general text, counted from its beginning, at most
    text: str = ""  # file of general texts; "" = that of `tax.text`
    sources: dict[str, float] = field(default_factory=dict)  # collections and weights (docs/training.md)


@dataclass(frozen=True)
class TokenLossConfig:
    """Section [token_loss]: what SFT makes of a token (grpo/token_loss.py), in the warm start (`sft`) and after it
    (`train`). `kl_coef` is the weight of the KL term of "asft", to the model at the start of the stage.
    """

    sft: Literal["nll", "dft", "asft"] = "nll"  # the loss of a token in the warm start
    train: Literal["nll", "dft", "asft"] = "nll"  # the loss of a token after it
    kl_coef: float = 0.05


@dataclass(frozen=True)
class ReplayConfig:
    """Section [replay]: the share of the tokens of each SFT update that are general text (grpo/replay.py), in the
    warm start (`sft`) and after it (`train`). The texts are those of an anchor.
    """

    sft: float = 0.0  # share of general text in the warm start
    train: float = 0.0  # share of general text after it


@dataclass(frozen=True)
class ProtectionConfig:
    """Section [protection]: what keeps parameters near the start of a stage, in the warm start (`sft`) and after it
    (`train`), whatever the method.

    shield: half of the columns of each matrix stay as they are (grpo/shield.py). l2, ewc: all parameters are pulled
    back by `strength` (grpo/pull.py). shield and ewc see what matters on the first `texts` texts of an anchor.
    """

    sft: Literal["none", "shield", "l2", "ewc"] = "none"  # what protects parameters in the warm start
    train: Literal["none", "shield", "l2", "ewc"] = "none"  # what protects parameters after it
    strength: float = 1000.0  # how strongly "l2" and "ewc" pull
    texts: int = 500  # general texts on which "shield" and "ewc" measure what matters


@dataclass(frozen=True)
class TaxConfig:
    """Section [tax]. `budget`: nats per token that training may cost on general text; 0 = no budget. The cost
    is measured every `every` steps and at the end.

    `against`: the model that the cost is counted from. `text`: a UTF-8 file, one text a line (JSON lines with
    a "text" where it ends in .jsonl); "" = built-in news texts. The first `texts` of them count, up to 96
    tokens each. The KL coefficient, of which `loss.kl_coef` is the least, and going back keep the budget; in
    imitation only going back (grpo/stages/tax_controller.py).
    """

    budget: float = 0.0
    every: int = 5
    against: Literal["warm_start", "untouched"] = "warm_start"
    text: str = ""
    texts: int = 32  # texts on which the tax is measured, the first ones


@dataclass(frozen=True)
class CheckpointConfig:
    """Section [checkpoint]. Of two saved states one is enough while nothing is damaged. Models for evaluation are
    saved in the stage train and at its end.
    """

    every: int = 25  # steps from one saved state to the next; 0 = only when interrupted
    keep: int = 2  # saved states to keep
    snapshots: int = 0  # steps from one model for evaluation to the next; 0 = none


@dataclass(frozen=True)
class EvalConfig:
    """Section [eval]: greedy decoding of the test set, and with `probes` the general-competence probes;
    `extended_probes`: those of BIG-bench too (a package of 358 MB).

    Every `every` steps of training (0 = never) the first `dev_items` of the dev set get the run's own reward and the
    score `best_by`: a curve in the log. `best_by`: the score by which the best checkpoint is kept, "reward" or one
    that the run does not reward: cosine_held_out, cosine, chrf, bleu, rouge_l, or a name in `reward.metrics`.
    """

    every: int = 0  # steps from one score of the dev set to the next; 0 = never
    best_by: str = "cosine_held_out"
    dev_items: int = 128  # items of the dev set that are scored
    batch_size: int = 64  # prompts decoded at a time
    max_new_tokens: int = 0  # longest output; 0 = as the corpus needs
    bootstrap_samples: int = 2000  # resamples for the intervals
    by_document: bool = False  # intervals draw whole documents (an item's id up to the last "#")
    probes: bool = True  # measures general competence too
    extended_probes: bool = False  # adds five question sets of BIG-bench (a package of 358 MB)


@dataclass(frozen=True)
class LogConfig:
    """Section [log]. The tools in `to` get the numbers of metrics.jsonl too (grpo/runtime/trackers.py). Their own
    environment variables say whether they work offline.
    """

    to: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ("tensorboard",)


@dataclass(frozen=True)
class Config:
    """A whole run and its sections."""

    seed: int = 0  # the number that all random draws follow from
    run_dir: str = "runs/mt"  # the folder of the run
    device: str = "auto"  # "auto": an accelerator where there is one, else the CPU
    threads: int = 0  # threads of a CPU; 0 = torch's choice
    data: DataConfig = field(default_factory=DataConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    sft: SFTConfig = field(default_factory=SFTConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    guide: GuideConfig = field(default_factory=GuideConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    token_loss: TokenLossConfig = field(default_factory=TokenLossConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    protection: ProtectionConfig = field(default_factory=ProtectionConfig)
    tax: TaxConfig = field(default_factory=TaxConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def updates_per_step(self) -> int:
        """Optimiser updates that follow a rollout; after the first the policy has moved away from the one
        that sampled.
        """
        return (
            self.train.passes
            * self.rollout.num_prompts
            // (self.train.prompts_per_update or self.rollout.num_prompts)
        )

    @property
    def reuses_rollout(self) -> bool:
        return self.updates_per_step > 1

    @property
    def trains_on_general_text(self) -> bool:
        """Does anything besides a tax budget read general texts?"""
        kinds = {self.protection.sft, self.protection.train}
        weights = (self.anchor.sft, self.anchor.train, self.replay.sft, self.replay.train)
        recovers = self.train.method == "recovery"
        return recovers or any(weights) or not kinds.isdisjoint({"shield", "ewc"})


def value_of(config: Config, name: str) -> Any:
    """The value of the setting "section.key"."""
    section, key = name.split(".")
    return getattr(getattr(config, section), key)


def with_numbers(config: Config, numbers: Mapping[str, int]) -> Config:
    """The configuration with these numbers, by "section.key", where its own is 0."""
    return with_values(config, {name: numbers[name] for name in numbers if not value_of(config, name)})


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with these values, by "section.key"."""
    for name, value in values.items():
        section, key = name.split(".")
        own: Any = getattr(config, section)
        config = replace(config, **{section: replace(own, **{key: value})})
    return config
