"""Vectors on disk: what was committed is right after any death, among any number of processes, and nothing
damaged is believed.
"""

import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import pytest
import torch
from repository import ROOT
from torch import Tensor
from vector_files import DIM, OURS, file_of, key, keys_of, open_vectors, rows_of

import reward.vector_file as module
from reward.vector_file import HEADER, KEYS, LOCK, VECTORS, VectorFile


def is_right(file: VectorFile, numbers: Sequence[int]) -> bool:
    """Exactly these keys, each with its own row."""
    places = [file.index[key] for key in keys_of(numbers)]
    return len(file.index) == len({*numbers}) and torch.equal(file.matrix[places], rows_of(keys_of(numbers)))


def test_what_was_added_is_there_and_again_at_the_next_opening(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a", range(5))
    assert is_right(file, range(5)) and is_right(open_vectors(tmp_path / "a"), range(5))
    again = open_vectors(tmp_path / "a")
    before = again.matrix
    again.append(keys_of([7, 6]), rows_of(keys_of([7, 6])))
    assert is_right(again, [0, 1, 2, 3, 4, 7, 6]) and is_right(
        open_vectors(tmp_path / "a"), [0, 1, 2, 3, 4, 7, 6]
    )
    assert (
        again.matrix.is_contiguous() and again.matrix.shape == (7, DIM) and torch.equal(before, file.matrix)
    )


def test_layout_by_hand(tmp_path: Path) -> None:
    row = torch.arange(2.0)[None]
    VectorFile(tmp_path, OURS, 2).append([key(9)], row)
    assert json.loads((tmp_path / HEADER).read_text()) == {
        "format": 1,
        "encoder": OURS,
        "dim": 2,
        "dtype": "float32",
    }
    assert (tmp_path / VECTORS).read_bytes() == struct.pack("<2f", 0.0, 1.0)
    assert (tmp_path / KEYS).read_bytes() == key(9) + struct.pack(
        "<I", crc32(key(9) + struct.pack("<2f", 0.0, 1.0))
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([HEADER, KEYS, LOCK, VECTORS])


def test_opening_makes_nothing(tmp_path: Path) -> None:
    assert open_vectors(tmp_path / "a").matrix.shape == (0, DIM) and list(tmp_path.iterdir()) == []


def test_the_first_row_of_a_key_stays(tmp_path: Path) -> None:
    file = file_of(tmp_path, [1])
    file.append(keys_of([1, 2, 2]), torch.zeros(3, DIM))
    assert torch.equal(file.matrix[file.index[key(1)]], rows_of([key(1)])[0]) and file.matrix.shape == (
        2,
        DIM,
    )


def test_rows_are_mapped_and_not_read_into_memory(tmp_path: Path) -> None:
    """The address of the matrix lies in a mapping of the file."""
    file = file_of(tmp_path, range(3))
    address = file.matrix.data_ptr()
    mappings = [
        line.split()
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(tmp_path / VECTORS))
    ]
    spans = [[int(end, 16) for end in span.split("-")] for span, *_ in mappings]
    assert any(start <= address < end for start, end in spans)


def test_records_of_another_process_are_seen_and_not_doubled(tmp_path: Path) -> None:
    first = open_vectors(tmp_path)
    second = open_vectors(tmp_path)
    first.append(keys_of([1, 2]), rows_of(keys_of([1, 2])))
    second.append(keys_of([2, 3]), rows_of(keys_of([2, 3])))
    assert is_right(second, [1, 2, 3]) and second.matrix.shape == (3, DIM)
    first.append(keys_of([4]), rows_of(keys_of([4])))
    assert is_right(first, [1, 2, 3, 4]) and is_right(open_vectors(tmp_path), [1, 2, 3, 4])


@pytest.mark.parametrize("name", [VECTORS, KEYS])
@pytest.mark.parametrize("part", [0.0, 0.03, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("old", [0, 3])
def test_death_while_writing_costs_only_what_was_not_committed(
    name: str, part: float, old: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead after any share of either write: the old rows are right, of the new ones only those whose record
    is whole.
    """

    class Killed(BaseException):
        pass

    def dying(path: Path, size: int, content: bytes | memoryview) -> None:
        write(path, size, content[: int(part * len(content))] if path.name == name else content)
        if path.name == name:
            raise Killed

    write = module._append_bytes
    file = file_of(tmp_path, range(old))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, "_append_bytes", dying)
        file.append(keys_of(range(10, 20)), rows_of(keys_of(range(10, 20))))
    whole = int(part * 10 * 20) // 20 if name == KEYS else 0
    after = open_vectors(tmp_path)
    assert is_right(after, [*range(old), *range(10, 10 + whole)])
    after.append(keys_of(range(30, 33)), rows_of(keys_of(range(30, 33))))
    file.append(keys_of(range(10, 20)), rows_of(keys_of(range(10, 20))))
    assert is_right(file, [*range(old), *range(10, 20), *range(30, 33)]) and is_right(
        open_vectors(tmp_path), list(map(by_number, file.index))
    )
    assert (tmp_path / VECTORS).stat().st_size == len(file.index) * DIM * 4


def by_number(key: bytes) -> int:
    return int.from_bytes(key, "big")


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def header(folder: Path, **changes: object) -> None:
    (folder / HEADER).write_text(json.dumps(json.loads((folder / HEADER).read_text()) | changes))


DAMAGE = {
    "a byte of a row": (
        lambda folder: flip(folder / VECTORS, 2 * DIM * 4 + 5),
        "row 2 of vectors.f32 does not match its checksum",
    ),
    "a byte of a key": (
        lambda folder: flip(folder / KEYS, 20),
        "row 1 of vectors.f32 does not match its checksum",
    ),
    "a byte of a checksum": (
        lambda folder: flip(folder / KEYS, -1),
        "row 3 of vectors.f32 does not match its checksum",
    ),
    "rows cut": (
        lambda folder: (folder / VECTORS).write_bytes(b"\0" * (DIM * 4)),
        "vectors.f32 is shorter than the 4 rows of keys.bin",
    ),
    "rows gone": (
        lambda folder: (folder / VECTORS).unlink(),
        "vectors.f32 is shorter than the 4 rows of keys.bin",
    ),
    "rows of garbage": (
        lambda folder: (folder / VECTORS).write_bytes(b"?!" * 4000),
        "row 0 of vectors.f32 does not match",
    ),
    "keys of garbage": (
        lambda folder: (folder / KEYS).write_bytes(b"?!" * 40),
        "row 0 of vectors.f32 does not match",
    ),
    "header gone": (lambda folder: (folder / HEADER).unlink(), "header.json is missing or cannot be read"),
    "header of garbage": (
        lambda folder: (folder / HEADER).write_bytes(b"\xff{"),
        "header.json is missing or cannot be read",
    ),
    "another encoder": (lambda folder: header(folder, encoder="0" * 64), "'encoder': '0000"),
    "another dimension": (lambda folder: header(folder, dim=2 * DIM), "'dim': 64"),
    "another format": (lambda folder: header(folder, format=2), "which is not this encoder's {'format': 1"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_set_aside_said_once_and_rebuilt(damage: str, tmp_path: Path) -> None:
    harm, reason = DAMAGE[damage]
    file_of(tmp_path, range(4))
    harm(tmp_path)
    damaged_files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != LOCK}
    lines: list[str] = []
    file = open_vectors(tmp_path, lines)
    assert len(lines) == 1 and lines[0].startswith(f"embeddings: {tmp_path}: ") and reason in lines[0]
    assert lines[0].endswith("its files are set aside as *.damaged, its texts will be embedded again")
    assert file.index == {} and file.matrix.shape == (0, DIM)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != LOCK} == {
        f"{name}.damaged": content for name, content in damaged_files.items()
    }
    file.append(keys_of(range(4)), rows_of(keys_of(range(4))))
    assert is_right(open_vectors(tmp_path), range(4))


def test_damage_behind_the_back_of_an_open_file_is_found_by_the_next_append(tmp_path: Path) -> None:
    """Keys cut, then all set aside by another process: row numbers start anew, and nothing is mixed up."""
    first = file_of(tmp_path, range(4))
    (tmp_path / KEYS).write_bytes((tmp_path / KEYS).read_bytes()[:20])
    lines: list[str] = []
    second = open_vectors(tmp_path, lines)
    first._say = lines.append
    first.append(keys_of([9]), rows_of(keys_of([9])))
    assert len(lines) == 1 and lines[0].startswith(
        f"embeddings: {tmp_path}: keys.bin has become shorter; its files are set aside"
    )
    assert is_right(first, [9])
    second.append(keys_of([5]), rows_of(keys_of([5])))
    assert is_right(second, [9, 5]) and len(lines) == 1


def test_deleted_folder_is_begun_anew(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a", range(4))
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    (tmp_path / "a").rmdir()
    file.append(keys_of([9]), rows_of(keys_of([9])))
    assert is_right(file, [9]) and is_right(open_vectors(tmp_path / "a"), [9])


def test_failed_write_raises_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(tmp_path, [1])

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(module.os, "fsync", no_space)
        file.append([key(2)], rows_of([key(2)]))
    assert is_right(file, [1]) and is_right(open_vectors(tmp_path), [1])


def test_disk_that_alters_what_it_is_given_is_an_error_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = open_vectors(tmp_path)
    write = module._append_bytes
    monkeypatch.setattr(
        module, "_append_bytes", lambda path, size, content: write(path, size, bytes(len(content)))
    )
    with pytest.raises(OSError, match="what was written does not read back: row 0 of "):
        file.append([key(2)], rows_of([key(2)]))
    assert file.index == {}


@pytest.mark.parametrize(
    ("keys", "rows"),
    [([b"short"], torch.ones(1, DIM)), ([key(1)], torch.ones(1, 3)), ([key(1)], torch.ones(1, DIM).double())],
)
def test_what_is_not_keys_and_rows_is_refused(keys: list[bytes], rows: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 keys of 16 bytes and as many fp32 rows of 32 numbers are needed"):
        open_vectors(tmp_path).append(keys, rows)


FORKS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from reward.vector_file import VectorFile
torch.set_num_threads(1)
folder, DIM = Path(sys.argv[1]), 256
def rows(keys): return torch.tensor([list(key) for key in keys], dtype=torch.float32).repeat(1, DIM // 16) + 0.5
def add(file, numbers):
    keys = [number.to_bytes(16, "big") for number in numbers]
    file.append(keys, rows(keys))
"""

KILLED = (
    FORKS
    + """
chance = random.Random(0)
told = os.open(folder / "told", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
for life in range(20):
    child = os.fork()
    if not child:
        file = VectorFile(folder, "f" * 64, DIM)
        for batch in range(10**6):
            numbers = range(life * 10**6 + batch * 50, life * 10**6 + batch * 50 + 50)
            add(file, numbers)
            os.write(told, f"{numbers[0]}\\n".encode())
    time.sleep(chance.uniform(0.0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""
)

TOGETHER = (
    FORKS
    + """
children = []
for process in range(4):
    children.append(os.fork())
    if not children[-1]:
        file = VectorFile(folder, "f" * 64, DIM)
        numbers = [*range(300), *range(1000 * process, 1000 * process + 100)]
        random.Random(process).shuffle(numbers)
        for start in range(0, 400, 10):
            add(file, numbers[start : start + 10])
        assert all(number.to_bytes(16, "big") in file.index for number in numbers)
        os._exit(0)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
"""
)


def run_script(script: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    # a line printed would be damage
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_twenty_kills_lose_nothing_that_was_committed(tmp_path: Path) -> None:
    run_script(KILLED, tmp_path)
    file = VectorFile(tmp_path, OURS, 256, lambda line: pytest.fail(line))
    lines = [int(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert len(lines) > 20, "the processes were killed before they wrote anything"
    for start in lines:
        keys = keys_of(range(start, start + 50))
        assert torch.equal(file.matrix[[file.index[key] for key in keys]], rows_of(keys, 256))
    assert torch.equal(file.matrix[list(file.index.values())], rows_of(list(file.index), 256))
    assert len(file.matrix) == len(file.index)


def test_four_processes_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    run_script(TOGETHER, tmp_path)
    file = VectorFile(tmp_path, OURS, 256, lambda line: pytest.fail(line))
    assert {*map(by_number, file.index)} == {
        *range(300),
        *range(1000, 1100),
        *range(2000, 2100),
        *range(3000, 3100),
    }
    assert torch.equal(file.matrix, rows_of(list(file.index), 256)) and len(file.matrix) == 600
