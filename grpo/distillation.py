"""On-policy distillation: the policy writes, and at each of its tokens a teacher that is not trained says what it would
have written.

The loss of a step is the mean of KL(policy || teacher), over the whole vocabulary, at all tokens of the policy's own
completions. This is GKD with the policy's samples alone and the reverse KL (arXiv 2306.13649, eq. 4), and SDFT's
analytic estimator (arXiv 2601.19897, eq. 2 and appendix A.1). The gradient goes through the policy's distribution at each
token and not through the choice of the tokens before it: of MiniLLM's gradient (arXiv 2306.08543, section 2.2) it is the
single-step part, biased for the KL of whole texts and with little variance.

Samples are drawn at `rollout.temperature`; both distributions of the KL are those of temperature 1.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.stream import Stream
from grpo.config import Config
from grpo.engine.model_kl import kl_from_policy
from grpo.engine.packing import by_budget, pack, row_tokens
from grpo.engine.sampler import Sampling, generate
from grpo.optim import with_last
from grpo.records import LoopState, Rollout
from grpo.training import Training

SHOWN = {"loss": "KL", "length_mean": "length", "tokens_per_second": "tok/s"}  # in lines and table
# token ids behind which the policy writes, and those behind which the teacher reads what it wrote
Prompts = tuple[Sequence[int], Sequence[int]]


def train_distillation(
    config: Config,
    training: Training,
    prompts: Stream[Prompts],
    teacher: PreTrainedModel,
    sampling: Sampling,
    state: LoopState,
) -> LoopState:
    """Distil `teacher` into the policy from `state.step` to `config.train.num_steps`, one update a step, and return the
    state to go on from.
    """
    log = training.log
    world = training.world
    while state.step < config.train.num_steps:
        batch = prompts.at(state.step)
        own = world.own_share([len(policy_reads) for policy_reads, _ in batch])
        with log.phase("rollout"):
            rollout = generate(
                training.policy, [batch[i][0] for i in own], sampling, (config.seed, state.step), own
            )
        with log.phase("update"):
            lengths = rollout.lengths.sum(), float(len(rollout.lengths))
            fed = sum(map(rollout.num_tokens, range(len(own)))) - len(rollout.lengths)
            longer = sum(len(batch[i][1]) - len(batch[i][0]) for i in own)  # what the teacher alone reads
            counts = {"trained_tokens": (float(fed), 1.0), "scored_tokens": (float(fed + longer), 1.0)}
            sums = world.total({"length_mean": lengths, **counts})
            num_tokens = sums["length_mean"][0]
            kl = distil(config, training, teacher, rollout, [batch[i][1] for i in own], num_tokens)
            anchor_sums = training.complete_gradient()
            log.add({"length_mean": sums["length_mean"]})
            log.add(world.total({"loss": (kl, lengths[0]), **anchor_sums}))
            log.put(training.optimizer.step())
        log.put({"tokens": num_tokens, **{name: sums[name][0] for name in counts}})
        log.write(state.step)
        state = training.after_step(replace(state, step=state.step + 1))
        if training.after_update(state):
            break
    return state


def distil(
    config: Config,
    training: Training,
    teacher: PreTrainedModel,
    rollout: Rollout,
    teacher_prompts: Sequence[Sequence[int]],
    num_tokens: float,
) -> Tensor:
    """Add the gradient of KL(policy || teacher) / num_tokens, summed over the tokens of this process's rollout; that sum,
    () fp64. `teacher_prompts`: what the teacher reads in the place of each of the P prompts.
    """
    size = rollout.group_size
    groups = rollout.groups()
    both = [*zip(rollout.prompt_ids, teacher_prompts, strict=True)]
    lengths = [row_tokens(max(pair, key=len), group) for pair, group in zip(both, groups, strict=True)]
    device = rollout.lengths.device
    total = torch.zeros((), dtype=torch.float64, device=device)
    passes = training.world.in_step(by_budget(lengths, config.train.max_tokens_per_pass))
    for numbers, is_last in with_last(passes):
        rows = [ids for number in numbers for ids in groups[number]]
        packed, read = (pack([both[number][i] for number in numbers], rows, size).to(device) for i in (0, 1))
        kl = kl_from_policy(training.policy, packed, teacher, read)
        training.backward(kl / num_tokens, is_last)
        total += kl.detach()
    return total
