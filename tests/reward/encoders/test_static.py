"""Static embeddings: a mean of rows, and what fitting takes away."""

import random
from pathlib import Path

import pytest
import tiny_encoders
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import HIDDEN, TEXTS, check_bits_in_every_batch, static_folder
from torch import Tensor

from data.errors import InputError
from reward.encoders import static
from reward.encoders.pooling import blank_row
from reward.encoders.static import load_static, mean_and_directions, remove_common, weighted_means


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return static_folder(tmp_path / "static")


def drawn_texts(count: int) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(tiny_encoders.LETTERS, k=draw.randint(1, 12))) for _ in range(count)]


def row_of(folder: Path, letter: str) -> Tensor:
    number = len(tiny_encoders.SPECIAL["bert"]) + tiny_encoders.LETTERS.index(letter)
    return load_file(folder / "model.safetensors")["embedding.weight"][number]


def test_vector_is_the_mean_of_the_tokens_rows(folder: Path) -> None:
    expected = (2 * row_of(folder, "a") + row_of(folder, "文")) / 3
    row = load_static(folder).encode(["a文a"])[0]
    torch.testing.assert_close(row, expected / expected.norm())


def test_weights_of_frequent_tokens_are_small(folder: Path) -> None:
    """a / (a + p): in 100 texts "ab" and 100 texts "a", p(a) = 2/3, p(b) = 1/3."""
    encoder = load_static(folder, ["ab"] * 100 + ["a"] * 100)
    weights = {
        letter: encoder.statistics.weights[encoder.tokenizer.token_to_id(letter)].item() for letter in "abc"
    }
    assert weights == pytest.approx(
        {"a": 1e-3 / (1e-3 + 2 / 3), "b": 1e-3 / (1e-3 + 1 / 3), "c": 1.0}, rel=1e-6
    )


def test_mean_and_strongest_direction_are_taken_away() -> None:
    draw = torch.Generator().manual_seed(0)
    offset = torch.tensor([5.0, 1.0, 0.0, 0.0])
    strong = torch.tensor([0.0, 0.0, 3.0, 4.0])
    vectors = (
        offset + torch.randn(500, 1, generator=draw) * strong + torch.randn(500, 4, generator=draw) * 0.01
    )
    mean, directions = mean_and_directions(lambda: iter([vectors[:300].double(), vectors[300:].double()]))
    whole = vectors.double()
    torch.testing.assert_close(mean, whole.mean(dim=0).float())
    axis = torch.linalg.svd(whole - whole.mean(dim=0)).Vh[0].float()
    torch.testing.assert_close(directions[0] * (directions[0] @ axis).sign(), axis)
    assert abs(directions[0] @ strong / 5) > 0.9999
    torch.testing.assert_close(directions @ directions.T, torch.eye(3), atol=1e-6, rtol=0)
    rest = remove_common(vectors, mean, directions[:1])
    assert (
        rest.mean(dim=0).abs().max() < 1e-5 and (rest @ strong).abs().max() < 1e-4 < rest.norm(dim=1).mean()
    )


def test_fit_works_on_so_many_texts_at_once_and_no_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All vectors of a corpus in fp64, three times over, were 33 KB a pair."""
    texts = ["", *drawn_texts(300)]
    sizes = []
    means = static.weighted_means
    monkeypatch.setattr(static, "weighted_means", lambda *args: sizes.append(len(args[2])) or means(*args))
    whole = load_static(folder, texts)
    monkeypatch.setattr(static, "CHUNK_TEXTS", 64)
    in_chunks = load_static(folder, texts)
    assert sizes == [300, 300, *[64, 64, 64, 64, 44] * 2]
    torch.testing.assert_close(in_chunks.statistics.mean, whole.statistics.mean)
    torch.testing.assert_close(in_chunks.encode(texts[:20]), whole.encode(texts[:20]), atol=1e-5, rtol=0)


def test_vector_is_bit_equal_in_every_batch(folder: Path) -> None:
    texts = drawn_texts(300)
    for encoder in (load_static(folder), load_static(folder, texts)):
        check_bits_in_every_batch(encoder.encode, texts)


def test_rows_are_unit_and_texts_without_tokens_have_the_blank_row(folder: Path) -> None:
    for encoder in (load_static(folder), load_static(folder, drawn_texts(100))):
        rows = encoder.encode(["", *TEXTS, " "])
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-5, rtol=0)
        torch.testing.assert_close(rows[[0, -1]], blank_row(HIDDEN).repeat(2, 1))
        assert encoder.encode([]).shape == (0, HIDDEN)
        assert rows.dtype == torch.float32


def test_model2vec_rows_are_mapped_and_scaled(folder: Path, tmp_path: Path) -> None:
    matrix = load_file(folder / "model.safetensors")["embedding.weight"]
    other = static_folder(tmp_path / "other")
    mapping = torch.arange(len(matrix)) // 2
    weights = torch.arange(len(matrix)) / 10
    save_file(
        {"embeddings": matrix[: len(matrix) // 2 + 1], "mapping": mapping, "weights": weights},
        other / "model.safetensors",
    )
    torch.testing.assert_close(load_static(other).matrix, matrix[mapping] * weights[:, None])


def test_input_embedding_of_a_causal_model_is_found(tiny_folder: Path) -> None:
    matrix = load_file(tiny_folder / "model.safetensors")["model.embed_tokens.weight"]
    encoder = load_static(tiny_folder)
    assert torch.equal(encoder.matrix, matrix)
    expected = matrix[encoder.tokenizer.token_to_id("a")]
    # without the <bos> its tokenizer puts in front
    torch.testing.assert_close(encoder.encode(["aa"])[0], expected / expected.norm())


def test_fingerprint_names_matrix_tokenizer_and_fit(folder: Path) -> None:
    prints = [
        load_static(folder).fingerprint,
        load_static(folder, drawn_texts(100)).fingerprint,
        load_static(folder, drawn_texts(200)).fingerprint,
    ]
    assert load_static(folder, drawn_texts(200)).fingerprint == prints[2]
    save_file({"embedding.weight": load_static(folder).matrix * 2}, folder / "model.safetensors")
    assert len({*prints, load_static(folder).fingerprint}) == 4


def test_chunks_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_static(folder)
    rows = encoder.encode(TEXTS)
    monkeypatch.setattr(static, "CHUNK_TEXTS", 2)
    assert torch.equal(encoder.encode(TEXTS), rows)


def test_weighted_means_of_nothing() -> None:
    assert weighted_means(torch.ones(2, 3), torch.ones(2), [[], [1]]).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_too_few_texts_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"fitting needs at least 100 texts, got 3"):
        load_static(folder, ["a", "b", "c"])


def test_folder_without_a_matrix_is_refused(folder: Path) -> None:
    save_file({"other": torch.ones(2, 2)}, folder / "model.safetensors")
    with pytest.raises(
        InputError,
        match=r"static: no embedding matrix; looked for embedding\.weight, embeddings, embed_tokens\.weight",
    ):
        load_static(folder)


def test_damaged_files_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: not a readable safetensors file"):
        load_static(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json: no tokenizer"):
        load_static(folder)
    (folder / "model.safetensors").rename(folder / "model.bin")
    with pytest.raises(InputError, match=r"weights are only a pickle \(model\.bin\)"):
        load_static(folder)
