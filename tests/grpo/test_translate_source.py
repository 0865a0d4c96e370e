"""Lines of files and pipes. Files that have more than source texts are refused before a model is loaded."""

import os
import threading
from pathlib import Path

import pytest

from data.errors import InputError
from grpo.translate.source import open_source


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("my pairs.tsv", r"a \.tsv file has .*give these alone: cut -f1 '.*my pairs\.tsv' > sources\.txt$"),
        ("pairs.TSV.gz", r"a \.tsv file has "),
        ("pairs.csv", r"a \.csv file has .* one on each line of a \.txt file$"),
        ("pairs.parquet", r"a \.parquet file has "),
        ("memory.tmx", r"a \.tmx file has "),
    ],
)
def test_a_file_of_pairs_is_refused_with_the_way_to_its_sources(name: str, how: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("ᱫᱟᱠᱟ\trice\n", encoding="utf-8")
    with pytest.raises(InputError, match=how):
        open_source(str(path), "source")
    text = tmp_path / "sources.txt"
    text.write_text("ᱫᱟᱠᱟ\n", encoding="utf-8")
    assert open_source(str(text), "source").line(1).text == "ᱫᱟᱠᱟ"


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """Past bug: `translate <(command)` ended with an illegal seek."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("ᱫᱟᱠᱟ\r\n\nᱫᱟ",), kwargs={"encoding": "utf-8"})
    writer.start()
    source = open_source(str(pipe), "source")
    writer.join()
    assert [source.line(number).text for number in range(1, len(source) + 1)] == ["ᱫᱟᱠᱟ", "", "ᱫᱟ"]
