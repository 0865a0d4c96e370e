"""The anchor: adds the gradient of KL(untouched || policy) on general text to every update.

What a model unlearns on a small corpus shows on text that training never visits, so it is counted there.
PPO-ptx (arXiv 2203.02155, section 3.5) mixes the pre-training loss into every update in this way; here the
target is the untouched model's own distribution at every token and not the next token, so nothing is learnt
of the texts themselves, and a few hundred of them are enough. The KL term of GRPO is another one: it is
counted on the task's own prompts, against the warm start.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from data.stream import PromptStream
from grpo.engine.chunked_head import at_least_fp32, head_type
from grpo.engine.forward import output_weight, packed_hidden
from grpo.engine.logprob import CompletionLogps
from grpo.engine.model_kl import kl_to_base, kl_to_states, logps_beside_texts
from grpo.engine.packing import Packed, by_budget, pack, row_tokens, send
from grpo.engine.products import format_of
from grpo.engine.sharding import run_in, whole
from grpo.optim import with_last
from grpo.runtime.device import Compute
from grpo.runtime.parallel import Sums, World

Backward = Callable[[Tensor, bool], None]  # adds the gradient of a loss, the last one or not of the update
AnchorFunction = Callable[[PreTrainedModel, int, Backward], Sums]
Text = tuple[int, ...]


def no_anchor(_policy: PreTrainedModel, _update: int, _backward: Backward) -> Sums:
    """For training without an anchor: adds nothing."""
    return {}


def texts_behind(start: Sequence[int], texts: Sequence[Sequence[int]], device: torch.device) -> Packed:
    """Texts as one packed row, each behind `start`."""
    return pack([start] * len(texts), texts, group_size=1).to(device)


@dataclass
class FixedStates:
    """The final hidden states of fixed texts under a model that never changes, each computed once.

    A text's last bits depend on what it is packed with. So a pass has always the same texts, and a resumed run
    the same bits. They are kept on the host; when all are known the model is let go, and its head (V, H) stays:
    of a sharded model the share of it.
    """

    model: PreTrainedModel | None
    head: Tensor
    passes: list[list[Text]]
    start: list[int]
    known: dict[Text, Tensor] = field(default_factory=dict)

    def compute(self, texts: Sequence[Text]) -> None:
        """Run the passes that these texts need and that have not run; all processes call it with the same ones."""
        for texts_of_pass in self.passes:
            if not self.known.keys() >= {*texts_of_pass} and not {*texts}.isdisjoint(texts_of_pass):
                self._compute(texts_of_pass)

    def of(self, texts: Sequence[Text]) -> Tensor:
        """The states (K, H) of the tokens of texts that are computed, on the device."""
        empty = torch.empty(
            0, self.head.shape[1], dtype=at_least_fp32(self.head.dtype), device=self.head.device
        )
        return torch.cat([empty, *(send(self.known[text], self.head.device) for text in texts)])

    @torch.no_grad()
    def _compute(self, texts: list[Text]) -> None:
        assert self.model is not None
        packed = texts_behind(self.start, texts, self.head.device)
        hidden = run_in(self.model, packed_hidden, packed).cpu()
        states_on_host = hidden if self.head.device.type == "cpu" else hidden.pin_memory()
        self.known |= zip(texts, states_on_host.split([*map(len, texts)]), strict=True)
        if all(text in self.known for one in self.passes for text in one):
            self.model = None


def fixed_states(
    model: PreTrainedModel, stream: PromptStream[list[int]], start: list[int], max_tokens: int
) -> FixedStates | None:
    """The states of all texts of a stream, in the order in which updates need them; None for a head that is more than a
    product. On an accelerator all are computed here, so that the model does not take its memory in training.
    """
    head = output_weight(model)
    if head is None:
        return None
    updates = range(-(-len(stream.examples) // stream.num_prompts))
    order = list(dict.fromkeys(tuple(ids) for update in updates for ids in stream.at(update)))
    cut = by_budget([len(start) + len(text) for text in order], max_tokens)
    matrix = head.detach().to(head_type(head, format_of(model)))
    states = FixedStates(model, matrix, [[order[i] for i in rows] for rows in cut], start)
    if matrix.device.type != "cpu":
        states.compute(order)
    return states


class Anchor:
    """Called before each update with the policy and the update's number: adds the gradient of coef x mean
    KL(base || policy), in nats per token.

    Returns {"anchor_kl": (sum over the tokens of this process, their number), "anchor_tokens": (tokens fed by it, its
    share of the update)}. Which texts an update sees is a function of (seed, update); processes share them. `start`
    stands before each text and is not counted.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        texts: PromptStream[list[int]],
        start: list[int],
        coef: float,
        max_tokens: int,
        compute: Compute,
        world: World,
    ):
        self.texts = texts
        self.start = start
        self.coef = coef
        self.max_tokens = max_tokens
        self.device = compute.device
        self.world = world
        self.states = fixed_states(base, texts, start, max_tokens)
        self.base = base if self.states is None else None
        self.shares_a_pass = self.device.type != "cpu" and not world.is_sharded and self.states is not None

    def __call__(self, policy: PreTrainedModel, update: int, backward: Backward) -> Sums:
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        share, weight = self._share(update)
        lengths = [len(self.start) + len(ids) for ids in share]
        for chosen, is_last in with_last(self.world.in_step(by_budget(lengths, self.max_tokens))):
            divergence = self._divergence(policy, [share[i] for i in chosen])
            backward(weight * divergence, is_last)
            total += divergence.detach()
        return self.sums(total, share)

    def beside(self, update: int, num_tokens: int) -> "TextsBeside | None":
        """The texts of an update for the pass that has `num_tokens` of others; None where they do not fit into it.

        On an accelerator only: what it saves is the time to start a pass. A sharded model counts its passes before.
        """
        if not self.shares_a_pass:
            return None
        share, weight = self._share(update)
        fed = sum(len(self.start) + len(ids) for ids in share)
        return TextsBeside(self, share, weight) if share and num_tokens + fed <= self.max_tokens else None

    def sums(self, total: Tensor, share: Sequence[Text]) -> Sums:
        """What the log has of an update, from the sum of the divergences of this process's share."""
        fed = float(sum(row_tokens(self.start, [ids]) for ids in share))
        return {
            "anchor_kl": (total, float(sum(map(len, share)))),
            "anchor_tokens": (fed, 1 / self.world.size),
        }

    def _share(self, update: int) -> tuple[list[Text], float]:
        """This process's texts of an update, and the weight of a token of them in the loss."""
        batch = [*map(tuple, self.texts.at(update))]
        lengths = [*map(len, batch)]
        if self.states is not None:
            self.states.compute(batch)
        return [batch[i] for i in self.world.own_share(lengths)], self.coef / sum(lengths)

    def _divergence(self, policy: PreTrainedModel, texts: list[Text]) -> Tensor:
        """Sum of KL(base || policy) over the tokens of texts."""
        packed = texts_behind(self.start, texts, self.device)
        if self.states is not None:
            return kl_to_states(policy, packed, self.states.of(texts), whole(self.states.head))
        assert self.base is not None
        return kl_to_base(policy, self.base, packed)


class TextsBeside:
    """The texts of an update in the row of its last pass. It gives `completion_logps` of the others, and has the
    anchor's part of the loss afterwards.
    """

    def __init__(self, anchor: Anchor, texts: list[Text], weight: float):
        self.anchor = anchor
        self.texts = texts
        self.weight = weight
        self.divergence = torch.zeros(())

    def __call__(self, policy: PreTrainedModel, packed: Packed) -> CompletionLogps:
        states = self.anchor.states
        assert states is not None
        row = texts_behind(self.anchor.start, self.texts, self.anchor.device)
        base = states.of(self.texts), whole(states.head)
        logps, self.divergence = logps_beside_texts(policy, packed, row, *base)
        return logps

    @property
    def loss(self) -> Tensor:
        """What to add to the loss of the pass."""
        return self.weight * self.divergence

    @property
    def sums(self) -> Sums:
        return self.anchor.sums(self.divergence.detach(), self.texts)
