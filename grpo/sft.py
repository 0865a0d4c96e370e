"""Supervised fine-tuning: the warm start before GRPO, and the SFT baseline, are this one function with two configs.

Loss is the mean negative log-likelihood of the completion's tokens, its end token included, over the whole update;
prompts carry no loss. Packing and log-probabilities are those of GRPO with a group of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from transformers import PreTrainedModel

from grpo.anchor import AnchorFunction, unanchored
from grpo.config import SFTConfig
from grpo.engine.logprob import completion_logps
from grpo.engine.packing import by_budget, pack, row_tokens
from grpo.optim import Optimizer
from grpo.records import LoopState, unchanged
from grpo.runtime.device import Compute
from grpo.runtime.parallel import ALONE, World
from grpo.runtime.run_log import RunLog

SHOWN_SFT = {"loss": "loss", "tokens_per_second": "tok/s"}  # in the progress bar
Pair = tuple[Sequence[int], Sequence[int]]  # prompt ids, completion ids with the end token


class PairStream(Protocol):
    def at(self, step: int) -> Sequence[Pair]: ...


def train_sft(
    config: SFTConfig,
    policy: PreTrainedModel,
    pairs: PairStream,
    optimizer: Optimizer,
    log: RunLog,
    state: LoopState,
    compute: Compute,
    *,
    between: Callable[[LoopState], bool],
    control: Callable[[LoopState], LoopState] = unchanged,
    anchor: AnchorFunction = unanchored,
    world: World = ALONE,
) -> LoopState:
    """Run SFT from `state.step` to `config.num_steps`; stops early when `between` (save, ask to stop) says so.

    `control` and `anchor` as of GRPO.
    """
    while state.step < config.num_steps:
        step = state.step
        batch = pairs.at(step)
        num_tokens = sum(len(completion) for _, completion in batch)
        mine, total = batch[world.rank :: world.size], 0.0
        with log.phase("update"):
            for chosen in by_budget([row_tokens(prompt, [completion]) for prompt, completion in mine], config.max_tokens_per_pass):
                packed = pack([mine[i][0] for i in chosen], [mine[i][1] for i in chosen], group_size=1).to(compute.device)
                with compute.autocast():
                    nll = -completion_logps(policy, packed).logps.sum()
                (nll / num_tokens).backward()
                total += float(nll.detach())
            held = anchor(policy, optimizer.update)
            world.sum_gradients(policy.parameters())
            log.add(world.total({"loss": (total, sum(len(completion) for _, completion in mine))} | held))
            log.put(optimizer.step())
        log.put({"tokens": sum(row_tokens(prompt, [completion]) for prompt, completion in batch)})
        log.write(step)
        state = control(replace(state, step=step + 1))
        if between(state):
            break
    return state
