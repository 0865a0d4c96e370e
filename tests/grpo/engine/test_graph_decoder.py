"""The decoder of fixed shapes, uncaptured on a CPU: the tokens of the present one, no wait for the host, no
memory that moves.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from accelerators import PretendAccelerator
from tiny import EOS, Make, tiny_gemma, tiny_gpt2, tiny_llama
from tiny_families import KNOWN, qwen2, qwen3
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

import grpo.engine.capture
import grpo.engine.greedy
import grpo.engine.sampler
from data.prompt import Prompt
from grpo.engine import graph_decoder
from grpo.engine.capture import FUSED_STEPS, PLAIN_STEPS, Runner, any_order, say_once
from grpo.engine.draw import uniforms_for
from grpo.engine.graph_decoder import GraphDecoder, State, is_static, sizes_of
from grpo.engine.greedy import DecodeSettings, greedy_in_full_batches, greedy_in_slots, greedy_outputs
from grpo.engine.products import FORMATS, FP32, use_format
from grpo.engine.sampler import Sampling, decode_in_rows, decode_in_slots, generate, uses_graph
from grpo.engine.static_step import PLAIN, Functions, step
from grpo.records import Rollout

STOPS = (EOS, *range(10, 40))  # so that rows end after anything from one token to the limit


def prompts_of(count: int) -> list[list[int]]:
    """Prompts of 1 to 20 tokens in no order of length; windows are 6 and 8."""
    generator = torch.Generator().manual_seed(count)
    sizes = torch.randint(1, 21, (count,), generator=generator).tolist()
    return [torch.randint(100, 259, (size,), generator=generator).tolist() for size in sizes]


def both(model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: Sampling) -> list[Rollout]:
    """The rollout of the present decoder and that of fixed shapes."""
    uniforms = uniforms_for((3,), range(len(prompts) * settings.group_size), settings.max_new_tokens)
    with torch.no_grad():
        return [decode(model, prompts, settings, uniforms) for decode in (decode_in_rows, decode_in_slots)]


def assert_equal(rollouts: Sequence[Rollout], gap: float = 1e-5) -> None:
    first, second = rollouts
    assert torch.equal(first.completion_ids, second.completion_ids)
    assert torch.equal(first.lengths, second.lengths) and torch.equal(first.finished, second.finished)
    assert (first.sampling_logps - second.sampling_logps).abs().max() < gap


def state_of(model: PreTrainedModel) -> State:
    (state,) = GraphDecoder.of(model).states.values()
    return state


def memory(state: State) -> list[int]:
    return [x.data_ptr() for x in (*state.slots.rows, *(x for cache in state.slots.caches for x in cache))]


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of half as many slots down to one."""
    monkeypatch.setattr(graph_decoder, "FEWEST_ROWS", 1)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("make", KNOWN)
@pytest.mark.parametrize(("group_size", "tail"), [(1, 40), (5, 24), (5, 1)])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_rollout_is_that_of_the_present_decoder(
    make: Make, group_size: int, tail: int, temperature: float
) -> None:
    assert_equal(both(make(), prompts_of(7), Sampling(group_size, tail, temperature, STOPS)))


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama, qwen3])
@pytest.mark.parametrize(("name", "gap"), [("fp16", 0.004), ("bf16x2", 2e-4)])
def test_rollout_is_the_same_in_a_format_up_to_rounding(make: Make, name: str, gap: float) -> None:
    model = make()
    use_format(model, FORMATS[name])
    assert_equal(both(model, prompts_of(7), Sampling(5, 24, 0.7, STOPS)), gap)
    type_ = {"fp16": torch.float16, "bf16x2": torch.float32}[name]
    assert {x.dtype for x in state_of(model).slots.caches[0]} == {type_}


@pytest.mark.parametrize(("most_slots", "group_size"), [(1, 3), (4, 1), (4, 3), (8, 2), (100, 1)])
def test_waiting_prompts_join_and_slots_shrink(
    monkeypatch: pytest.MonkeyPatch, small_steps: None, most_slots: int, group_size: int
) -> None:
    """21 prompts, at most so many at a time; the last ones finish in the smallest step that holds them."""
    model = tiny_gemma()
    prompts = prompts_of(21)
    settings = Sampling(group_size, 24, 0.7, STOPS)
    expected = both(model, prompts, settings)[0]
    uniforms = uniforms_for((3,), range(21 * group_size), 24).view(21, group_size, 24)
    decoder = GraphDecoder(model)
    found = {}
    for numbers, rows in decoder.outputs(model, prompts, settings, uniforms, most_slots):
        assert len(numbers) <= most_slots and not rows.alive.any()
        found |= dict(zip(numbers, zip(rows.ids, rows.logps, strict=True), strict=True))
    for number in range(21):
        ids, logps = (x[:, :24] for x in found[number])
        own = slice(number * group_size, (number + 1) * group_size)
        assert torch.equal(ids, expected.completion_ids[own])
        assert torch.allclose(logps, expected.sampling_logps[own], atol=1e-5)
    (state,) = decoder.states.values()
    slots = min(most_slots, 21)
    sizes = [size for size, _ in state.runners]
    assert sizes[0] == slots and sizes == sorted(sizes, reverse=True) and set(sizes) <= {*state.sizes}
    assert slots == 1 or len(sizes) > 1


def test_sizes_are_halves_down_to_the_rows_that_pay() -> None:
    assert sizes_of(32, 8) == [32, 16, 8] and sizes_of(7, 32) == [7, 4, 2] and sizes_of(2, 2) == [2]


def test_rows_that_all_stop_at_once_take_no_step() -> None:
    model = tiny_gemma()
    rollouts = both(model, prompts_of(5), Sampling(2, 8, 1.0, tuple(range(259))))
    assert_equal(rollouts)
    assert rollouts[1].lengths.tolist() == [1] * 10 and not state_of(model).runners


class Watch(TorchDispatchMode):
    """Fails where the host would wait for the device, and writes down every operation with its shapes."""

    WAITS = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[object, ...]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        assert name not in self.WAITS, name
        out = function(*args, **(kwargs or {}))
        if name == "index":
            assert not any(x is not None and x.dtype == torch.bool for x in args[1])
        shapes = tuple(x.shape for x in (out if isinstance(out, tuple | list) else [out]))
        self.operations.append((name, shapes))
        return out


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16x2"])
@pytest.mark.parametrize("make", [tiny_gemma, qwen2])
def test_a_step_waits_for_nothing_and_its_shapes_never_change(
    make: Make, name: str, temperature: float
) -> None:
    model = make()
    use_format(model, FORMATS[name])
    both(model, prompts_of(4), Sampling(3, 9, temperature, STOPS))
    decoder = GraphDecoder.of(model)
    state = state_of(model)
    state.slots.rows.alive.fill_(True)
    state.slots.rows.num_tokens.fill_(1)
    state.rules.limit.fill_(9)
    state.rules.is_stop.zero_()
    part = state.slots.part(4, 64)
    seen = []
    for _ in range(3):
        with Watch() as watch:
            step(model.get_input_embeddings(), decoder.weights, part, state.rules)
        seen.append(watch.operations)
    assert len(seen[0]) > 100 and seen[0] == seen[1] == seen[2]
    assert state.slots.rows.num_tokens.tolist() == [4] * 4


def test_the_watch_sees_a_wait() -> None:
    with pytest.raises(AssertionError, match="_local_scalar_dense"), Watch():
        int(torch.ones(3).sum())


@pytest.mark.parametrize("make", [tiny_gemma, qwen2])
def test_memory_stays_over_rollouts_and_weights_are_those_of_the_policy(make: Make) -> None:
    model = make()
    settings = Sampling(2, 12, 0.7, STOPS)
    before = both(model, prompts_of(6), settings)[1]
    state = state_of(model)
    runners = dict(state.runners)
    weights = GraphDecoder.of(model).weights
    addresses = [*memory(state), weights.head.data_ptr(), weights.layers[0].qkv.weight.data_ptr()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    after = both(model, prompts_of(6), settings)
    assert_equal(after)
    assert not torch.allclose(before.sampling_logps, after[1].sampling_logps, atol=1e-3)
    # fewer and shorter: the same slots
    assert_equal(both(model, prompts_of(6)[:3], Sampling(2, 9, 0.7, STOPS[:4])))
    assert state_of(model) is state and state.runners == runners
    assert addresses == [
        *memory(state), weights.head.data_ptr(), weights.layers[0].qkv.weight.data_ptr()
    ]  # fmt: skip


def test_longer_prompts_take_wider_slots_and_a_new_format_new_weights() -> None:
    model = tiny_gemma()
    settings = Sampling(2, 8, 0.7, STOPS)
    both(model, prompts_of(3), settings)
    assert state_of(model).width == 64
    assert_equal(both(model, [[2, *range(40, 140)], [2, 90]], settings))
    assert state_of(model).width == 128 and state_of(model).sizes[0] == 3
    decoder = GraphDecoder.of(model)
    use_format(model, FORMATS["bf16"])
    both(model, prompts_of(3), settings)
    assert GraphDecoder.of(model) is not decoder
    assert GraphDecoder.of(model).weights.head.dtype == torch.bfloat16


def test_a_copy_of_a_model_has_no_part_in_its_decoder() -> None:
    model = tiny_llama()
    settings = Sampling(2, 8, 0.7, STOPS)
    both(model, prompts_of(3), settings)
    other = copy.deepcopy(model)
    assert vars(other)[graph_decoder.ATTRIBUTE] is None
    assert list(other.state_dict()) == list(model.state_dict())
    both(other, prompts_of(3), settings)
    assert GraphDecoder.of(other) is not GraphDecoder.of(model)


def test_short_memory_takes_an_even_part_of_the_prompts() -> None:
    """Room for 5 of 12 prompts: three rounds of 4."""
    model = tiny_gemma()
    settings = Sampling(2, 16, 0.7, STOPS)
    decoder = GraphDecoder.of(model)
    cache = 2 * 4 * 3 * 8  # bytes of keys and values a token: 3 layers, one head of 8, fp32
    slot = cache * (64 + 2 * 16) + 6 * 4 * 2 * 259
    decoder.accelerator = PretendAccelerator(free=2 * (5 * slot + slot // 2))  # type: ignore[assignment]
    assert_equal(both(model, prompts_of(12), settings))
    assert state_of(model).sizes[0] == 4 and state_of(model).prompts == 12


@pytest.fixture
def as_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers take a CPU for an accelerator."""
    for module in (grpo.engine.sampler, grpo.engine.greedy):
        monkeypatch.setattr(module, "uses_graph", is_static)


@pytest.mark.usefixtures("as_accelerator")
def test_generate_takes_it_unless_the_switch_is_off() -> None:
    model = tiny_gemma()
    slow = generate(
        model, prompts_of(4), Sampling(3, 9, 1.0, STOPS, fast=False), seed=(1,), numbers=range(2, 6)
    )
    assert graph_decoder.ATTRIBUTE not in vars(model)
    assert_equal(
        [slow, generate(model, prompts_of(4), Sampling(3, 9, 1.0, STOPS), seed=(1,), numbers=range(2, 6))]
    )
    assert graph_decoder.ATTRIBUTE in vars(model)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_greedy_outputs_are_those_of_the_refilled_batch(batch_size: int) -> None:
    model = tiny_gemma()
    settings = DecodeSettings(9, (EOS, *range(10, 80)), batch_size)
    with torch.inference_mode():
        found = dict(greedy_in_slots(model, prompts_of(13), settings))
    assert found == dict(greedy_in_full_batches(model, prompts_of(13), settings))
    assert len({len(ids) for ids in found.values()}) > 3
    assert dict(greedy_in_slots(model, prompts_of(13), settings)) == found  # also outside of inference mode


@pytest.mark.usefixtures("as_accelerator")
def test_evaluation_takes_it(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Any) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        grpo.engine.greedy, "greedy_in_slots", lambda *given: calls.append(1) or greedy_in_slots(*given)
    )
    assert greedy_outputs(tiny_gemma(), Prompt.of(tiny_tokenizer), [], DecodeSettings(4, STOPS)) == []
    assert calls == [1]


def test_a_model_without_a_captured_step_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    say_once.cache_clear()
    model = tiny_gpt2()
    assert not uses_graph(model) and not caplog.messages
    monkeypatch.setattr(type(model), "device", torch.device("meta"))
    assert [uses_graph(model), uses_graph(model)] == [False, False]
    assert caplog.messages == ["gpt2: no captured step for this model, so it decodes kernel by kernel"]
    monkeypatch.setattr(type(tiny_gemma()), "device", torch.device("meta"))
    assert uses_graph(tiny_gemma())


def test_angles_that_depend_on_the_length_are_not_for_fixed_shapes() -> None:
    model: Any = tiny_llama()
    assert is_static(model)
    model.base_model.rotary_emb.rope_type = "dynamic"
    assert not is_static(model)


def both_in_stages(
    model: PreTrainedModel, accelerator: PretendAccelerator, monkeypatch: pytest.MonkeyPatch, fused: Functions
) -> list[Rollout]:
    """Both rollouts, long enough for every stage."""
    monkeypatch.setattr(grpo.engine.capture, "fused_functions", lambda _: fused)
    say_once.cache_clear()
    GraphDecoder.of(model).accelerator = accelerator  # type: ignore[assignment]
    return both(model, prompts_of(3), Sampling(2, PLAIN_STEPS + FUSED_STEPS + 9, 0.7, ()))


def test_a_size_runs_plain_then_fused_then_captured(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_gemma()
    used: list[str] = []
    fused = Functions(PLAIN.layer, lambda *given: used.append("fused") or PLAIN.tokens(*given))  # type: ignore[func-returns-value]
    accelerator = PretendAccelerator()
    assert_equal(both_in_stages(model, accelerator, monkeypatch, fused))
    assert accelerator.calls == ["aside"] * FUSED_STEPS + ["capture"] + ["replay"] * 8
    assert len(used) == FUSED_STEPS + 8 and not caplog.messages


def refuse(*_: object) -> Tensor:
    raise RuntimeError("no such compiler\nand more")


@pytest.mark.parametrize("fused", [Functions(refuse, PLAIN.tokens), Functions(PLAIN.layer, refuse)])  # type: ignore[arg-type]
def test_without_a_compiler_it_is_captured_unfused(
    fused: Functions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A step that failed in its first or last function runs again, and no token is lost."""
    accelerator = PretendAccelerator()
    assert_equal(both_in_stages(tiny_gemma(), accelerator, monkeypatch, fused))
    assert accelerator.calls.count("replay") == 8 and not accelerator.fuses
    (message,) = caplog.messages
    assert message.startswith("decoding runs without fused kernels") and "no such compiler" in message


def test_without_a_graph_it_runs_kernel_by_kernel(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accelerator = PretendAccelerator(error=RuntimeError("operation not permitted"))
    model = tiny_gemma()
    assert_equal(both_in_stages(model, accelerator, monkeypatch, PLAIN))
    assert_equal(both_in_stages(model, accelerator, monkeypatch, PLAIN))
    assert accelerator.calls.count("capture") == 1 and "replay" not in accelerator.calls
    (message,) = caplog.messages
    assert message.startswith("decoding runs kernel by kernel") and "not permitted" in message


def test_an_error_of_a_plain_step_is_raised() -> None:
    runner = Runner(PretendAccelerator(fuses=False), FP32)  # type: ignore[arg-type]
    runner.steps = PLAIN_STEPS
    failing: Callable[[Functions], None] = lambda _: refuse() and None  # type: ignore[assignment]  # noqa: E731
    with pytest.raises(RuntimeError, match="no such compiler"):
        runner.advance(failing)


@pytest.mark.parametrize("before", [(False, False), (True, False), (True, True)])
def test_deterministic_algorithms_are_off_inside_only(before: tuple[bool, bool]) -> None:
    def now() -> tuple[bool, bool]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )

    found = now()
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    try:
        with pytest.raises(KeyError), any_order():
            assert not torch.are_deterministic_algorithms_enabled()
            raise KeyError
        assert now() == before
    finally:
        torch.use_deterministic_algorithms(found[0], warn_only=found[1])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gap"), [("fp32", 1e-5), ("fp16", 0.004), ("bf16x2", 2e-4)])
@pytest.mark.filterwarnings("ignore")
def test_a_compiler_fuses_the_step_and_keeps_its_roundings(
    name: str, gap: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "grpo")
    model = tiny_gemma()
    use_format(model, FORMATS[name])
    accelerator = PretendAccelerator()
    GraphDecoder.of(model).accelerator = accelerator  # type: ignore[assignment]
    assert_equal(both(model, prompts_of(3), Sampling(2, 40, 0.7, ())), gap)
    assert accelerator.fuses and "capture" in accelerator.calls and not caplog.messages
