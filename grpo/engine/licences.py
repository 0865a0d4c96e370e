"""Which files of a model folder are licence texts, and the licence that they say."""

import re
from pathlib import Path

from data.documents import read_object

TERMS_FILE = "GEMMA_TERMS.html"
NOTICE_FILE = "Notice"
NOTICE = """Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms

Use is restricted as set out in these terms (copy: {terms}) and in ai.google.dev/gemma/prohibited_use_policy.
The files in this folder were modified: {changes}
"""
GEMMA = "gemma"
GEMMA_TYPES = ("gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text")  # of config.json
LEGAL = re.compile(
    r"(?i)(licen[cs]es?|notices?|copying|terms|use_policy|gemma_terms|prohibited_use)([-_][\w-]+)?(\.(txt|md|html|pdf|rst))?"
)
LARGEST = 1 << 20  # bytes that are looked at
SIGNS = {  # a licence's name on a model hub -> what its text says
    GEMMA: "Gemma Terms of Use",
    "apache-2.0": "Apache License",
    "mit": "MIT License",
    "llama3.1": "LLAMA 3.1 COMMUNITY LICENSE",
    "llama3.2": "LLAMA 3.2 COMMUNITY LICENSE",
    "llama3": "META LLAMA 3 COMMUNITY LICENSE",
}


def licence_files(folder: Path) -> list[Path]:
    """The licence texts and notices directly in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.is_file() and LEGAL.fullmatch(path.name))


def licence_of(folder: Path) -> str:
    """The licence of the model in a folder, as a model hub names it; "" where neither a licence text nor the kind of
    the model says.
    """
    config = read_object(folder / "config.json") if (folder / "config.json").is_file() else {}
    if config.get("model_type") in GEMMA_TYPES:
        return GEMMA
    for path in licence_files(folder):
        with path.open("rb") as file:
            text = " ".join(file.read(LARGEST).decode("utf-8", "replace").split()).lower()
        if name := next((name for name, sign in SIGNS.items() if sign.lower() in text), ""):
            return name
    return ""


def copy_licences(source: Path, target: Path) -> None:
    """Put the licence texts of one folder beside the files of another, as they are."""
    for path in licence_files(source):
        (target / path.name).write_bytes(path.read_bytes())
