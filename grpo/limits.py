"""How large or small a setting may be: one table. That numbers are finite at all is seen to by data/documents.py.

The bounds are generous; beyond them a run could only fail later, in words that name no setting. Rules between settings, and those that
deserve a reason, are in `grpo.config.check`.
"""

from operator import attrgetter
from typing import Any

from data.errors import InputError

LIMITS: tuple[tuple[float, float, str], ...] = (  # lowest, highest, settings
    (0, 2**53, "seed data.seed"),
    (0, 1024, "threads"),
    (0, 10**9, "sft.num_steps train.num_steps checkpoint.every eval.every sft.optim.warmup_steps train.optim.warmup_steps"),
    (0, 10**9, "sft.max_pairs checkpoint.snapshots"),
    (0, 10**6, "train.prompts_per_update"),
    (1, 10**6, "sft.batch_size rollout.num_prompts eval.batch_size eval.dev_items eval.bootstrap_samples train.passes checkpoint.keep"),
    (1, 10**6, "tax.every tax.texts tax.anchor_texts"),
    (2, 10**6, "rollout.group_size"),
    (1, 10**6, "model.max_prompt_tokens sft.max_completion_tokens rollout.max_new_tokens eval.max_new_tokens"),
    (1, 10**8, "sft.max_tokens_per_pass train.max_tokens_per_pass"),
    (0.01, 100, "rollout.temperature"),
    (1e-12, 100, "sft.optim.lr train.optim.lr"),
    (0, 10, "sft.optim.weight_decay train.optim.weight_decay"),
    (0, 1, "sft.optim.final_lr_share train.optim.final_lr_share loss.clip_low"),
    (0, 0.999999, "sft.optim.beta1 sft.optim.beta2 train.optim.beta1 train.optim.beta2"),
    (1e-6, 1e6, "sft.optim.max_grad_norm train.optim.max_grad_norm loss.clip_high"),
    (1e-12, 1e3, "advantage.std_floor"),
    (0, 1e3, "loss.kl_coef loss.kl_target tax.budget sft.anchor train.anchor"),
    (0, 1e6, "loss.dual_clip rollout.max_gap"),
)


def check_limits(config: Any) -> None:
    """InputError for the first setting outside its limits."""
    for low, high, keys in LIMITS:
        for key in keys.split():
            value = attrgetter(key)(config)
            if not low <= value <= high:
                raise InputError(f"{key} = {value}: must lie between {low:g} and {high:g}")
    if not config.run_dir.strip():
        raise InputError("run_dir is empty; write a folder such as runs/mt")
