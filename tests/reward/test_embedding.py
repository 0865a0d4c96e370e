"""The store of embeddings: every distinct text once, reference texts once ever, nothing believed that is damaged."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

import reward.embedding as module
from data.errors import InputError
from reward.embedding import EmbeddingStore
from reward.vector_file import KEYS, VECTORS


class CountingEncoder:
    """Vectors from a hash of the text; remembers what it was asked, and in how many calls."""

    dim = 8

    def __init__(self, fingerprint: str = "f" * 64) -> None:
        self.fingerprint = fingerprint
        self.texts: list[str] = []
        self.calls = 0

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.texts += texts
        self.calls += 1
        rows = [list(hashlib.sha256(text.encode()).digest()[: self.dim]) for text in texts]
        return torch.nn.functional.normalize(
            torch.tensor(rows, dtype=torch.float32).view(-1, self.dim), dim=1
        )


def vectors(*texts: str) -> Tensor:
    return CountingEncoder().encode(texts)


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


def test_each_distinct_text_is_encoded_once(encoder: CountingEncoder) -> None:
    store = EmbeddingStore(encoder, None)
    rows = store.embed(["甲", "乙", "甲", "甲"])
    assert encoder.texts == ["甲", "乙"]
    assert torch.equal(rows[0], rows[2]) and torch.equal(rows, vectors("甲", "乙", "甲", "甲"))
    assert (store.num_requested, store.num_encoded, store.hits) == (4, 2, 2)


@pytest.mark.parametrize("on_disk", [False, True])
def test_located_rows_of_the_matrix_are_the_texts_vectors(
    on_disk: bool, encoder: CountingEncoder, tmp_path: Path
) -> None:
    store = EmbeddingStore(encoder, tmp_path if on_disk else None)
    assert store.matrix.shape == (0, 8)
    rows = store.locate(["甲", "乙", "甲"])
    assert rows.dtype == torch.int64 and rows[0] == rows[2]
    assert (
        store.matrix.shape == (2, 8) and store.matrix.is_contiguous() and store.matrix.dtype == torch.float32
    )
    assert torch.equal(store.matrix[rows], vectors("甲", "乙", "甲"))
    more = store.locate(["丙", "乙"])
    assert torch.equal(store.matrix[more], vectors("丙", "乙")) and torch.equal(
        store.matrix[rows], vectors("甲", "乙", "甲")
    )
    assert encoder.texts == ["甲", "乙", "丙"] and store.locate([]).shape == (0,)


def test_second_run_embeds_no_reference_text(encoder: CountingEncoder, tmp_path: Path) -> None:
    texts = [f"{number} 文" for number in range(300)]
    EmbeddingStore(encoder, tmp_path).remember(texts)
    again = CountingEncoder()
    store = EmbeddingStore(again, tmp_path)
    store.remember(texts)
    assert torch.equal(store.matrix[store.locate(texts[::-1])], vectors(*texts[::-1]))
    assert torch.equal(store.embed(texts), vectors(*texts))
    assert again.calls == 0 and (store.num_requested, store.num_encoded, store.hits) == (900, 0, 900)


def test_the_log_has_one_line(encoder: CountingEncoder) -> None:
    store = EmbeddingStore(encoder, None)
    assert store.summary() == "embeddings: 0 texts asked, 0 from the cache (0.0 %), 0 encoded"
    store.remember([str(number) for number in range(1500)])
    store.locate(["7", "8"])
    store.embed(["9"] * 500)
    assert store.summary() == "embeddings: 2,002 texts asked, 502 from the cache (25.1 %), 1,500 encoded"


def test_many_texts_are_encoded_and_written_some_at_a_time(
    encoder: CountingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is interrupted keeps what it has done."""
    monkeypatch.setattr(module, "BATCH", 4)
    texts = [str(number) for number in range(10)]
    EmbeddingStore(encoder, tmp_path).remember(texts)
    assert encoder.calls == 3 and encoder.texts == texts

    class Interrupted(CountingEncoder):
        def encode(self, texts: Sequence[str]) -> Tensor:
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().encode(texts)

    with pytest.raises(KeyboardInterrupt):
        EmbeddingStore(Interrupted("0" * 64), tmp_path).remember(texts)
    assert len(EmbeddingStore(CountingEncoder("0" * 64), tmp_path).matrix) == 8


def test_completions_do_not_go_to_disk_and_stay_bounded(encoder: CountingEncoder, tmp_path: Path) -> None:
    store = EmbeddingStore(encoder, tmp_path, capacity=3)
    for step in range(10):
        store.embed([f"{step}-{i}" for i in range(4)])
    assert len(store._recent) == 3 and list(tmp_path.iterdir()) == []
    encoder.texts.clear()
    store.embed(["9-3", "9-0"])
    assert encoder.texts == ["9-0"]


def test_a_call_larger_than_the_memory_is_answered_whole(encoder: CountingEncoder) -> None:
    store = EmbeddingStore(encoder, None, capacity=2)
    texts = [str(i) for i in range(9)]
    assert torch.equal(store.embed(texts), vectors(*texts))


def test_text_remembered_after_use_is_not_encoded_again(encoder: CountingEncoder, tmp_path: Path) -> None:
    store = EmbeddingStore(encoder, tmp_path)
    store.embed(["甲"])
    store.remember(["乙", "甲"])
    assert encoder.texts == ["甲", "乙"] and not store._recent
    assert torch.equal(EmbeddingStore(CountingEncoder(), tmp_path).embed(["甲", "乙"]), vectors("甲", "乙"))


def test_another_encoder_reads_nothing_of_ours(encoder: CountingEncoder, tmp_path: Path) -> None:
    EmbeddingStore(encoder, tmp_path).remember(["甲"])
    other = CountingEncoder("0" * 64)
    EmbeddingStore(other, tmp_path).remember(["甲"])
    assert other.texts == ["甲"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0" * 16, "f" * 16]


def test_another_encoder_in_a_folder_of_the_same_name_is_set_aside(
    encoder: CountingEncoder, tmp_path: Path
) -> None:
    """Two fingerprints that begin alike, or a folder somebody copied."""
    EmbeddingStore(encoder, tmp_path).remember(["甲"])
    lines: list[str] = []
    other = CountingEncoder("f" * 16 + "0" * 48)
    store = EmbeddingStore(other, tmp_path, say=lines.append)
    assert (
        len(lines) == 1
        and "which is not this encoder's" in lines[0]
        and str(tmp_path / ("f" * 16)) in lines[0]
    )
    store.remember(["甲"])
    assert other.texts == ["甲"] and len(lines) == 1


def test_damaged_file_is_set_aside_said_and_rebuilt(encoder: CountingEncoder, tmp_path: Path) -> None:
    store = EmbeddingStore(encoder, tmp_path)
    store.remember(["甲", "乙"])
    assert store.folder is not None
    (store.folder / VECTORS).write_bytes((store.folder / VECTORS).read_bytes()[:-1])
    lines: list[str] = []
    again = CountingEncoder()
    store = EmbeddingStore(again, tmp_path, say=lines.append)
    assert len(lines) == 1 and "set aside as *.damaged" in lines[0] and str(store.folder) in lines[0]
    store.remember(["甲", "乙"])
    assert again.texts == ["甲", "乙"]
    last = CountingEncoder()
    assert torch.equal(EmbeddingStore(last, tmp_path, say=lines.append).embed(["甲"]), vectors("甲"))
    assert last.texts == [] and len(lines) == 1


def test_files_set_aside_by_another_process_are_made_good(encoder: CountingEncoder, tmp_path: Path) -> None:
    """Texts this process had located are not in the new files: they are embedded again, and every row is the
    text's own.
    """
    store = EmbeddingStore(encoder, tmp_path)
    store.locate(["甲", "乙"])
    assert store.folder is not None
    (store.folder / KEYS).write_bytes(b"?" * 40)
    EmbeddingStore(CountingEncoder(), tmp_path, say=lambda line: None).remember(["丁"])
    rows = store.locate(["甲", "丙", "乙"])
    assert torch.equal(store.matrix[rows], vectors("甲", "丙", "乙")) and len(store.matrix) == 4


@pytest.mark.parametrize("place", ["at the start", "in the middle"])
def test_disk_that_refuses_is_said_once_and_stops_nothing(
    place: str, encoder: CountingEncoder, tmp_path: Path
) -> None:
    lines: list[str] = []
    folder = tmp_path / "embeddings"
    store = EmbeddingStore(encoder, folder, say=lines.append)
    if place == "in the middle":
        store.remember(["甲"])
        folder.rename(tmp_path / "elsewhere")
    folder.write_text("a file where the folder should be")
    rows = store.locate(["甲", "乙"])
    rows = torch.cat([rows, store.locate(["丙", "丁"]), store.locate(["戊"])])
    assert (
        torch.equal(store.matrix[rows], vectors("甲", "乙", "丙", "丁", "戊"))
        and store.matrix.is_contiguous()
    )
    assert encoder.texts == ["甲", "乙", "丙", "丁", "戊"] and len(lines) == 1
    assert lines[0].startswith(f"embeddings: {store.folder} cannot be used (")
    assert lines[0].endswith("); vectors stay in memory and go with this run")


def test_full_disk_names_the_folder_and_keeps_the_old_rows(
    encoder: CountingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    store = EmbeddingStore(encoder, tmp_path, say=lines.append)
    store.remember(["甲"])

    def no_space(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("reward.vector_file._append_bytes", no_space)
        store.remember(["乙"])
    assert lines == [
        f"embeddings: {store.folder} cannot be used (No space left on device); vectors stay in memory and go with this run"
    ]
    assert torch.equal(store.matrix[store.locate(["乙", "甲"])], vectors("乙", "甲"))
    again = CountingEncoder()
    EmbeddingStore(again, tmp_path).embed(["甲", "乙"])
    assert again.texts == ["乙"]


def test_matrix_in_memory_is_not_copied_at_every_addition(encoder: CountingEncoder) -> None:
    store = EmbeddingStore(encoder, None)
    places = set()
    for number in range(200):
        store.locate([str(number)])
        places.add(store.matrix.data_ptr())
    assert len(places) <= 9 and torch.equal(store.matrix, vectors(*map(str, range(200))))


def test_no_texts_give_no_rows(encoder: CountingEncoder) -> None:
    assert EmbeddingStore(encoder, None).embed([]).shape == (0, 8)


@pytest.mark.parametrize(
    "wrong",
    [torch.full((1, 8), torch.nan), torch.zeros(1, 8), torch.ones(1, 8), torch.ones(2, 8), torch.ones(1, 7)],
)
def test_what_is_not_a_unit_vector_is_not_kept(
    wrong: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountingEncoder, "encode", lambda self, texts: wrong)
    store = EmbeddingStore(CountingEncoder(), tmp_path)
    for ask in (store.remember, store.locate, store.embed):
        with pytest.raises(InputError):
            ask(["甲"])
    assert list(tmp_path.iterdir()) == [] and store.matrix.shape == (0, 8)
