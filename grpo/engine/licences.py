"""Which files of a model folder are licence texts, and the licence that the folder says.

A licence goes with weights, not with an architecture: what no file of the folder says is unknown.
"""

import re
from pathlib import Path

from huggingface_hub import metadata_load

TERMS_FILE = "GEMMA_TERMS.html"
NOTICE_FILE = "Notice"
NOTICE = """Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms

Use is restricted as set out in these terms (copy: {terms}) and in ai.google.dev/gemma/prohibited_use_policy.
The files in this folder were modified: {changes}
"""
GEMMA = "gemma"
README = "README.md"
UNKNOWN = "unknown"
README_FILE = "LICENSE_OF_BASE.txt"  # where the base model's README alone says its licence
README_TEXT = "The README of the base model names its licence: {name}\n"
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
    """The licence of the model in a folder, as a model hub names it: by its licence texts, else by the head of its
    README; "" where neither says one.
    """
    return licence_of_texts(folder) or licence_of_readme(folder)


def licence_of_readme(folder: Path) -> str:
    """What the head of a README names as `license`; "" for none, and for several."""
    import yaml  # here: a run on a bare machine needs it only for a model with a README

    try:
        facts = (metadata_load(folder / README) or {}) if (folder / README).is_file() else {}
    except (ValueError, yaml.YAMLError):  # not UTF-8, or no YAML
        return ""
    name = facts.get("license_name") if facts.get("license") == "other" else facts.get("license")
    return name if isinstance(name, str) and name.isprintable() and name != UNKNOWN else ""


def licence_of_texts(folder: Path) -> str:
    """What the licence texts of a folder say; "" where none is of a licence that is known here."""
    if (folder / README_FILE).is_file():
        return (folder / README_FILE).read_text("utf-8", "replace").strip().rpartition(" ")[2]
    for path in licence_files(folder):
        with path.open("rb") as file:
            text = " ".join(file.read(LARGEST).decode("utf-8", "replace").split()).lower()
        if name := next((name for name, sign in SIGNS.items() if sign.lower() in text), ""):
            return name
    return ""


def copy_licences(source: Path, target: Path) -> None:
    """Put the licence texts of one folder beside the files of another, as they are; where none names the licence, a
    sentence with the name that the README has.
    """
    for path in licence_files(source):
        (target / path.name).write_bytes(path.read_bytes())
    if not licence_of_texts(source) and (name := licence_of_readme(source)):
        (target / README_FILE).write_text(README_TEXT.format(name=name), encoding="utf-8")
