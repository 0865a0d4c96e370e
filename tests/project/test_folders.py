"""The tests lie where their packages lie, and tests/README.md says what every helper is for."""

import re

from repository import ROOT, SUPPORT, python_files

TESTS = ROOT / "tests"


def test_folders_of_tests_are_folders_of_the_packages() -> None:
    files = [path for path in python_files("tests", at_least=150) if path.name.startswith("test_")]
    folders = {str(path.parent.relative_to(TESTS)) for path in files} - {"project"}
    assert len(folders) >= 15
    assert sorted(folder for folder in folders if not list((ROOT / folder).glob("*.py"))) == []


def test_the_page_names_every_helper_and_no_other() -> None:
    page = (TESTS / "README.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == {
        path.stem for path in SUPPORT.glob("*.py")
    }
