"""Supervised fine-tuning: one function for the warm start and for the methods that imitate.

Loss is the mean over the completion's tokens, its end token included, of the whole update: their negative
log-likelihood or another token loss. Prompts carry no loss. Packing and log-probabilities are those of GRPO with a
group of one.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from data.stream import Stream
from grpo.config import SFTConfig, TrainConfig
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import by_budget, pack, row_tokens
from grpo.optim import with_last
from grpo.records import LoopState
from grpo.replay import Pair as Pair
from grpo.runtime.parallel import Totals
from grpo.training import Training

SHOWN_SFT = {"loss": "loss", "tokens_per_second": "tok/s"}  # in lines and table


def train_sft(
    config: SFTConfig | TrainConfig, training: Training, pairs: Stream[Pair], state: LoopState
) -> LoopState:
    """Run SFT from `state.step` to `config.num_steps`, and return the state to go on from."""
    log = training.log
    while state.step < config.num_steps:
        step = state.step
        batch = training.replay(pairs.at(step), step)
        lengths = [row_tokens(prompt, [completion]) for prompt, completion in batch]
        with log.phase("update"):
            log.add(accumulate(training, batch, lengths, config.max_tokens_per_pass))
            log.put(training.optimizer.step())
        log.put({"tokens": sum(lengths)})
        log.write(step)
        state = training.after_step(replace(state, step=step + 1))
        if training.after_update(state):
            break
    return state


def accumulate(
    training: Training, batch: Sequence[Pair], lengths: Sequence[int], max_tokens_per_pass: int
) -> Totals:
    """Add the gradient of one update to the parameters, that of the anchor with it; what the log has of all processes."""
    policy, world = training.policy, training.world
    device = training.compute.device
    num_tokens = sum(len(completion) for _, completion in batch)
    own = world.own_share(lengths)
    zero = torch.zeros((), dtype=torch.float64, device=device)
    sums = {"loss": zero}
    beside = None
    passes = world.in_step(by_budget([lengths[i] for i in own], max_tokens_per_pass))
    for numbers, is_last in with_last(passes):
        rows = [batch[own[i]] for i in numbers]
        prompts = [prompt for prompt, _ in rows]
        completions = [completion for _, completion in rows]
        packed = pack(prompts, completions, group_size=1).to(device)
        beside = training.texts_beside(sum(lengths[own[i]] for i in numbers)) if is_last else None
        loss, parts = training.token_loss(policy, packed, beside or completion_logps)
        training.backward(loss / num_tokens, is_last, beside)
        sums |= {name: sums.get(name, zero) + part for name, part in parts.items()}
    anchor_sums = training.complete_gradient(beside)
    own_tokens = sum(len(batch[i][1]) for i in own)
    return world.total({**{name: (total, own_tokens) for name, total in sums.items()}, **anchor_sums})
