"""Whole steps of GRPO against the same steps written out one completion at a time, on transformers' plain forward pass
and torch's own AdamW: nothing of the project but the prompt's tokens and the order of updates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import byte_tokenizer, tiny_llama
from tiny_session import CONFIG, EXAMPLES, TWO_PASSES, Session, Texts
from torch import Tensor
from transformers import PreTrainedModel

from data.prompt import Prompt
from data.stream import PromptStream
from grpo.config import Config, LossConfig, OptimConfig
from grpo.minibatch import update_windows

OPTIM = OptimConfig(
    lr=3e-3, schedule="linear", warmup_steps=2, final_lr_share=0.1, weight_decay=0.1, epsilon=1e-4, max_grad_norm=0.3
)  # fmt: skip
HOT = replace(CONFIG.rollout, num_prompts=4, temperature=0.7)
FOUR = replace(TWO_PASSES, rollout=HOT, train=replace(TWO_PASSES.train, num_steps=2, optim=OPTIM))
ONE = replace(FOUR, train=replace(CONFIG.train, num_steps=3, optim=OPTIM, max_tokens_per_pass=50))


def judgment(text: str) -> float:
    number = sum(map(ord, text))
    return math.nan if number % 7 == 0 else number % 97 / 97


def reward(
    sources: Texts, completions: Texts, references: Sequence[Texts], group_size: int
) -> tuple[Tensor, dict[str, Tensor]]:
    return torch.tensor([judgment(text) for text in completions]).view(-1, group_size), {}


def token_logps(model: PreTrainedModel, prompt: list[int], ids: list[int], temperature: float) -> Tensor:
    """(T,) log-probabilities of a completion's tokens."""
    logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]


@torch.no_grad()
def draw(
    model: PreTrainedModel, prompt: list[int], config: Config, stops: Sequence[int], seed: tuple
) -> list[int]:
    """By inverse CDF, a token at a time and without a cache."""
    ids: list[int] = []
    for uniform in np.random.default_rng(seed).random(config.rollout.max_new_tokens):
        logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, -1] / config.rollout.temperature
        ids.append(int((logits.softmax(-1).cumsum(0) <= uniform).sum()))
        if ids[-1] in stops:
            break
    return ids


@dataclass
class Row:
    """One completion of a step."""

    prompt: list[int]
    ids: list[int]
    reward: float
    old: Tensor
    ref: Tensor
    advantage: float = 0.0

    def objective(self, logps: Tensor, loss: LossConfig) -> Tensor:
        """(T,) min(r A, clip(r) A) - beta KL."""
        ratio = (logps - self.old).exp()
        if loss.objective == "gspo":
            ratio = (logps - self.old).mean().exp().expand(len(logps))
        inside = ratio.clamp(1 - loss.clip_low, 1 + loss.clip_high)
        kl = (self.ref - logps).exp() - (self.ref - logps) - 1
        if loss.kl_estimator == "k3_ratio":
            kl = kl * (logps - self.old).exp()
        return torch.minimum(ratio * self.advantage, inside * self.advantage) - loss.kl_coef * kl


def give_advantages(group: list[Row], floor: float, divides: bool) -> None:
    values = [row.reward for row in group if not math.isnan(row.reward)]
    mean = math.fsum(values) / max(1, len(values))
    deviation = (math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)) ** 0.5
    for row in group:
        if not math.isnan(row.reward):
            row.advantage = (row.reward - mean) / (max(deviation, floor) if divides else 1)


def weight_of(row: Row, window: list[Row], config: Config) -> float:
    """What a token counts."""
    return {
        "grpo": 1 / (len(window) * len(row.ids)),
        "gspo": 1 / (len(window) * len(row.ids)),
        "dapo": 1 / sum(len(other.ids) for other in window),
        "dr_grpo": 1 / (len(window) * config.rollout.max_new_tokens),
    }[config.loss.objective]


def rate(update: int, total: int) -> float:
    if update < OPTIM.warmup_steps:
        return OPTIM.lr * (update + 1) / OPTIM.warmup_steps
    left = 1 - (update - OPTIM.warmup_steps) / (total - OPTIM.warmup_steps)
    return OPTIM.lr * (OPTIM.final_lr_share + (1 - OPTIM.final_lr_share) * left)


def textbook(config: Config, policy: PreTrainedModel, reference: PreTrainedModel) -> list[float]:
    """Train `policy`; the norm of each update's gradient."""
    prompt = Prompt.of(byte_tokenizer())
    parameters = list(policy.parameters())
    decayed = [p for p in parameters if p.dim() >= 2]
    others = [p for p in parameters if p.dim() < 2]
    adamw = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": OPTIM.weight_decay}, {"params": others, "weight_decay": 0.0}],
        betas=(OPTIM.beta1, OPTIM.beta2), eps=OPTIM.epsilon, foreach=False,
    )  # fmt: skip
    size = config.rollout.group_size
    stream = PromptStream(EXAMPLES, config.rollout.num_prompts, config.seed)
    norms: list[float] = []
    for step in range(config.train.num_steps):
        rows = []
        for number, example in enumerate(stream.at(step)):
            ids = list(prompt.encode_prompt(example))
            group = []
            for member in range(size):
                seed = (config.seed, step, number * size + member)
                drawn_ids = draw(policy, ids, config, prompt.stops, seed)
                with torch.no_grad():
                    old, ref = (
                        token_logps(model, ids, drawn_ids, config.rollout.temperature) for model in (policy, reference)
                    )  # fmt: skip
                value = float(np.float32(judgment(prompt.decode_completion(drawn_ids))))
                group.append(Row(ids, drawn_ids, value, old, ref))
            give_advantages(group, config.advantage.std_floor, config.advantage.scale == "std")
            rows += group
        windows = update_windows(
            config.rollout.num_prompts, config.train.prompts_per_update, (config.seed, step)
        )
        for number in range(config.train.passes):
            address = np.random.SeedSequence((config.seed, step), spawn_key=(1, number))
            for place in np.random.default_rng(address).permutation(len(windows)).tolist():
                window = [row for p in windows[place].tolist() for row in rows[p * size : (p + 1) * size]]
                for row in window:
                    logps = token_logps(policy, row.prompt, row.ids, config.rollout.temperature)
                    weight = weight_of(row, window, config)
                    (-weight * row.objective(logps, config.loss).sum()).backward()
                norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, OPTIM.max_grad_norm)))
                for group in adamw.param_groups:
                    group["lr"] = rate(len(norms) - 1, config.train.num_steps * config.updates_per_step)
                adamw.step()
                adamw.zero_grad()
    return norms


@pytest.mark.parametrize(
    ("config", "loss", "scale"),
    [
        (FOUR, LossConfig("grpo", kl_coef=0.05), "std"),
        (FOUR, LossConfig("gspo", clip_low=3e-3, clip_high=4e-3, kl_coef=0.05), "std"),
        (FOUR, LossConfig("dapo", clip_high=0.28, kl_coef=0.05, kl_estimator="k3_ratio"), "std"),
        (ONE, LossConfig("dr_grpo", kl_coef=0.5), "none"),
    ],
    ids=lambda value: getattr(value, "objective", ""),
)
def test_steps_are_those_of_a_textbook(config: Config, loss: LossConfig, scale: str, tmp_path: Path) -> None:
    """Two steps of four updates, or three of one: missing rewards, temperature 0.7, ragged completions, a gradient that
    is cut, warm-up and decay.
    """
    config = replace(config, loss=loss, advantage=replace(config.advantage, scale=scale))  # type: ignore[arg-type]
    session = Session(config, tmp_path, byte_tokenizer(), reward=reward, policy=tiny_llama())
    own = tiny_llama().double()
    norms = textbook(config, own, tiny_llama().double())
    session.run()
    found = session.metrics()
    last = slice(config.updates_per_step - 1, None, config.updates_per_step)
    assert [row["grad_norm"] for row in found] == pytest.approx(norms[last], rel=1e-4)
    assert found[-1]["missing_reward_share"] > 0 or found[0]["missing_reward_share"] > 0
    if config.updates_per_step > 1:
        assert found[-1]["clip_share"] > 0.01
    start = tiny_llama()
    for (name, parameter), expected in zip(session.policy.named_parameters(), own.parameters(), strict=True):
        moved = (expected - start.get_parameter(name)).norm()
        assert (parameter - expected).norm() < 1e-4 * moved, name
