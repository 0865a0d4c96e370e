"""What a configuration may hold: one table of bounds, and the rules between settings.

The bounds are generous; beyond them a run could only fail later, in words that name no setting. That numbers
are finite at all is seen to by data/documents.py.
"""

from operator import attrgetter

from data.errors import InputError
from grpo.advantage import BASELINES, SCALES
from grpo.config import Config
from grpo.kl import KL_ESTIMATORS
from grpo.loss import OBJECTIVES

LIMITS: tuple[tuple[float, float, str], ...] = (  # lowest, highest, settings
    (0, 2**53, "seed data.seed"),
    (0, 1024, "threads"),
    (
        0,
        10**9,
        "sft.num_steps train.num_steps checkpoint.every eval.every sft.optim.warmup_steps train.optim.warmup_steps",
    ),
    (0, 10**9, "sft.max_pairs checkpoint.snapshots"),
    (0, 10**6, "train.prompts_per_update"),
    (
        1,
        10**6,
        "sft.batch_size rollout.num_prompts eval.batch_size eval.dev_items eval.bootstrap_samples train.passes checkpoint.keep",
    ),
    (1, 10**6, "tax.every tax.texts tax.anchor_texts"),
    (2, 10**6, "rollout.group_size"),
    (
        1,
        10**6,
        "model.max_prompt_tokens sft.max_completion_tokens rollout.max_new_tokens eval.max_new_tokens",
    ),
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


def check_limits(config: Config) -> None:
    """InputError for the first setting outside its limits."""
    for low, high, keys in LIMITS:
        for key in keys.split():
            value = attrgetter(key)(config)
            if not low <= value <= high:
                raise InputError(f"{key} = {value}: must lie between {low:g} and {high:g}")
    if not config.run_dir.strip():
        raise InputError("run_dir is empty; write a folder such as runs/mt")


POSITIVE = (  # counts that may not be 0
    "sft.batch_size sft.max_completion_tokens sft.max_tokens_per_pass rollout.num_prompts rollout.max_new_tokens "
    "train.passes tax.every tax.texts tax.anchor_texts train.max_tokens_per_pass model.max_prompt_tokens "
    "eval.batch_size eval.max_new_tokens eval.bootstrap_samples checkpoint.keep"
)


METHODS = ("grpo", "sft", "best_of_group")


def check(config: Config) -> None:
    """Refuse values and combinations that cannot work; each message names the fields and values that would
    do.
    """
    rollout = config.rollout
    train = config.train
    loss = config.loss
    per_update = train.prompts_per_update or rollout.num_prompts
    positive = {name: attrgetter(name)(config) for name in POSITIVE.split()}
    problems = [f"{name} = {value}: must be at least 1" for name, value in positive.items() if value < 1]
    problems += unknown_choices(config)
    lowest_lr = min(train.optim.lr, config.sft.optim.lr)
    broken_rules = [
        (
            rollout.group_size < 2,
            f"rollout.group_size = {rollout.group_size}: GRPO compares completions of one prompt; use 2 or more",
        ),
        (
            rollout.temperature <= 0,
            f"rollout.temperature = {rollout.temperature}: GRPO samples; use a value above 0, e.g. 1.0",
        ),
        (
            per_update < 1 or rollout.num_prompts % per_update != 0,
            f"train.prompts_per_update = {per_update} does not divide rollout.num_prompts = {rollout.num_prompts}",
        ),
        (not 0 < loss.clip_low < 1, f"loss.clip_low = {loss.clip_low}: must lie between 0 and 1"),
        (loss.clip_high <= 0, f"loss.clip_high = {loss.clip_high}: must be above 0"),
        (
            loss.dual_clip != 0 and loss.dual_clip <= 1 + loss.clip_high,
            f"loss.dual_clip = {loss.dual_clip}: must be 0 (off) or above 1 + loss.clip_high = {1 + loss.clip_high}",
        ),
        (loss.kl_coef < 0, f"loss.kl_coef = {loss.kl_coef}: must not be negative"),
        (loss.kl_target < 0, f"loss.kl_target = {loss.kl_target}: must not be negative"),
        (
            loss.kl_target > 0 and loss.kl_coef == 0,
            "loss.kl_target moves loss.kl_coef, which is 0 and would stay so; start from e.g. 0.02",
        ),
        (rollout.max_gap < 0, f"rollout.max_gap = {rollout.max_gap}: must not be negative"),
        (
            config.advantage.std_floor <= 0,
            f"advantage.std_floor = {config.advantage.std_floor}: must be above 0",
        ),
        (train.num_steps < 0, f"train.num_steps = {train.num_steps}: must not be negative"),
        (config.sft.num_steps < 0, f"sft.num_steps = {config.sft.num_steps}: must not be negative"),
        (config.seed < 0, f"seed = {config.seed}: must not be negative"),
        (
            train.method != "grpo" and config.updates_per_step > 1,
            f"train.method = {train.method!r} makes one update of each step; write train.passes=1 and train.prompts_per_update=0",
        ),
        (
            train.method == "sft" and config.reward.control != "none",
            f"reward.control = {config.reward.control!r} changes nothing: train.method = 'sft' imitates the references without a reward",
        ),
        *needs_of_parts(config),
        (
            lowest_lr <= 0,
            f"train.optim.lr = {train.optim.lr}, sft.optim.lr = {config.sft.optim.lr}: must be above 0",
        ),
    ]
    problems += [message for broken, message in [*broken_rules, *tax_rules(config)] if broken]
    if problems:
        raise InputError(problems[0])


def unknown_choices(config: Config) -> list[str]:
    """A sentence for each setting that has not one of its known values."""
    train = config.train
    loss = config.loss
    known = {
        "train.method": (train.method, METHODS),
        "loss.objective": (loss.objective, tuple(OBJECTIVES)),
        "loss.kl_estimator": (loss.kl_estimator, tuple(KL_ESTIMATORS)),
        "advantage.baseline": (config.advantage.baseline, BASELINES),
        "advantage.scale": (config.advantage.scale, SCALES),
        "model.vocabulary": (config.model.vocabulary, ("trimmed", "full")),
        "tax.against": (config.tax.against, ("warm_start", "untouched")),
        "sft.optim.schedule": (config.sft.optim.schedule, ("constant", "linear", "cosine")),
        "train.optim.schedule": (train.optim.schedule, ("constant", "linear", "cosine")),
    }
    return [
        f"{name} = {value!r}: known values are {', '.join(names)}"
        for name, (value, names) in known.items()
        if value not in names
    ]


def needs_of_parts(config: Config) -> list[tuple[bool, str]]:
    """What needs a part of the corpus that is set to nothing: (whether it is broken, what to write
    instead).
    """
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


def tax_rules(config: Config) -> list[tuple[bool, str]]:
    """What a tax budget cannot be combined with: (whether it is broken, what to write instead)."""
    tax = config.tax
    loss = config.loss
    dev = config.eval.every
    return [
        (tax.budget < 0, f"tax.budget = {tax.budget}: must not be negative"),
        (
            tax.budget > 0 and loss.kl_coef == 0 and config.train.method == "grpo",
            "tax.budget is held by multiplying loss.kl_coef, which is 0 and would stay so; start from e.g. 0.02",
        ),
        (
            tax.budget > 0 and loss.kl_target > 0,
            "tax.budget and loss.kl_target would both move loss.kl_coef; set one of them to 0",
        ),
        (
            tax.budget > 0 and dev % max(1, tax.every) != 0,
            f"eval.every = {dev} may choose a step at which no tax is measured; make it a multiple of tax.every = {tax.every}",
        ),
    ]
