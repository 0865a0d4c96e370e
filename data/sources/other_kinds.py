"""Tells by the first bytes of a file that it is not the text file that its name promises, and what it is."""

import re
from pathlib import Path

from data.sources.packed_file import TOOLS

TABLE = "open it in its program and save the table as .csv"
TEXT = "open it in its program and save its text as UTF-8"
SAVE = {  # what to do about a file that is named so
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"), "save it as .csv"),
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf", ".pdf"), f"{TEXT}, one text file for each side"),
    ".json": "save it as .jsonl, one object a line",
    ".arrow": "give its folder",
}
PACKING = {  # the first bytes of packed files
    ".gz": re.compile(rb"\x1f\x8b\x08"),
    ".xz": re.compile(rb"\xfd7zXZ\0"),
    ".bz2": re.compile(rb"BZh[1-9]1AY&SY"),
    ".zst": re.compile(rb"\x28\xb5\x2f\xfd"),
}
SIGNATURES = {
    b"PK\x03\x04": ("a ZIP file, as those of Excel, Word and LibreOffice are", TABLE),
    b"\xd0\xcf\x11\xe0": ("a file of old Excel or Word", TABLE),
    b"{\\rtf": ("RTF", TEXT),
    b"%PDF-": ("PDF", TEXT),
    b"%!PS": ("PostScript", TEXT),
    b"PAR1": ("Parquet", "name it .parquet"),
    b"ARROW1": ("Arrow", "save it as .parquet"),
    b"SQLite format 3\0": ("a database of SQLite", "save the table as .csv"),
    b"<?xml": ("XML", "name it .tmx or .xliff where it is that, or else save its texts as .tsv"),
    b"<!DOCTYPE": ("a web page", "save its texts as .tsv"),
}


def other_kind(path: Path, sample: bytes) -> str:
    """What a file is that begins so, and what to do; "" for texts.

    >>> other_kind(Path("a.tsv"), b"PAR1")
    'is Parquet; name it .parquet'
    """
    for ending, mark in PACKING.items():
        if mark.match(sample):
            return f"is packed by {TOOLS[ending]}; name it {path.name}{ending}"
    found = (words for mark, words in SIGNATURES.items() if sample.startswith(mark))
    return next((f"is {what}; {remedy}" for what, remedy in found), "")
