"""Supervised fine-tuning: one function for the warm start and for the methods that imitate.

Loss is the mean over the completion's tokens, its end token included, of the whole update: their negative
log-likelihood or another token loss. Prompts carry no loss. Packing and log-probabilities are those of GRPO with a
group of one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch

from grpo.engine.logprob import completion_logps
from grpo.engine.packing import by_budget, pack, row_tokens
from grpo.optim import with_last
from grpo.records import LoopState
from grpo.replay import Pair as Pair
from grpo.training import AfterStep, AfterUpdate, Training, same_state

SHOWN_SFT = {"loss": "loss", "tokens_per_second": "tok/s"}  # in lines and table


class PairStream(Protocol):
    def at(self, step: int) -> Sequence[Pair]: ...


def train_sft(
    training: Training,
    pairs: PairStream,
    state: LoopState,
    *,
    num_steps: int,
    max_tokens_per_pass: int,
    after_update: AfterUpdate,
    after_step: AfterStep = same_state,
) -> LoopState:
    """Run SFT from `state.step` to `num_steps`, and return the state to go on from; `after_update` and
    `after_step` as of GRPO. A forward pass gets no more than `max_tokens_per_pass` tokens.
    """
    policy = training.policy
    log = training.log
    world = training.world
    while state.step < num_steps:
        step = state.step
        batch = training.replay(pairs.at(step), step)
        num_tokens = sum(len(completion) for _, completion in batch)
        lengths = [row_tokens(prompt, [completion]) for prompt, completion in batch]
        own = world.own_share(lengths)
        zero = torch.zeros((), dtype=torch.float64, device=training.compute.device)
        sums = {"loss": zero}
        beside = None
        with log.phase("update"):
            passes = world.in_step(by_budget([lengths[i] for i in own], max_tokens_per_pass))
            for numbers, is_last in with_last(passes):
                pairs_of_pass = [batch[own[i]] for i in numbers]
                prompts = [prompt for prompt, _ in pairs_of_pass]
                completions = [completion for _, completion in pairs_of_pass]
                packed = pack(prompts, completions, group_size=1).to(training.compute.device)
                beside = training.texts_beside(sum(lengths[own[i]] for i in numbers)) if is_last else None
                loss, parts = training.token_loss(policy, packed, beside or completion_logps)
                training.backward(loss / num_tokens, is_last, beside)
                sums |= {name: sums.get(name, zero) + part for name, part in parts.items()}
            anchor_sums = (
                beside.sums
                if beside
                else training.anchor(policy, training.optimizer.update, training.optimizer.backward)
            )
            world.sum_gradients(policy.parameters())
            own_tokens = sum(len(batch[i][1]) for i in own)
            own_sums = {name: (total, own_tokens) for name, total in sums.items()}
            log.add(world.total({**own_sums, **anchor_sums}))
            log.put(training.optimizer.step())
        log.put({"tokens": sum(lengths)})
        log.write(step)
        state = after_step(replace(state, step=step + 1))
        if after_update(state):
            break
    return state
