"""Every setting and its default, as nested frozen dataclasses; grpo/config_file.py reads them from TOML.

Defaults live here and in the two section classes of `data` and `reward`, nowhere else.
"""

from dataclasses import dataclass, field

from data.prepare import DataConfig
from reward.combine import RewardConfig


@dataclass(frozen=True)
class OptimConfig:
    """`lr` is the peak; `schedule` after the warm-up is constant, linear or cosine, down to `final_lr_share`
    of the peak.
    """

    lr: float = 1e-5
    schedule: str = "constant"
    warmup_steps: int = 0
    final_lr_share: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """`policy`: "gemma-3-270m" (from its package), a transformers folder, or "hub:owner/name", which alone
    may use the network.
    """

    policy: str = "gemma-3-270m"
    vocabulary: str = "trimmed"
    max_prompt_tokens: int = 96


@dataclass(frozen=True)
class SFTConfig:
    """The warm start: a short SFT, loss on the completion and its end token only; on the first `max_pairs`
    pairs (0 = on all).

    `anchor`: weight of KL(untouched || policy) on general text (section tax) in every update; 0 = none.
    """

    num_steps: int = 60
    batch_size: int = 32
    max_pairs: int = 0
    anchor: float = 0.0
    max_completion_tokens: int = 32
    max_tokens_per_pass: int = 2048
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=1e-4, schedule="linear", warmup_steps=5, weight_decay=0.01, final_lr_share=0.1
        )
    )


@dataclass(frozen=True)
class RolloutConfig:
    """P = num_prompts prompts a step, G = group_size completions each, drawn at `temperature` from the full
    softmax.

    Training stops where log-probabilities of sampler and trainer differ by more than `max_gap` nats; 0 = as
    the number format asks. `fast_decode` = false samples by the model's own forward pass instead of the one
    written out in grpo/engine/decode_step.py.
    """

    num_prompts: int = 8
    group_size: int = 8
    max_new_tokens: int = 32
    temperature: float = 1.0
    max_gap: float = 0.0
    fast_decode: bool = True


@dataclass(frozen=True)
class AdvantageConfig:
    """`baseline`: mean or leave_one_out; `scale`: std, batch_std or none (grpo/advantage.py); less than
    `std_floor` is never divided by.

    The floor of a run is never below ten times the noise that its encoder shows (reward/noise.py).
    """

    baseline: str = "mean"
    scale: str = "std"
    std_floor: float = 1e-3


@dataclass(frozen=True)
class LossConfig:
    """`objective`: a row of OBJECTIVES (grpo/loss.py) with its clip range; `dual_clip` 0 = off.

    `kl_coef` (beta) weighs `kl_estimator` (grpo/kl.py); with `kl_target` > 0 (nats a token) it is only where
    a controller starts.
    """

    objective: str = "grpo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 0.0
    kl_coef: float = 0.02
    kl_estimator: str = "k3"
    kl_target: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """GRPO: steps, passes over each rollout (mu), groups in one update (0 = all), packed tokens in one
    forward pass.

    `method` "sft" and "best_of_group" imitate instead, at the very prompts that GRPO would see: the reference
    texts, or the best of `rollout.group_size` samples of the warm start by the run's own reward
    (grpo/stages/imitation.py). `packed_attention`: on a CPU, attention skips pairs of packed tokens that see
    nothing of each other (grpo/engine/attention.py). `gradient_checkpointing` computes activations again in
    the backward pass instead of keeping them, in the warm start too. `anchor`: as `sft.anchor`, in every
    update of this stage.
    """

    method: str = "grpo"
    num_steps: int = 60
    passes: int = 1
    prompts_per_update: int = 0
    max_tokens_per_pass: int = 2048
    share_prefix: bool = True
    packed_attention: bool = True
    gradient_checkpointing: bool = False
    anchor: float = 0.0
    optim: OptimConfig = field(default_factory=OptimConfig)


@dataclass(frozen=True)
class TaxConfig:
    """`budget`: nats a token that training may cost on general text; 0 = no budget. Measured every `every`
    steps and at the end.

    `against`: the cost is counted from the "warm_start" or from the "untouched" model. `text`: a UTF-8 file,
    one text a line (JSON lines with a "text" where it ends in .jsonl); "" = built-in news texts. The first
    `texts` of them count, up to 96 tokens each. The KL coefficient, of which `loss.kl_coef` is the least, and
    going back keep it; in imitation only going back (grpo/stages/tax_controller.py). The anchors of
    `sft.anchor` and `train.anchor` (grpo/anchor.py) are `anchor_texts` other such texts an update.
    """

    budget: float = 0.0
    every: int = 5
    against: str = "warm_start"
    text: str = ""
    texts: int = 32
    anchor_texts: int = 2


@dataclass(frozen=True)
class CheckpointConfig:
    """Save every `every` steps (0 = only when interrupted) and keep the last `keep`, one more than is needed
    while nothing is damaged.

    After every `snapshots` steps of the stage train, and at its end, the model is also exported for evaluation
    (0 = never).
    """

    every: int = 25
    keep: int = 2
    snapshots: int = 0


@dataclass(frozen=True)
class EvalConfig:
    """Greedy decoding of the test set and the general-competence probes; `extended_probes`: those of
    BIG-bench too (a package of 358 MB).

    During GRPO, every `every` steps (0 = never) the first `dev_items` of the dev set get the run's own
    reward: a curve in the log, and the checkpoint that did best is kept.
    """

    every: int = 0
    dev_items: int = 128
    batch_size: int = 64
    max_new_tokens: int = 40
    bootstrap_samples: int = 2000
    probes: bool = True
    extended_probes: bool = False


@dataclass(frozen=True)
class Config:
    seed: int = 0
    run_dir: str = "runs/mt"
    device: str = "auto"
    threads: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    sft: SFTConfig = field(default_factory=SFTConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tax: TaxConfig = field(default_factory=TaxConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

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
