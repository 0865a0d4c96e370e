"""What a configuration may hold: one table of bounds, and the rules between settings.

The bounds are generous; beyond them a run could only fail later, in words that name no setting. Choices are
checked by data/settings.py, and that numbers are finite at all by data/documents.py.
"""

from data.config import check as check_data
from data.documents import LARGEST
from data.normalise import LINE_ENDS
from data.prompt_config import check as check_prompt
from data.settings import Bounds, Rule, check_bounds, check_rules
from data.template import Wording
from grpo.config import WITHOUT_REWARD, Config
from reward.combine import check_section as check_reward
from reward.combine import terms_with_references

LONGEST_NAME = 255  # bytes, in the file systems of today
IMITATION = ("sft", "best_of_group")  # values of train.method that are SFT
BOUNDS = (
    Bounds(0, LARGEST, "seed"),
    Bounds(0, 1024, "threads"),
    Bounds(0, 10**9, "sft.num_steps train.num_steps sft.optim.warmup_steps train.optim.warmup_steps"),
    Bounds(0, 10**9, "sft.max_pairs checkpoint.every checkpoint.snapshots eval.every train.refresh_every"),
    Bounds(0, 10**6, "train.prompts_per_update"),
    Bounds(0, 64, "prompt.shots rollout.redraws train.nearest_pairs"),
    Bounds(0, 100_000, "model.add_pieces"),
    Bounds(1, 10**6, "rollout.parts"),
    Bounds(
        1,
        10**6,
        "sft.batch_size rollout.num_prompts anchor.batch_size anchor.texts anchor.max_tokens eval.batch_size",
    ),
    Bounds(
        1, 10**6, "train.passes tax.every tax.texts checkpoint.keep eval.dev_items eval.bootstrap_samples"
    ),
    Bounds(2, 10**6, "rollout.group_size", "GRPO compares the completions of one prompt"),
    Bounds(0, 10**6, "model.max_prompt_tokens sft.max_completion_tokens"),
    Bounds(0, 10**6, "rollout.max_new_tokens eval.max_new_tokens"),
    Bounds(0, 10**8, "sft.max_tokens_per_pass train.max_tokens_per_pass"),
    Bounds(0.01, 100, "rollout.temperature", "GRPO samples"),
    Bounds(1e-12, 100, "sft.optim.lr train.optim.lr"),
    Bounds(0, 10, "sft.optim.weight_decay train.optim.weight_decay"),
    Bounds(0, 1, "sft.optim.final_lr_share train.optim.final_lr_share"),
    Bounds(0, 1, "sft.optim.lower_lr_share train.optim.lower_lr_share"),
    Bounds(0, 0.999999, "sft.optim.beta1 sft.optim.beta2 train.optim.beta1 train.optim.beta2"),
    Bounds(1e-16, 1, "sft.optim.epsilon train.optim.epsilon"),
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
    Bounds(0, 1000, "token_loss.kl_coef"),
    Bounds(0, 0.9, "replay.sft replay.train", "a share of the tokens of an update"),
    Bounds(0, 10**12, "protection.strength"),
    Bounds(1, 10**6, "protection.texts"),
)


def check(config: Config) -> None:
    """InputError for the first setting, or combination of settings, that cannot work; it names them and what
    would do.
    """
    check_bounds(config, BOUNDS)
    check_data(config.data)
    check_prompt(config.prompt)
    check_reward(config.reward)
    rules = (
        training_rules, method_rules, dev_rules, forgetting_rules, corpus_rules, prompt_rules, tax_rules,
        memory_rules, sharding_rules,
    )  # fmt: skip
    check_rules([rule for make in rules for rule in make(config)])


def training_rules(config: Config) -> list[Rule]:
    """Rules of the rollout, the loss and the update."""
    train = config.train
    loss = config.loss
    prompts = config.rollout.num_prompts
    return [
        (not config.run_dir.strip(), "run_dir is empty; write a folder such as runs/mt"),
        (
            any(len(name.encode()) > LONGEST_NAME for name in config.run_dir.split("/")),
            f"run_dir: no name of a folder may have more than {LONGEST_NAME} bytes; write a folder such as runs/mt",
        ),
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
    ]


def method_rules(config: Config) -> list[Rule]:
    """Rules of what only some methods know."""
    train = config.train
    return [
        (
            train.method != "grpo" and config.updates_per_step > 1,
            f"train.method = {train.method!r} makes one update of each step; write train.passes=1 and train.prompts_per_update=0",
        ),
        (
            config.rollout.redraws > 0 and train.method != "grpo",
            f"rollout.redraws = {config.rollout.redraws} is of GRPO, and train.method = {train.method!r}; write rollout.redraws=0",
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
            config.guide.mode == "member" and config.reward.metric_share < 1,
            f"reward.metric_share = {config.reward.metric_share} chooses groups of completions, and guide.mode = 'member' rewards "
            "reference texts beside them; write reward.metric_share=1.0 or another guide.mode",
        ),
        (
            train.method in WITHOUT_REWARD and config.reward.control != "none",
            f"reward.control = {config.reward.control!r} changes nothing: train.method = {train.method!r} has no reward",
        ),
        (
            train.refresh_every > 0 and train.method != "best_of_group",
            f"train.refresh_every = {train.refresh_every} is of train.method = 'best_of_group', not {train.method!r}; write 0",
        ),
        (
            train.nearest_pairs > 0 and train.method != "self_distillation",
            f"train.nearest_pairs = {train.nearest_pairs} is of train.method = 'self_distillation', not {train.method!r}; write 0",
        ),
    ]


def forgetting_rules(config: Config) -> list[Rule]:
    """Rules of what acts against forgetting."""
    protection = config.protection
    kinds = {"protection.sft": protection.sft, "protection.train": protection.train}
    used = {name: kind for name, kind in kinds.items() if kind != "none"}
    names = " and ".join(f"{name} = {kind!r}" for name, kind in used.items())
    is_sft = config.train.method in IMITATION
    anchor = config.anchor
    weightless = [name for name, weight in anchor.sources.items() if not weight > 0]
    return [
        (
            bool(weightless),
            f"anchor.sources.{', '.join(weightless)}: must be above 0; write a weight such as 1.0, or leave the name out",
        ),
        (
            bool(anchor.sources and anchor.text),
            f"anchor.text = {anchor.text!r} and anchor.sources are both given; name the file in anchor.sources too",
        ),
        (
            config.token_loss.train != "nll" and not is_sft,
            f"token_loss.train = {config.token_loss.train!r} is a loss of SFT, and train.method = {config.train.method!r}; "
            "write one of them",
        ),
        (
            config.replay.train > 0 and not is_sft,
            f"replay.train = {config.replay.train} adds texts to SFT, and train.method = {config.train.method!r}; write "
            "anchor.train instead",
        ),
        (
            protection.strength == 0 and not {"l2", "ewc"}.isdisjoint(used.values()),
            f"protection.strength = 0.0 changes nothing, and {names}; raise it, or write 'none'",
        ),
        (
            config.parallel.mode == "fsdp" and bool(used),
            f"{names} needs whole parameters in each process; write parallel.mode='data', or 'none' for it",
        ),
    ]


def corpus_rules(config: Config) -> list[Rule]:
    """Rules of what needs a part of the corpus, which may be set to nothing."""
    data = config.data
    threshold = config.reward.threshold
    normalise = config.reward.normalise
    languages = data.completion_languages if data.corpora or config.reward.encoders else {}
    others = [language for language in config.reward.encoders if language not in languages]
    has_warm_start = all(one.warm_start for one in data.members.values())
    labels = [name for name in ("source_label", "target_label") if getattr(config.prompt, name)]
    return [
        (
            LINE_ENDS in data.normalise and Wording.of(config.prompt).is_one_line,
            f"data.normalise has {LINE_ENDS}, but a line end ends a completion; write prompt.lines='many', or leave it out",
        ),
        (
            bool(others),
            f"reward.encoders.{', '.join(others)}: no target language of this run; they are {', '.join(languages)}",
        ),
        (
            bool(data.corpora) and bool(labels),
            f"prompt.{', prompt.'.join(labels)} would name every language of data.corpora so; leave it out",
        ),
        (
            data.warm_start_share == 0
            and config.sft.num_steps > 0
            and config.sft.pairs == "own"
            and not has_warm_start,
            f"data.warm_start_share = 0.0 leaves no pairs for sft.num_steps = {config.sft.num_steps}; write "
            "sft.pairs='all' to learn from those of the later stage too, raise the share, or write 0 for both",
        ),
        (
            data.dev_size == 0 and isinstance(threshold, str),
            f"reward.threshold = {threshold!r} is measured on the dev set, and data.dev_size = 0; raise data.dev_size, or write a number",
        ),
        (
            data.dev_size == 0 and normalise == "dev",
            "reward.normalise = 'dev' is measured on the dev set, and data.dev_size = 0; raise data.dev_size, or write 'rank'",
        ),
        (
            data.dev_size == 0 and config.eval.every > 0,
            f"eval.every = {config.eval.every} looks at the dev set, and data.dev_size = 0; raise data.dev_size, or write eval.every=0",
        ),
    ]


# the reward terms that pay for a score of eval.best_by
REWARDED = {
    "cosine": ("cosine", "cosine_raw", "margin", "rank", "coverage", "coverage_idf", "coverage_source"),
    "cosine_held_out": ("cosine_held_out",),
    "chrf": ("chrf",),
    "bleu": ("bleu",),
}


BEST_BY = (  # beside the names in reward.metrics
    "reward", "cosine_held_out", "cosine", "chrf", "bleu", "rouge_l",
)  # fmt: skip


def dev_rules(config: Config) -> list[Rule]:
    """Rules of the score that chooses the best checkpoint: training must not have optimised it unseen."""
    best_by = config.eval.best_by
    reward = config.reward
    terms = (best_by,) if best_by in reward.metrics else REWARDED.get(best_by, ())
    paid = [term for term in terms if reward.weights.get(term) or term in reward.gates]
    known = (*BEST_BY, *reward.metrics)
    return [
        (best_by not in known, f"eval.best_by = {best_by!r}: must be one of {', '.join(map(repr, known))}"),
        (
            config.eval.every > 0 and config.train.method not in WITHOUT_REWARD and bool(paid),
            f"eval.best_by = {best_by!r} would choose a checkpoint by what reward.weights pays for ({', '.join(paid)}); "
            "write a score that is not rewarded, such as rouge_l, or eval.best_by=reward",
        ),
        (
            config.eval.every > 0 and best_by == "reward" and reward.compares_groups,
            f"eval.best_by = 'reward' looks at single outputs, and reward.normalise = {reward.normalise!r} compares groups; "
            "write another score, such as rouge_l",
        ),
        (
            config.eval.every > 0 and best_by == "bleu" and len(config.data.completion_languages) > 1,
            "eval.best_by = 'bleu' cuts texts by one language, and data.corpora has several target languages; write chrf",
        ),
    ]


def prompt_rules(config: Config) -> list[Rule]:
    """Rules of prompts that have no reference text."""
    if not any(one.prompts for one in config.data.members.values()):
        return []
    terms = terms_with_references(config.reward)
    which = "data.prompts: prompts have no reference text, and"
    need = "reward terms {} need one; leave them" if len(terms) > 1 else "reward term {} needs one; leave it"
    return [
        (
            bool(terms),
            f"{which} the {need.format(', '.join(terms))} out of reward.weights, reward.gates and reward.shown, or leave "
            "data.prompts out",
        ),
        (
            config.train.method in ("sft", "self_distillation"),
            f"{which} train.method = {config.train.method!r} learns from them; write another method, or leave data.prompts out",
        ),
        (
            config.guide.mode != "none",
            f"{which} guide.mode = {config.guide.mode!r} learns from them; write guide.mode='none', or leave data.prompts out",
        ),
        (
            config.reward.control == "shuffled",
            f"{which} reward.control = 'shuffled' exchanges them; write 'random', or leave data.prompts out",
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
    optimisers = {"sft": config.sft.optim, "train": config.train.optim}
    still = [f"{name}.optim.lower_lr_share" for name, optim in optimisers.items() if not optim.lower_lr_share]
    return [
        (
            is_sharded and bool(still),
            f"{' and '.join(still)} = 0 switches gradients off, which needs whole parameters in each process; write "
            "parallel.mode='data', or a share above 0",
        ),
        (
            is_sharded and engine.weights == "split",
            "engine.weights = 'split' keeps halves of whole weights; write engine.weights='fp32', or parallel.mode='data'",
        ),
        (
            is_sharded and engine.frozen == "host",
            "engine.frozen = 'host' keeps whole layers in the host's memory; write engine.frozen='device', or parallel.mode='data'",
        ),
    ]
