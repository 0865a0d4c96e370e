"""Replay: the share of tokens to a token, whole texts and pieces of them, and what they are a function of."""

import pytest

from grpo.replay import Pair, TextReplay, no_replay

TEXTS = [[*range(100, 112)], [*range(200, 205)], [300]]
PAIRS: list[Pair] = [([1, 2], [3] * 10), ([1], [4] * 20)]


def replay(share: float, seed: int = 0) -> TextReplay:
    return TextReplay(TEXTS, [2], share, seed)


@pytest.mark.parametrize(("share", "tokens"), [(0.05, 2), (0.1, 3), (0.25, 10), (0.5, 30), (0.01, 0)])
def test_the_share_of_tokens(share: float, tokens: int) -> None:
    """30 tokens of pairs: s / (1 - s) x 30 of texts, rounded."""
    for update in range(5):
        found = replay(share)(PAIRS, update)
        assert [*found[:2]] == PAIRS
        assert sum(len(text) for _, text in found[2:]) == tokens


def test_a_piece_is_behind_what_stands_before_it() -> None:
    """Prompt and piece together begin a text, behind the start token; what does not fit is left out of the prompt too."""
    seen = set()
    for update in range(300):
        for prompt, piece in replay(0.25)(PAIRS, update)[2:]:
            assert prompt[0] == 2 and piece
            ids = [*prompt[1:], *piece]
            assert any(ids == text[: len(ids)] for text in TEXTS)
            seen |= set(piece)
    assert seen == {token for text in TEXTS for token in text}  # every place of every text is learnt


def test_texts_are_a_function_of_seed_and_update() -> None:
    updates = [replay(0.25)(PAIRS, update)[2:] for update in range(20)]
    assert updates == [replay(0.25)(PAIRS, update)[2:] for update in range(20)]
    assert len({str(found) for found in updates}) > 10
    assert updates != [replay(0.25, seed=1)(PAIRS, update)[2:] for update in range(20)]


def test_without_a_share_there_are_the_pairs() -> None:
    assert no_replay(PAIRS, 3) is PAIRS
