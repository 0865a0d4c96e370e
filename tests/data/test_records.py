"""Lists of examples on disk: what was written comes back, in memory there is next to nothing."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT

from data.errors import InputError
from data.examples import Example, line_of
from data.key_table import KeyTable
from data.records import BYTES, Chain, Records, Selection, Store

MOST_BYTES_PER_PAIR = (
    2000  # 1,300 were measured, most of them for chunks in work; with all texts in memory 20,000
)


def example(number: int, text: str = "") -> Example:
    return Example(str(number), text or f"{number}\u0f0b\n\r", "\u7532", "o", "l", "bo", "zh", others=("x",))


def test_a_store_gives_back_what_was_appended_and_changed(tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    for number in range(50):
        store.append(example(number))
    store[7] = example(7, "another, longer text")
    store.append(example(50, "y" * (BYTES + 1)))  # leaves the buffer
    store[3] = example(3, "z")
    changes = {7: "another, longer text", 50: "y" * (BYTES + 1), 3: "z"}
    expected = [example(number, changes.get(number, "")) for number in range(51)]
    assert list(store) == expected and len(store) == 51
    assert [store[3], store[-1]] == [expected[3], expected[50]]
    assert store.line(7) == line_of(expected[7])


def test_records_read_a_file_by_place_slice_and_selection(tmp_path: Path) -> None:
    rows = [example(number) for number in range(20)]
    (tmp_path / "a").write_bytes(b"".join(map(line_of, rows)).rstrip(b"\n"))
    records = Records(tmp_path / "a")
    assert records == rows and list(records) == rows and records[-2] == rows[18]
    assert list(records[3:9:2]) == rows[3:9:2]
    assert list(Selection(records, np.array([5, 0, 5]))) == [rows[5], rows[0], rows[5]]
    both = Chain([records, rows])
    assert list(both) == rows * 2 and both[25] == rows[5] and both[-1] == rows[19]
    with pytest.raises(IndexError):
        records[20]


def test_a_bad_record_is_named_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(line_of(example(0)) + b"{}\n")
    with pytest.raises(InputError, match=":2 is not a record of a prepared corpus"):
        list(Records(tmp_path / "a"))


def test_a_table_finds_every_position_of_a_key() -> None:
    draw = random.Random(0)
    keys = [draw.choice((draw.randrange(-(2**63), 2**63), draw.randrange(50))) for _ in range(5000)]
    table = KeyTable()
    places: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        table.add(key, place)
        places.setdefault(key, []).append(place)
    assert all(sorted(table.positions_of(key)) == found for key, found in places.items())
    assert list(table.positions_of(10**9)) == []


@pytest.mark.slow
def test_a_prepared_corpus_takes_few_bytes_a_pair(tmp_path: Path) -> None:
    """Resident memory of the data stage at 50,000 pairs above that at 2,000: the search included."""
    peaks = [peak_of(tmp_path / str(count), count) for count in (2_000, 50_001)]
    assert peaks[1] - peaks[0] < MOST_BYTES_PER_PAIR * 48_001


def peak_of(folder: Path, count: int) -> int:
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.corpus", "--pairs", str(count), "--folder", str(folder)]
    result = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(json.loads(result.stdout.splitlines()[-1])["peak"])
