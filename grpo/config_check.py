"""What a configuration may hold: one table of bounds, and the rules between settings.

The bounds are generous; beyond them a run could only fail later, in words that name no setting. Choices are
checked by grpo/config_file.py, and that numbers are finite at all by data/documents.py.
"""

from data.config import check as check_data
from data.documents import LARGEST
from data.prompt_config import check as check_prompt
from data.settings import Bounds, Rule, check_bounds, check_rules
from grpo.config import Config
from reward.combine import check_section as check_reward

BOUNDS = (
    Bounds(0, LARGEST, "seed"),
    Bounds(0, 1024, "threads"),
    Bounds(0, 10**9, "sft.num_steps train.num_steps sft.optim.warmup_steps train.optim.warmup_steps"),
    Bounds(0, 10**9, "sft.max_pairs checkpoint.every checkpoint.snapshots eval.every"),
    Bounds(0, 10**6, "train.prompts_per_update"),
    Bounds(0, 64, "prompt.shots"),
    Bounds(1, 10**6, "sft.batch_size rollout.num_prompts anchor.batch_size eval.batch_size"),
    Bounds(
        1, 10**6, "train.passes tax.every tax.texts checkpoint.keep eval.dev_items eval.bootstrap_samples"
    ),
    Bounds(2, 10**6, "rollout.group_size", "GRPO compares the completions of one prompt"),
    Bounds(1, 10**6, "model.max_prompt_tokens sft.max_completion_tokens"),
    Bounds(1, 10**6, "rollout.max_new_tokens eval.max_new_tokens"),
    Bounds(0, 10**8, "sft.max_tokens_per_pass train.max_tokens_per_pass"),
    Bounds(0.01, 100, "rollout.temperature", "GRPO samples"),
    Bounds(1e-12, 100, "sft.optim.lr train.optim.lr"),
    Bounds(0, 10, "sft.optim.weight_decay train.optim.weight_decay"),
    Bounds(0, 1, "sft.optim.final_lr_share train.optim.final_lr_share"),
    Bounds(0, 0.999999, "sft.optim.beta1 sft.optim.beta2 train.optim.beta1 train.optim.beta2"),
    Bounds(0, 10**6, "sft.optim.max_grad_norm train.optim.max_grad_norm"),
    Bounds(5, 10**6, "parallel.patience"),
    Bounds(1e-6, 0.999999, "loss.clip_low"),
    Bounds(1e-6, 10**6, "loss.clip_high"),
    Bounds(0, 10**6, "loss.dual_clip loss.sampler_cap rollout.max_gap"),
    Bounds(0, 1000, "loss.kl_coef loss.kl_target tax.budget anchor.sft anchor.train"),
    Bounds(1e-12, 1000, "advantage.std_floor"),
)


def check(config: Config) -> None:
    """InputError for the first setting, or combination of settings, that cannot work; it names them and what
    would do.
    """
    check_bounds(config, BOUNDS)
    check_data(config.data)
    check_prompt(config.prompt)
    check_reward(config.reward)
    check_rules([*training_rules(config), *corpus_rules(config), *tax_rules(config)])


def training_rules(config: Config) -> list[Rule]:
    """Rules of the rollout, the loss and the update."""
    train = config.train
    loss = config.loss
    prompts = config.rollout.num_prompts
    return [
        (not config.run_dir.strip(), "run_dir is empty; write a folder such as runs/mt"),
        (
            prompts % (train.prompts_per_update or prompts) != 0,
            f"train.prompts_per_update = {train.prompts_per_update} does not divide rollout.num_prompts = {prompts}",
        ),
        (
            loss.dual_clip != 0 and loss.dual_clip <= 1 + loss.clip_high,
            f"loss.dual_clip = {loss.dual_clip}: must be 0 (off) or above 1 + loss.clip_high = {1 + loss.clip_high}",
        ),
        (
            loss.kl_target > 0 and loss.kl_coef == 0,
            "loss.kl_target moves loss.kl_coef, which is 0 and would stay so; start from e.g. 0.02",
        ),
        (
            train.method != "grpo" and config.updates_per_step > 1,
            f"train.method = {train.method!r} makes one update of each step; write train.passes=1 and train.prompts_per_update=0",
        ),
        (
            train.method == "sft" and config.reward.control != "none",
            f"reward.control = {config.reward.control!r} changes nothing: train.method = 'sft' imitates the references without a reward",
        ),
    ]


def corpus_rules(config: Config) -> list[Rule]:
    """Rules of what needs a part of the corpus, which may be set to nothing."""
    data = config.data
    threshold = config.reward.threshold
    return [
        (
            data.warm_start_share == 0 and config.sft.num_steps > 0,
            f"data.warm_start_share = 0.0 leaves no pairs for sft.num_steps = {config.sft.num_steps}; raise one, or write 0 for both",
        ),
        (
            data.dev_size == 0 and isinstance(threshold, str),
            f"reward.threshold = {threshold!r} is measured on the dev set, and data.dev_size = 0; raise data.dev_size, or write a number",
        ),
        (
            data.dev_size == 0 and config.eval.every > 0,
            f"eval.every = {config.eval.every} looks at the dev set, and data.dev_size = 0; raise data.dev_size, or write eval.every=0",
        ),
    ]


def tax_rules(config: Config) -> list[Rule]:
    """Rules of a tax budget."""
    tax = config.tax
    loss = config.loss
    dev = config.eval.every
    return [
        (
            tax.budget > 0 and loss.kl_coef == 0 and config.train.method == "grpo",
            "tax.budget is held by multiplying loss.kl_coef, which is 0 and would stay so; start from e.g. 0.02",
        ),
        (
            tax.budget > 0 and loss.kl_target > 0,
            "tax.budget and loss.kl_target would both move loss.kl_coef; set one of them to 0",
        ),
        (
            tax.budget > 0 and dev % tax.every != 0,
            f"eval.every = {dev} may choose a step at which no tax is measured; make it a multiple of tax.every = {tax.every}",
        ),
    ]
