"""Packed rows give the numbers of plain rows: log-probabilities, gradients, masks."""

import pytest
import torch
from ragged import COMPLETIONS, GROUPS, PROMPTS
from tiny import Make, tiny_gemma, tiny_llama
from transformers import PreTrainedModel

from grpo.engine.logprob import completion_logps
from grpo.engine.packing import by_budget, pack, visible


def plain_logps(model: PreTrainedModel, temperature: float = 1.0) -> list[torch.Tensor]:
    """Each completion behind its own prompt, through the model's ordinary forward pass."""
    result = []
    for prompt, group in zip(PROMPTS, GROUPS, strict=True):
        for completion in group:
            ids = torch.tensor([prompt + completion])
            logps = (model(input_ids=ids).logits[0] / temperature).log_softmax(-1)
            result.append(logps[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0])
    return result


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
@pytest.mark.parametrize("group_size", [3, 1])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.3])
def test_packed_equals_plain(make: Make, group_size: int, temperature: float) -> None:
    """Shared prefix (groups of 3) and unshared (groups of 1), past a sliding window of 8, on ragged
    groups.
    """
    model = make()
    prompts = PROMPTS if group_size == 3 else [prompt for prompt in PROMPTS for _ in range(3)]
    packed = completion_logps(model, pack(prompts, COMPLETIONS, group_size), temperature)
    for row, expected in enumerate(plain_logps(model, temperature)):
        assert torch.allclose(packed.logps[row, : len(expected)], expected, atol=1e-5)
        assert torch.equal(packed.logps[row, len(expected) :], torch.zeros(10 - len(expected)))


@pytest.mark.parametrize("make", [tiny_gemma, tiny_llama])
def test_packed_gradient_equals_plain(make: Make) -> None:
    first = make()
    second = make()
    weights = torch.arange(1.0, 10.0)
    (completion_logps(first, pack(PROMPTS, COMPLETIONS, 3)).logps.sum(dim=1) * weights).sum().backward()
    sum(w * logps.sum() for w, logps in zip(weights, plain_logps(second), strict=True)).backward()
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-5 * float(b.grad.abs().max() + 1)), name


def test_entropy_is_that_of_the_full_distribution(tiny_model: PreTrainedModel) -> None:
    entropy = completion_logps(tiny_model, pack(PROMPTS[:1], [COMPLETIONS[0]], 1), temperature=0.7).entropy
    logps = (tiny_model(input_ids=torch.tensor([PROMPTS[0] + COMPLETIONS[0]])).logits[0] / 0.7).log_softmax(
        -1
    )
    expected = -(logps.exp() * logps).sum(-1)[len(PROMPTS[0]) - 1 : -1]
    assert torch.allclose(entropy[0], expected, atol=1e-5)


def test_capped_head_takes_the_general_path(tiny_model: PreTrainedModel) -> None:
    tiny_model.config.final_logit_softcapping = 5.0
    packed = completion_logps(tiny_model, pack(PROMPTS, COMPLETIONS, 3))
    for row, expected in enumerate(plain_logps(tiny_model)):
        assert torch.allclose(packed.logps[row, : len(expected)], expected, atol=1e-5)


def test_row_stores_the_prompt_once_and_never_feeds_the_last_token() -> None:
    packed = pack([[2, 5, 6]], [[7, 8, 1], [9, 1]], 2)
    assert packed.input_ids.tolist() == [[2, 5, 6, 7, 8, 9]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 4, 3]]
    assert packed.group_ids.tolist() == [[0] * 6]
    assert packed.segment_ids.tolist() == [[0, 0, 0, 1, 1, 2]]
    assert packed.source.tolist() == [2, 3, 4, 2, 5]
    assert packed.targets.tolist() == [7, 8, 1, 9, 1]
    assert packed.slots.tolist() == [0, 1, 2, 3, 4]


def test_completions_cannot_see_each_other() -> None:
    packed = pack([[2, 5]], [[7, 8, 1], [9, 9, 1]], 2)
    mask = visible(packed)[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_groups_cannot_see_each_other() -> None:
    """Equal positions and segments in another group stay out of sight."""
    packed = pack([[2, 5], [2, 6]], [[7, 1], [8, 1]], 1)
    mask = visible(packed)[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
    ]


def test_budget_holds_and_nothing_is_lost() -> None:
    lengths = torch.randint(1, 60, (100,), generator=torch.Generator().manual_seed(0)).tolist()
    batches = by_budget(lengths, 128)
    assert [i for batch in batches for i in batch] == list(range(100))
    assert all(sum(lengths[i] for i in batch) <= 128 for batch in batches)


def test_empty_prompt_and_wrong_count_are_refused() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        pack([[]], [[1]], 1)
    with pytest.raises(ValueError, match="3 completions for 2 prompts x 2"):
        pack([[2], [2]], [[1], [1], [1]], 2)
