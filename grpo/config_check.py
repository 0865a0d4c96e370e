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
    Bounds(0, 100_000, "model.add_pieces"),
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
    Bounds(1e-6, 1000, "guide.shaping"),
    Bounds(0, 1000, "guide.weight guide.final_weight"),
    Bounds(-1000, 1000, "guide.threshold"),
    Bounds(2, 10**6, "guide.every"),
)


def check(config: Config) -> None:
    """InputError for the first setting, or combination of settings, that cannot work; it names them and what
    would do.
    """
    check_bounds(config, BOUNDS)
    check_data(config.data)
    check_prompt(config.prompt)
    check_reward(config.reward)
    rules = (training_rules, corpus_rules, tax_rules, memory_rules, sharding_rules)
    check_rules([rule for make in rules for rule in make(config)])


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
            config.guide.mode != "none" and train.method != "grpo",
            f"guide.mode = {config.guide.mode!r} guides GRPO, and train.method = {train.method!r}; write one of them",
        ),
        (
            config.guide.mode != "none" and not config.engine.share_prefix,
            f"guide.mode = {config.guide.mode!r} packs a reference text behind its group; write engine.share_prefix=true",
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


def memory_rules(config: Config) -> list[Rule]:
    """Rules of the settings that save memory in an update."""
    engine = config.engine
    is_sharded = config.parallel.mode == "fsdp"
    optimisers = {"sft": config.sft.optim} if config.sft.num_steps else {}
    optimisers |= {"train": config.train.optim} if config.train.num_steps else {}
    limits = [f"{name}.optim.max_grad_norm=0" for name, optim in optimisers.items() if optim.max_grad_norm]
    return [
        (
            engine.step_in_backward and bool(limits),
            f"engine.step_in_backward updates before the norm of all gradients is known; write {' and '.join(limits)}",
        ),
        (
            engine.step_in_backward and is_sharded,
            "engine.step_in_backward works in one process; write parallel.mode='none', or engine.step_in_backward=false",
        ),
        (
            engine.gradients == "bf16" and is_sharded,
            "engine.gradients = 'bf16': shares of gradients are in fp32; write parallel.mode='data', or engine.gradients='fp32'",
        ),
        (
            engine.moments == "8bit" and is_sharded,
            "engine.moments = '8bit' has blocks that shares would cut; write parallel.mode='data', or engine.moments='fp32'",
        ),
        (
            engine.moments == "8bit" and {optim.name for optim in optimisers.values()} == {"sgd"},
            "engine.moments = '8bit' changes nothing: optim.name = 'sgd' has no moments; write engine.moments='fp32'",
        ),
    ]


def sharding_rules(config: Config) -> list[Rule]:
    """Rules of models in shares: what keeps a weight in other parts, or elsewhere."""
    engine = config.engine
    is_sharded = config.parallel.mode == "fsdp"
    return [
        (
            is_sharded and engine.weights == "split",
            "engine.weights = 'split' keeps halves of whole weights; write engine.weights='fp32', or parallel.mode='data'",
        ),
        (
            is_sharded and engine.frozen == "host",
            "engine.frozen = 'host' keeps whole layers in the host's memory; write engine.frozen='device', or parallel.mode='data'",
        ),
    ]
