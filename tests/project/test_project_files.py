"""What the project says of itself is so: pages, links, the drawing of layers, versions, licence, the first
screen of README.
"""

import ast
import hashlib
import re
from pathlib import Path

import pytest
from repository import ROOT, setup, skipped_levels

import grpo

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
# of the text that apache.org publishes
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The names under which the headings of a page can be linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_that_the_code_names_have_that_heading() -> None:
    """A message of the program says where to read on. Obituary: docs/training.md#how-long-it-takes."""
    texts = [
        path.read_text(encoding="utf-8")
        for name in ("grpo", "data", "eval", "reward")
        for path in (ROOT / name).rglob("*.py")
    ]
    links = {found for text in texts for found in re.findall(r"(docs/[\w/-]+\.md)(?:#([\w-]+))?", text)}
    assert len(links) > 5
    for path, anchor in links:
        assert (ROOT / path).is_file() and (not anchor or anchor in anchors(ROOT / path)), (path, anchor)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and ROOT in target.parents, link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_heading_skips_a_level(page: Path) -> None:
    """Sphinx warns of one that does, and `make docs` ends at a warning."""
    assert skipped_levels(page.read_text(encoding="utf-8")) == []


def test_a_skipped_level_is_found() -> None:
    assert skipped_levels("# a\n### b\n## c\n```bash\n#### no\n```\n### d\n# e\n### f\n") == [
        "### b",
        "### f",
    ]


def test_the_index_names_every_page() -> None:
    index = text_of("docs/index.md")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 10
    assert [page for page in pages if page != "index.md" and f"({page})" not in index] == []


def test_the_table_of_the_engine_names_each_of_its_files_once() -> None:
    (section,) = re.findall(
        r"## Inside `grpo/engine/`\n(.*?)\n## ", text_of("docs/architecture.md"), re.DOTALL
    )
    files = sorted(path.stem for path in (ROOT / "grpo" / "engine").glob("*.py") if path.stem != "__init__")
    assert len(files) > 30 and sorted(re.findall(r"`([^`]+)`", section)) == files


def test_the_order_of_reading_names_files_and_functions_that_exist() -> None:
    (section,) = re.findall(
        r"## Where to begin reading\n(.*?)\n## ", text_of("docs/architecture.md"), re.DOTALL
    )
    names = re.findall(r"`([^`]+)`", section)
    paths = [name for name in names if name.endswith(".py")]
    assert len(paths) > 30 and all((ROOT / path).is_file() for path in paths)
    calls = re.findall(r"`(\w+)` in\s+`([^`]+)`", section)
    assert len(calls) == 4 and all(f"def {name}(" in text_of(path) for name, path in calls)


def test_the_table_of_layers_is_the_rule_that_is_tested() -> None:
    (rule,) = (ROOT / "tests").rglob("test_architecture.py")
    tree = ast.parse(rule.read_text(encoding="utf-8"))
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS"
    ]
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text_of("docs/architecture.md"), re.MULTILINE)
    table = {int(row): tuple(re.findall(r"`([^`]+)`", modules)) for row, modules in rows}
    assert table == dict(enumerate(ast.literal_eval(values[0])))
    assert list(table) == sorted(table, reverse=True)


def test_the_licence_is_one_and_whole() -> None:
    assert setup()["metadata"]["license"] == "Apache-2.0"
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert "\nlicense: Apache-2.0\n" in text_of("CITATION.cff")


def test_versions_agree() -> None:
    version = grpo.__version__
    assert setup()["metadata"]["version"] == "attr: grpo.__version__"
    assert f"\nversion: {version}\n" in text_of("CITATION.cff") and f"\n## [{version}]" in text_of(
        "CHANGELOG.md"
    )


def test_installed_packages_say_that_they_are_typed() -> None:
    packages = {name for name in setup()["options.packages.find"]["include"].split() if "*" not in name}
    more = {"grpo": "configs/*.toml, serve/page.*", "eval": "report/page.css, report/page.js"}
    files = {name: ", ".join(["py.typed", *([more[name]] if name in more else [])]) for name in packages}
    assert dict(setup()["options.package_data"]) == files
    assert all((ROOT / name / "py.typed").is_file() for name in packages)


def test_the_first_screen_of_the_readme_is_plain() -> None:
    """Sentences of at most 25 words up to the results, whose table has at most five columns."""
    screen, _, results = text_of("README.md").partition("\n## Results\n")
    prose = re.sub(r"```.*?```", "", screen, flags=re.DOTALL)
    prose = "\n".join(line for line in prose.splitlines() if not line.startswith(("#", "|")))
    sentences = re.split(r"[.:]\s+|\n\n+", prose)
    assert len(sentences) > 10
    assert [sentence for sentence in sentences if len(sentence.split()) > 25] == []
    assert max(line.count(" | ") for line in results.splitlines() if line.startswith("| ")) == 4
