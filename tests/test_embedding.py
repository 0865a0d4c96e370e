"""The store of embeddings: every distinct text once, reference texts once ever, nothing believed that is damaged."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reward.embedding import FILE, EmbeddingStore


class CountingEncoder:
    """Vectors from a hash of the text; remembers what it was asked."""

    dim = 8

    def __init__(self, fingerprint: str = "f" * 64) -> None:
        self.fingerprint = fingerprint
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        rows = [list(hashlib.sha256(text.encode()).digest()[: self.dim]) for text in texts]
        return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32).view(-1, self.dim), dim=1)


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


def test_each_distinct_text_is_encoded_once(encoder: CountingEncoder) -> None:
    store = EmbeddingStore(encoder, None)
    rows = store.embed(["甲", "乙", "甲", "甲"])
    assert encoder.asked == ["甲", "乙"]
    assert torch.equal(rows[0], rows[2]) and torch.equal(rows, CountingEncoder().encode(["甲", "乙", "甲", "甲"]))
    assert (store.requested, store.encoded, store.hits) == (4, 2, 2)


def test_remembered_texts_survive_on_disk(encoder: CountingEncoder, tmp_path: Path) -> None:
    EmbeddingStore(encoder, tmp_path).remember(["甲", "乙", "甲"])
    again = CountingEncoder()
    store = EmbeddingStore(again, tmp_path)
    assert torch.equal(store.embed(["乙", "甲"]), encoder.encode(["乙", "甲"]))
    assert again.asked == []
    store.remember(["丙"])
    assert again.asked == ["丙"]
    assert EmbeddingStore(CountingEncoder(), tmp_path).embed(["甲", "丙"]).shape == (2, 8)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [FILE]


def test_completions_do_not_go_to_disk_and_stay_bounded(encoder: CountingEncoder, tmp_path: Path) -> None:
    store = EmbeddingStore(encoder, tmp_path, capacity=3)
    for step in range(10):
        store.embed([f"{step}-{i}" for i in range(4)])
    assert len(store._recent) == 3 and list(tmp_path.iterdir()) == []
    encoder.asked.clear()
    store.embed(["9-3", "9-0"])
    assert encoder.asked == ["9-0"]


def test_a_call_larger_than_the_memory_is_answered_whole(encoder: CountingEncoder) -> None:
    store = EmbeddingStore(encoder, None, capacity=2)
    texts = [str(i) for i in range(9)]
    assert torch.equal(store.embed(texts), encoder.encode(texts))


def test_text_remembered_after_use_is_not_encoded_again(encoder: CountingEncoder, tmp_path: Path) -> None:
    store = EmbeddingStore(encoder, tmp_path)
    store.embed(["甲"])
    store.remember(["甲"])
    assert encoder.asked == ["甲"]
    assert torch.equal(EmbeddingStore(CountingEncoder(), tmp_path).embed(["甲"]), encoder.encode(["甲"]))


def test_another_encoder_reads_nothing_of_ours(encoder: CountingEncoder, tmp_path: Path) -> None:
    EmbeddingStore(encoder, tmp_path).remember(["甲"])
    other = CountingEncoder("0" * 64)
    EmbeddingStore(other, tmp_path).embed(["甲"])
    assert other.asked == ["甲"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_damaged_file_is_set_aside_said_and_rebuilt(damage: str, encoder: CountingEncoder, tmp_path: Path) -> None:
    store = EmbeddingStore(encoder, tmp_path)
    store.remember(["甲", "乙"])
    good = store.path.read_bytes()
    broken = {"cut": good[:-9], "flip": good[:-1] + bytes([good[-1] ^ 1]), "empty": b"", "text": b"not safetensors at all"}[damage]
    store.path.write_bytes(broken)
    said: list[str] = []
    again = CountingEncoder()
    store = EmbeddingStore(again, tmp_path, say=said.append)
    assert len(said) == 1 and "damaged" in said[0] and str(store.path) in said[0]
    assert store.path.with_name(f"{FILE}.damaged").read_bytes() == broken
    store.remember(["甲", "乙"])
    assert again.asked == ["甲", "乙"]
    assert EmbeddingStore(CountingEncoder(), tmp_path, say=said.append).embed(["甲"]).shape == (1, 8) and len(said) == 1


def test_failed_write_leaves_the_old_file(encoder: CountingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EmbeddingStore(encoder, tmp_path)
    store.remember(["甲"])
    before = store.path.read_bytes()

    def no_space(*args: object, **settings: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("reward.embedding.save_file", no_space)
    with pytest.raises(OSError, match="no space left"):
        store.remember(["乙"])
    assert store.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [store.path.parent.name]


def test_no_texts_give_no_rows(encoder: CountingEncoder) -> None:
    assert EmbeddingStore(encoder, None).embed([]).shape == (0, 8)

