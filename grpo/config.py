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
Method = Literal["grpo", "sft", "best_of_group", "recovery", "self_distillation"]
WITHOUT_REWARD = ("sft", "recovery", "self_distillation")  # methods that no reward steers


@dataclass(frozen=True)
class OptimConfig:
    """Section [sft.optim] or [train.optim]. After the warm-up to `lr`, the learning rate follows `schedule`
    down to `final_lr_share` of it. `name` "sgd" is plain gradient descent: no moments, and it wants a larger
    `lr`. The norm of a gradient is cut to `max_grad_norm`; 0 = never.

    AdamW divides by sqrt(v) + `epsilon`: an `epsilon` above a weight's typical gradient makes its steps follow the
    gradient's size again, so that noise moves weights less that hardly matter.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-5
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = 0
    final_lr_share: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """Section [model]. `policy`: DEFAULT_POLICY (from its package), a transformers folder, or
    "hub:owner/name", which alone may use the network. `add_pieces`: at most so many new pieces for the vocabulary,
    learned from the reference texts of the training part (grpo/engine/new_pieces.py); 0 = none.

    `max_prompt_tokens` and the limits of completions in the next sections: 0 = as the corpus needs
    (grpo/stages/token_limits.py).
    """

    policy: str = DEFAULT_POLICY
    vocabulary: Literal["trimmed", "full"] = "trimmed"
    add_pieces: int = 0
    max_prompt_tokens: int = 0


@dataclass(frozen=True)
class SFTConfig:
    """Section [sft]: the warm start, a short SFT on the first `max_pairs` pairs (0 = on all). The loss counts
    the completion and its end token only.
    """

    num_steps: int = 60
    batch_size: int = 32
    max_pairs: int = 0
    max_completion_tokens: int = 0
    max_tokens_per_pass: int = 2048
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=1e-4, schedule="linear", warmup_steps=5, weight_decay=0.01, final_lr_share=0.1
        )
    )


@dataclass(frozen=True)
class RolloutConfig:
    """Section [rollout]: each step samples G = `group_size` completions for each of P = `num_prompts`
    prompts, at `temperature` from the full softmax.

    Where a group has no spread, another prompt's group takes its place, after at most `redraws` tries a step
    (grpo/redraw.py); 0 = it stays. The prompts are decoded in `parts` parts, one after the other: less memory, the
    same completions.

    Training stops where log-probabilities of sampler and trainer differ by more than `max_gap` nats per token,
    on average over a step; 0 = by the number format (grpo/runtime/device.py).
    """

    num_prompts: int = 8
    group_size: int = 8
    max_new_tokens: int = 0
    temperature: float = 1.0
    redraws: int = 0
    parts: int = 1
    max_gap: float = 0.0


@dataclass(frozen=True)
class AdvantageConfig:
    """Section [advantage]: what is subtracted from a reward and what divides it (grpo/advantage.py), which is
    at least `std_floor`.

    The floor of a run is never below ten times the noise that its encoder shows (reward/noise.py).
    """

    baseline: Literal["mean", "leave_one_out"] = "mean"
    scale: Literal["std", "batch_std", "none"] = "std"
    std_floor: float = 1e-3


@dataclass(frozen=True)
class LossConfig:
    """Section [loss]. `objective`: a row of OBJECTIVES (grpo/loss.py) with its clip range; `dual_clip` 0 =
    off.

    `kl_coef` (beta) is the weight of `kl_estimator` (grpo/kl.py). With `kl_target` > 0 (nats per token) a
    controller starts from it. `sampler_cap` > 0 weighs each token by the ratio of trainer to sampler, at most so
    much (truncated importance sampling, grpo/loss.py); 0 = no weights.
    """

    objective: Literal["grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo", "sapo"] = "grpo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 0.0
    kl_coef: float = 0.02
    kl_estimator: Literal["k1", "k2", "k3", "k1_ratio", "k3_ratio"] = "k3"
    kl_target: float = 0.0
    sampler_cap: float = 0.0


@dataclass(frozen=True)
class GuideConfig:
    """Section [guide]: what GRPO learns of the reference texts themselves (grpo/guide.py). Texts of more than
    `sft.max_completion_tokens` guide nothing.

    member: the text joins the group, `shaping` its importance weight. term: its likelihood counts from `weight` down
    to `final_weight`, with `uncertain_tokens` most at tokens that are neither sure nor impossible. failed: it replaces
    groups of which no reward reaches `threshold`. interleaved: it replaces every `every`-th step.
    """

    mode: Literal["none", "member", "term", "failed", "interleaved"] = "none"
    shaping: float = 0.1
    weight: float = 1.0
    final_weight: float = 0.1
    uncertain_tokens: bool = False
    threshold: float = 0.3
    every: int = 4


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

    method: Method = "grpo"
    refresh_every: int = 0
    nearest_pairs: int = 0
    num_steps: int = 60
    passes: int = 1
    prompts_per_update: int = 0
    max_tokens_per_pass: int = 2048
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
    gradients: Literal["fp32", "bf16"] = "fp32"
    moments: Literal["fp32", "8bit"] = "fp32"
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
    (grpo/anchor.py).

    `sft` is its weight in the warm start and `train` its weight after it; 0 = no anchor. An update has
    `batch_size` texts of the file `text`, which is written like `tax.text`; "" = the same file as `tax.text`.
    A text that the tax is measured on is left out.
    """

    sft: float = 0.0
    train: float = 0.0
    batch_size: int = 2
    text: str = ""


@dataclass(frozen=True)
class TokenLossConfig:
    """Section [token_loss]: what SFT makes of a token (grpo/token_loss.py), in the warm start (`sft`) and after it
    (`train`). `kl_coef` is the weight of the KL term of "asft", to the model at the start of the stage.
    """

    sft: Literal["nll", "dft", "asft"] = "nll"
    train: Literal["nll", "dft", "asft"] = "nll"
    kl_coef: float = 0.05


@dataclass(frozen=True)
class ReplayConfig:
    """Section [replay]: the share of the tokens of each SFT update that are general text (grpo/replay.py), in the
    warm start (`sft`) and after it (`train`). The texts are those of an anchor.
    """

    sft: float = 0.0
    train: float = 0.0


@dataclass(frozen=True)
class ProtectionConfig:
    """Section [protection]: what keeps parameters near the start of a stage, in the warm start (`sft`) and after it
    (`train`), whatever the method.

    shield: half of the columns of each matrix stay as they are (grpo/shield.py). l2, ewc: all parameters are pulled
    back by `strength` (grpo/pull.py). shield and ewc see what matters on the first `texts` texts of an anchor.
    """

    sft: Literal["none", "shield", "l2", "ewc"] = "none"
    train: Literal["none", "shield", "l2", "ewc"] = "none"
    strength: float = 1000.0
    texts: int = 500


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
    texts: int = 32


@dataclass(frozen=True)
class CheckpointConfig:
    """Section [checkpoint]. A run saves its state every `every` steps (0 = only when interrupted) and keeps the
    last `keep` of them, one more than is needed while nothing is damaged.

    After every `snapshots` steps of the stage train, and at its end, it also saves the model for evaluation
    (0 = never).
    """

    every: int = 25
    keep: int = 2
    snapshots: int = 0


@dataclass(frozen=True)
class EvalConfig:
    """Section [eval]: greedy decoding of the test set, and with `probes` the general-competence probes;
    `extended_probes`: those of BIG-bench too (a package of 358 MB).

    Every `every` steps of training (0 = never) the first `dev_items` of the dev set get the run's own reward and the
    score `best_by`: a curve in the log. The checkpoint with the highest `best_by` is kept. It is "reward", or a score
    that the run does not reward.
    """

    every: int = 0
    best_by: Literal["reward", "cosine_held_out", "cosine", "chrf", "bleu", "rouge_l"] = "cosine_held_out"
    dev_items: int = 128
    batch_size: int = 64
    max_new_tokens: int = 0
    bootstrap_samples: int = 2000
    probes: bool = True
    extended_probes: bool = False


@dataclass(frozen=True)
class LogConfig:
    """Section [log]: the tools that get the numbers of metrics.jsonl too (grpo/runtime/trackers.py). Their own
    environment variables say whether they work offline.
    """

    to: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ("tensorboard",)


@dataclass(frozen=True)
class Config:
    """A whole run: `seed` of everything that is random, the folder `run_dir`, `device` (auto: an
    accelerator where there is one), CPU `threads` (0 = torch's choice), and its sections.
    """

    seed: int = 0
    run_dir: str = "runs/mt"
    device: str = "auto"
    threads: int = 0
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
    for name in (name for name in numbers if not value_of(config, name)):
        section, key = name.split(".")
        own: Any = getattr(config, section)
        config = replace(config, **{section: replace(own, **{key: numbers[name]})})
    return config
