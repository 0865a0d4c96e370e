"""What README says of results is what the committed figures say."""

from pathlib import Path

from repository import ROOT

from eval import readme_picture
from eval.readme_table import main


def test_first_table_is_that_of_the_committed_study(tmp_path: Path) -> None:
    summary = ROOT / "docs" / "results" / "rivals.json"
    readme = ROOT / "README.md"
    command = ["--rows", "methods", "--check"]
    assert main([str(summary), str(readme), *command]) == 0
    stale = tmp_path / "README.md"
    stale.write_text(readme.read_text(encoding="utf-8").replace("| SFT | ", "| SFT | +"), encoding="utf-8")
    assert main([str(summary), str(stale), *command]) == 1


def test_the_picture_is_that_of_the_committed_study(tmp_path: Path) -> None:
    summary = ROOT / "docs" / "results" / "rivals.json"
    command = [str(summary), str(ROOT / "README.md"), "--svg", str(ROOT / readme_picture.SVG)]
    assert readme_picture.main([*command, "--check"]) == 0
    stale = tmp_path / "stale.svg"
    stale.write_text("<svg/>", encoding="utf-8")
    assert readme_picture.main([*command[:-1], str(stale), "--check"]) == 1
