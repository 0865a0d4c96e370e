"""What `init` finds in tables of the package datasets."""

import importlib
from pathlib import Path

import pytest

from grpo.init.corpus_facts import look

TIBETAN = "\u0f40\u0f0b\u0f41\u0f0b\u0f42"
HAN = "\u5929\u5730\u4eba"


@pytest.mark.parametrize("name", ["pairs.parquet", "folder"])
def test_columns_of_tables_of_datasets_are_found(name: str, tmp_path: Path) -> None:
    """Past bug: `init` asked for names of the columns, and listed those that it finds in JSONL."""
    pyarrow = pytest.importorskip("pyarrow")
    rows = pyarrow.Table.from_pylist([{"id": 7, "translation": {"dz": TIBETAN, "zh": HAN}}])
    if name == "folder":
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
        with (
            pyarrow.OSFile(str(tmp_path / name / "data.arrow"), "wb") as file,
            pyarrow.ipc.new_stream(file, rows.schema) as writer,
        ):
            writer.write_table(rows)
    else:
        importlib.import_module("pyarrow.parquet").write_table(rows, tmp_path / name)
    facts = look(name, ("", ""), None)
    assert facts.columns == ("translation.dz", "translation.zh")
    assert (facts.source.language, facts.reference.language, facts.pairs) == ("dz", "zh", [(TIBETAN, HAN)])
