"""Encoder folders, vector files and own terms of every kind of badness: one sentence, or vectors that can be
trusted.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from explore import bad_json, bad_weights, damaged_bytes, explore, read_or_refuse, times
from hypothesis import strategies as st
from invented_tibetan import LetterTeacher
from tiny_encoders import LETTERS, SPECIAL, TEXTS, body_folder, pooled_folder, static_folder, write_json
from vector_files import DIM, OURS, file_of, key, rows_of

from data.errors import InputError
from reward.encoder import check_unit_rows, load_encoder
from reward.encoders import student
from reward.encoders.modules import load_modules
from reward.encoders.static import load_static
from reward.faults import NamedEncoder
from reward.own_term import load_own_term
from reward.vector_file import HEADER, KEYS, VECTORS, VectorFile

CPU = torch.device("cpu")
TOKENS = len(SPECIAL["bert"]) + len(LETTERS)
DAMAGED = [
    *(
        ("modules", name)
        for name in (
            "modules.json",
            "config.json",
            "config_sentence_transformers.json",
            "sentence_bert_config.json",
        )
    ),
    *(
        ("modules", name)
        for name in ("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors")
    ),
    *(
        ("pooled", name)
        for name in (
            "encoder.json",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        )
    ),
    *(("static", name) for name in ("model.safetensors", "tokenizer.json")),
]


def make_encoder(kind: str, folder: Path) -> Path:
    if kind == "modules":
        pooled_folder(folder, heads=("Dense", "Normalize"))
        write_json(
            folder / "config_sentence_transformers.json",
            {"prompts": {"q": "abc"}, "default_prompt_name": "q"},
        )
    elif kind == "pooled":
        body_folder(folder, "xlmr")
        write_json(
            folder / "encoder.json",
            {"pooling": ["mean", "cls"], "prompt": "a", "max_length": 20, "include_prompt": False},
        )
    else:
        static_folder(folder, "embeddings", mapping=torch.arange(TOKENS), weights=torch.ones(TOKENS))
    return folder


@times
@pytest.mark.parametrize(("kind", "name"), DAMAGED, ids=[f"{kind}-{name}" for kind, name in DAMAGED])
@pytest.mark.filterwarnings("ignore")
def test_any_damage_to_an_encoder(times: int, kind: str, name: str, tmp_path: Path) -> None:
    folder = make_encoder(kind, tmp_path / "encoder")
    label = f"static:{folder}" if kind == "static" else str(folder)
    content = (folder / name).read_bytes()

    def encode_texts() -> torch.Tensor:
        encoder = NamedEncoder(label, load_encoder(label, tmp_path, CPU))
        return check_unit_rows(encoder.encode(TEXTS[:5]), TEXTS[:5], encoder.dim, label)

    def holds(damage: bytes) -> None:
        (folder / name).write_bytes(damage)
        read_or_refuse(encode_texts, str(folder))

    explore(20 * times, holds, bad_weights(content) if name.endswith("safetensors") else bad_json(content))


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b", "..", "1_Pooling/../.."])
def test_a_module_outside_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    folder = make_encoder("modules", tmp_path / "encoder")
    entries = json.loads((folder / "modules.json").read_text())
    entries[1]["path"] = path
    write_json(folder / "modules.json", entries)
    with pytest.raises(InputError, match=r"modules\.json: path .* leads out of the folder"):
        load_modules(folder, CPU)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config_sentence_transformers.json", {"prompts": ["q"], "default_prompt_name": "q"}, "prompts must be an object of texts"),
        (
            "config_sentence_transformers.json",
            {"prompts": {"q": 3}, "default_prompt_name": "q"},
            "prompts must be an object of texts",
        ),
        ("sentence_bert_config.json", {"max_seq_length": -5}, "max_seq_length = -5: must be at least 1, or null"),
        ("modules.json", [{"type": "sentence_transformers.models.Transformer", "path": "a\0b"}], "must be Transformer, Pooling"),
        ("config.json", {"model_type": "bert", "num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000"),
        ("adapter_config.json", {}, "is an adapter"),
    ],
)  # fmt: skip
def test_settings_that_used_to_end_in_a_traceback(
    file: str, content: object, message: str, tmp_path: Path
) -> None:
    folder = make_encoder("modules", tmp_path / "encoder")
    write_json(folder / file, content)
    with pytest.raises(InputError, match=message):
        load_modules(folder, CPU)


def test_what_is_no_file_does_not_shape_the_fingerprint(tmp_path: Path) -> None:
    """Past bug: a folder called x.json inside an encoder's folder was opened, and ended in IsADirectoryError."""
    folder = make_encoder("pooled", tmp_path / "encoder")
    before = load_encoder(str(folder), tmp_path, CPU).fingerprint
    (folder / "x.json").mkdir()
    (folder / "y.txt").symlink_to(folder / "y.txt")
    assert load_encoder(str(folder), tmp_path, CPU).fingerprint == before


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("embeddings", {"mapping": torch.full((TOKENS,), -1)}, "mapping holds the row -1"),
        (
            "embeddings",
            {"mapping": torch.full((TOKENS,), 10**6)},
            "embeddings is no embedding matrix that can be read",
        ),
        ("embeddings", {"weights": torch.ones(3)}, "embeddings is no embedding matrix that can be read"),
        (
            "other",
            {"embeddings": torch.ones(7)},
            r"embeddings has shape \(7,\): an embedding matrix has a row for each token",
        ),
        (
            "other",
            {"embedding.weight": torch.ones(3, 4)},
            "the tokenizer knows 43 tokens, the matrix has rows for 3",
        ),
    ],
)
def test_static_matrices_that_cannot_be(
    name: str, tensors: dict[str, torch.Tensor], message: str, tmp_path: Path
) -> None:
    """Past bug: a negative row of a mapping gave another token's vector; the other ones IndexError and RuntimeError."""
    with pytest.raises(InputError, match=message):
        load_static(static_folder(tmp_path / "encoder", name, **tensors))


@times
@pytest.mark.parametrize("name", [KEYS, VECTORS, HEADER])
def test_a_damaged_vector_file_never_gives_a_wrong_vector(times: int, name: str, tmp_path: Path) -> None:
    """Whatever was done to the file: each key it still has has its own row, and what is added afterwards is there."""
    file_of(tmp_path / "whole", range(6))
    content = (tmp_path / "whole" / name).read_bytes()

    def holds(damage: bytes) -> None:
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "work")
        (tmp_path / "work" / name).write_bytes(damage)
        lines: list[str] = []
        file = VectorFile(tmp_path / "work", OURS, DIM, lines.append)
        file.append([key(3), key(9)], rows_of([key(3), key(9)]))
        again = VectorFile(tmp_path / "work", OURS, DIM, lines.append)
        assert file.index.keys() == again.index.keys() >= {key(3), key(9)} and len(lines) <= 1
        assert set(again.index) <= {key(number) for number in (*range(6), 9)}
        assert torch.equal(again.matrix[list(again.index.values())], rows_of(list(again.index)))

    explore(60 * times, holds, damaged_bytes(content) | st.binary(max_size=80) | st.just(b"[" * 9000))


@times
def test_any_own_term(times: int, tmp_path: Path) -> None:
    source = b"import torch\ndef f(sources, completions, references, *, k=1):\n    return torch.zeros(len(completions))\n"

    def holds(content: bytes) -> None:
        (tmp_path / "t.py").write_bytes(content)
        read: Callable[[], object] = lambda: load_own_term(f"{tmp_path / 't.py'}:f")  # noqa: E731
        read_or_refuse(read, str(tmp_path / "t.py"))

    explore(100 * times, holds, damaged_bytes(source))


@times
def test_any_facts_of_a_student(times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past bug: another width or height in student.json ended in RuntimeError or took all memory."""
    monkeypatch.setattr(student, "load_use", lambda device: LetterTeacher())
    student.save_student(student.Student(2, 4), LetterTeacher(), {}, tmp_path)  # type: ignore[arg-type]
    path = tmp_path / student.FACTS_FILE
    facts = json.loads(path.read_text())
    for changes in (
        {"width": 10**9},
        {"hidden": 10**9},
        {"hidden": 5},
        {"width": -1},
        {"hidden": 0},
        {"width": "2"},
        {"hidden": True},
    ):
        path.write_text(json.dumps(facts | changes))
        with pytest.raises(InputError, match=r"are not those of its weights; restore the file"):
            student.load_student(tmp_path)

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        read_or_refuse(lambda: student.load_student(tmp_path).encode(["a"]), str(tmp_path))

    explore(60 * times, holds, bad_json(json.dumps(facts).encode()))
