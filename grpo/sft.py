"""Supervised fine-tuning: the warm start before GRPO, and the SFT baseline, are this one function with two configs.

Loss is the mean negative log-likelihood of the completion's tokens, its end token included, over the whole update;
prompts carry no loss. Packing and log-probabilities are those of GRPO with a group of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from transformers import PreTrainedModel

from grpo.config import SFTConfig
from grpo.device import Compute
from grpo.logprob import completion_logps
from grpo.metrics import RunLog
from grpo.optim import Optimizer
from grpo.packing import by_budget, pack, row_tokens
from grpo.records import LoopState

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
    after_step: Callable[[LoopState], bool],
) -> LoopState:
    """Run SFT from `state.step` to `config.num_steps`; stops early when `after_step` (save, ask to stop) says so."""
    for step in range(state.step, config.num_steps):
        batch = pairs.at(step)
        num_tokens = sum(len(completion) for _, completion in batch)
        with log.phase("update"):
            for chosen in by_budget([row_tokens(prompt, [completion]) for prompt, completion in batch], config.max_tokens_per_pass):
                packed = pack([batch[i][0] for i in chosen], [batch[i][1] for i in chosen], group_size=1).to(compute.device)
                with compute.autocast():
                    nll = -completion_logps(policy, packed).logps.sum()
                (nll / num_tokens).backward()
                log.add({"loss": (float(nll.detach()), float(len(packed.targets)))})
            log.put(optimizer.step())
        log.put({"tokens": sum(row_tokens(prompt, [completion]) for prompt, completion in batch)})
        state = replace(state, step=step + 1)
        log.write(step)
        if after_step(state):
            break
    return state
