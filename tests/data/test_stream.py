"""Which prompts a step sees: a pure function of (seed, step)."""

from collections import Counter

import pytest

from data.errors import InputError
from data.examples import Example
from data.stream import PromptStream

EXAMPLES = tuple(Example(str(n), "s", "r", "o", "l", "bo", "zh") for n in range(10))


def ids(stream: PromptStream, steps: range) -> list[str]:
    return [example.id for step in steps for example in stream.at(step)]


def test_each_epoch_is_a_permutation_also_across_uneven_steps() -> None:
    stream = PromptStream(EXAMPLES, 4, seed=1)  # 10 examples, 4 a step: epochs end inside steps
    items = ids(stream, range(10))
    epochs = [items[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(epoch) == sorted(e.id for e in EXAMPLES) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_step_does_not_depend_on_the_steps_before() -> None:
    stream = PromptStream(EXAMPLES, 4, seed=1)
    steps = [stream.at(step) for step in range(8)]
    assert PromptStream(EXAMPLES, 4, seed=1).at(7) == steps[7] == stream.at(7)
    assert stream.at(0) == steps[0] != steps[7]


def test_seed_changes_the_order() -> None:
    assert ids(PromptStream(EXAMPLES, 10, 1), range(1)) != ids(PromptStream(EXAMPLES, 10, 2), range(1))


def test_more_prompts_than_examples_go_round() -> None:
    assert set(Counter(ids(PromptStream(EXAMPLES, 30, 0), range(1))).values()) == {3}


def test_a_replacement_is_a_function_of_its_address_and_any_example() -> None:
    """1,600 addresses over 10 examples: each 160 times, within four standard deviations of 12."""
    stream = PromptStream(EXAMPLES, 4, seed=1)
    addresses = [
        (step, attempt, place) for step in range(100) for attempt in range(1, 5) for place in range(4)
    ]
    found = [stream.replacement(*address).id for address in addresses]
    assert [PromptStream(EXAMPLES, 4, seed=1).replacement(*address).id for address in addresses] == found
    assert all(112 <= count <= 208 for count in Counter(found).values()) and len(set(found)) == 10
    other_seed = [PromptStream(EXAMPLES, 4, seed=2).replacement(*address).id for address in addresses]
    assert 100 < sum(a == b for a, b in zip(found, other_seed, strict=True)) < 220


@pytest.mark.parametrize(("examples", "num_prompts"), [((), 4), (EXAMPLES, 0)])
def test_empty_stream_is_refused(examples: tuple[Example, ...], num_prompts: int) -> None:
    with pytest.raises(InputError, match="a stream needs examples"):
        PromptStream(examples, num_prompts, 0)
