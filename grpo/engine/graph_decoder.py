"""Decodes on an accelerator: one captured graph makes a token for every row, and the host reads every few tokens which
rows go on.

A prompt takes a slot (grpo/engine/slots.py). Every LOOK tokens, slots whose rows have all ended hand over their outputs
and take waiting prompts. If none wait, a step of half as many slots goes on as soon as they suffice. On a CPU the same
code runs uncaptured; that is how it is tested.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.engine.capture import Accelerator, Runner, any_order
from grpo.engine.decode_step import FastDecoder, embedding_of, is_known
from grpo.engine.draw import Sampling, pick
from grpo.engine.halves import low_halves
from grpo.engine.products import format_of
from grpo.engine.sharding import is_share
from grpo.engine.slots import Rows, Slots, bytes_of_slot
from grpo.engine.static_step import Rules, step
from grpo.engine.step_weights import StepWeights

LOOK = 8  # tokens between two looks of the host
REFILL_BELOW = 0.75  # waiting prompts join when fewer than this share of the slots are busy
FEWEST_ROWS = 64  # a step of fewer rows takes as long
WIDTH = 64  # prompts and outputs have room for a multiple of these, so that shapes repeat
TAIL = 16
MEMORY_SHARE = 0.5  # of the free memory that slots may take
ATTRIBUTE = "graph_decoder"  # of a model: its decoder lives as long as it does


def is_static(model: PreTrainedModel) -> bool:
    """Is this a model that the captured step computes? Angles must not depend on the length of the text."""
    if not is_known(model):
        return False
    base: Any = model.base_model
    kinds = getattr(base.rotary_emb, "rope_type", "default")
    return not {"dynamic", "longrope"} & set(kinds.values() if isinstance(kinds, dict) else [kinds])


def forget(model: PreTrainedModel) -> None:
    """Give the memory of a model's decoder back; it makes a new one when it needs one."""
    vars(model).pop(ATTRIBUTE, None)


def signature(model: PreTrainedModel) -> tuple[object, ...]:
    """What a graph depends on: the format, and where what it reads in the model lies; of a sharded model the decoder
    has its own copy.
    """
    weight = embedding_of(model).weight
    halves = tuple(high.data_ptr() for high in low_halves(model))
    place = 0 if is_share(weight) else weight.data_ptr()
    return format_of(model), weight.device, place, weight.shape, halves


def round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def sizes_of(slots: int, group_size: int) -> list[int]:
    """How many slots a step may run: all, half of them, a quarter, ..."""
    sizes = [slots]
    while sizes[-1] > 1 and round_up(sizes[-1], 2) // 2 * group_size >= FEWEST_ROWS:
        sizes.append(round_up(sizes[-1], 2) // 2)
    return sizes


class Busy(NamedTuple):
    """What a slot is doing: the number of its prompt, and how many steps had run when it began."""

    prompt: int
    start: int


@dataclass
class State:
    """Slots for one group size, length and temperature, and the part and the step of every size that has run."""

    slots: Slots
    rules: Rules
    prompts: int  # for how many it was made; `slots` are fewer where memory is short
    sizes: list[int]
    pool: Any  # scratch memory of the graphs
    runners: dict[tuple[int, int], Runner] = field(default_factory=dict)
    parts: dict[tuple[int, int], Slots] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return self.slots.caches[0].prompt_keys.shape[2]


class GraphDecoder:
    """The decoder of one model. It keeps no reference to the model, so their memory is freed together."""

    def __init__(self, model: PreTrainedModel):
        self.signature = signature(model)
        self.device = model.device
        self.accelerator = None if model.device.type == "cpu" else Accelerator(model.device)
        self.weights = StepWeights(model)
        self.states: dict[tuple[int, int, float], State] = {}

    @classmethod
    @torch.inference_mode(False)
    @torch.no_grad()
    def of(cls, model: PreTrainedModel) -> "GraphDecoder":
        """The decoder that lives with `model`, or a new one where the model has moved or changed its format."""
        found = vars(model).get(ATTRIBUTE)
        if not isinstance(found, cls) or found.signature != signature(model):
            found = None
            setattr(model, ATTRIBUTE, None)  # its memory is free before the new one takes some
            found = cls(model)
            setattr(model, ATTRIBUTE, found)
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of a model makes a decoder of its own when it needs one."""

    @torch.inference_mode(False)
    @torch.no_grad()
    def outputs(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        settings: Sampling,
        uniforms: Tensor | None = None,
        most_slots: int | None = None,
    ) -> Iterator[tuple[list[int], Rows]]:
        """Numbers of prompts and their rows, as they end; prompts start in the order given.

        `uniforms` (P, G, tokens) fp64, not needed for temperature 0; at most `most_slots` prompts at a time.
        """
        self.weights.load(model)
        prefill = FastDecoder(model, 0, 1, self.weights.products(model))
        if not prompts:  # but other processes have, which needed the shares of this one
            return
        state = self.state_for(prefill, prompts, settings, most_slots)
        width = round_up(max(map(len, prompts)), WIDTH)
        waiting = deque(range(len(prompts)))
        busy: dict[int, Busy] = {}
        most = min(len(prompts), state.sizes[0], most_slots or len(prompts))
        slots = min(size for size in state.sizes if size >= most)
        clock = 0
        while waiting or busy:
            finished_slots = self.finished_slots(state, busy)
            if finished_slots:
                numbers = [busy.pop(slot).prompt for slot in finished_slots]
                index = torch.tensor(finished_slots, device=self.device)
                yield numbers, Rows(*(x[index] for x in state.slots.rows))
            if waiting and len(busy) < REFILL_BELOW * slots:
                free = [slot for slot in range(slots) if slot not in busy][: len(waiting)]
                numbers = [waiting.popleft() for _ in free]
                new = None if uniforms is None else uniforms[numbers]
                self.fill(prefill, state, free, [prompts[number] for number in numbers], new)
                busy |= {slot: Busy(number, clock) for slot, number in zip(free, numbers, strict=True)}
                continue  # rows may stop at their first token
            if busy:
                slots = slots if waiting else self.compact(state, busy, slots)
                left = settings.max_new_tokens - 1 - clock + max(slot.start for slot in busy.values())
                steps = min(LOOK, left)
                self.advance(state, (slots, width), steps)
                clock += steps

    def state_for(
        self,
        prefill: FastDecoder,
        prompts: Sequence[Sequence[int]],
        settings: Sampling,
        most_slots: int | None,
    ) -> State:
        """Slots that are large enough; those of an earlier rollout where they are."""
        tail = round_up(settings.max_new_tokens, TAIL)
        key = (settings.group_size, tail, settings.temperature)
        needed_slots = min(len(prompts), most_slots or len(prompts))
        width = round_up(max(map(len, prompts)), WIDTH)
        state = self.states.get(key)
        if state is None or state.prompts < needed_slots or state.width < width:
            if state is not None:
                needed_slots = max(needed_slots, state.prompts)
                width = max(width, state.width)
            state = None
            self.states.pop(key, None)
            state = self.new_state(
                prefill, needed_slots, (settings.group_size, width, tail), settings.temperature
            )
            self.states[key] = state
        state.rules.is_stop.zero_()
        state.rules.is_stop[list(settings.stop_ids)] = True
        state.rules.limit.fill_(settings.max_new_tokens)
        return state

    def new_state(
        self, prefill: FastDecoder, prompts: int, shape: tuple[int, int, int], temperature: float
    ) -> State:
        """State for `prompts`, or for an even part of them where memory is short."""
        geometry = self.weights.geometry
        layers = len(self.weights.layers)
        vocabulary = len(self.weights.head)
        group_size, width, tail = shape
        slots = prompts
        if self.accelerator is not None:
            room = MEMORY_SHARE * self.accelerator.free_bytes()
            room = max(1, int(room / bytes_of_slot(shape, geometry, layers, vocabulary)))
            parts = round_up(prompts, room) // room
            slots = round_up(prompts, parts) // parts
        positions = torch.arange(width + tail, device=self.device)
        angles = prefill.angles(self.weights.last_norm[None], positions)
        tables = {kind: (cosines[:, 0], sines[:, 0]) for kind, (cosines, sines) in angles.items()}
        rules = Rules(
            torch.zeros(vocabulary, dtype=torch.bool, device=self.device),
            torch.zeros(1, dtype=torch.int64, device=self.device),
            tables,
            temperature,
        )
        empty = Slots.empty((slots, *shape), geometry, layers, self.device)
        pool = self.accelerator.new_pool() if self.accelerator else None
        return State(empty, rules, prompts, sizes_of(slots, group_size), pool)

    def finished_slots(self, state: State, busy: dict[int, Busy]) -> list[int]:
        """Busy slots of which no row goes on: the one place that waits for the device."""
        goes_on = state.slots.rows.alive.any(dim=1).tolist() if busy else []
        return [slot for slot in busy if not goes_on[slot]]

    def fill(
        self,
        prefill: FastDecoder,
        state: State,
        slots: Sequence[int],
        prompts: Sequence[Sequence[int]],
        uniforms: Tensor | None,
    ) -> None:
        """Run `prompts` and put them into `slots`, with the first token of every row."""
        own = state.slots.rows
        shape = (len(slots), *own.uniforms.shape[1:])
        room = torch.zeros(shape, dtype=torch.float64, device=self.device)
        if uniforms is not None:
            room[:, :, : uniforms.shape[2]] = uniforms
        logits = prefill.prefill(prompts, 1).repeat_interleave(shape[1], dim=0)
        rows = Rows.before_the_first_token(prefill.cache.lengths, room)
        tokens, logps = pick(logits, room[:, :, 0].flatten(), state.rules.temperature)
        tokens, logps = (x.view(shape[:2]) for x in (tokens, logps))
        rows.record(tokens, logps, state.rules.is_stop, state.rules.limit)
        with any_order():
            state.slots.fill(torch.tensor(slots, device=self.device), rows, prefill.cache.prefixes)
        del prefill.cache

    def compact(self, state: State, busy: dict[int, Busy], slots: int) -> int:
        """Move what goes on into the fewest slots that a step may run, and give their number."""
        fewer = min(size for size in state.sizes if size >= len(busy))
        source = [slot for slot in busy if slot >= fewer]
        target = [slot for slot in range(fewer) if slot not in busy][: len(source)]
        if source:
            with any_order():
                state.slots.move(*(torch.tensor(x, device=self.device) for x in (source, target)))
            busy |= {new: busy.pop(old) for old, new in zip(source, target, strict=True)}
        return min(slots, fewer)

    def advance(self, state: State, size: tuple[int, int], steps: int) -> None:
        """So many tokens for the rows of the first slots; `size` is their number and the width of prompts."""
        if size not in state.runners:
            state.runners[size] = Runner(self.accelerator, self.weights.geometry.format, state.pool)
            state.parts[size] = state.slots.part(*size)
        one = partial(step, self.weights.embedding, self.weights, state.parts[size], state.rules)
        with any_order():
            for _ in range(steps):
                state.runners[size].advance(one)
