"""The site of the documentation, which `make docs` builds: Sphinx on the pages as they are in the repository.

The source folder is the repository, so that a link leads to the same page on the site and in the files. The side
bar has the pages in the order of docs/index.md. A notebook is a page too: its texts, and its code as it is written.
Nothing is loaded from elsewhere: no fonts, no scripts.
"""

import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import grpo  # noqa: E402
import reward  # noqa: E402

project = "semantic-grpo"
author = "the semantic-grpo authors"
release = version = grpo.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "tests/README.md",
    "docs/*.md",
    "docs/results/*.md",
    "examples/*/*.md",
    "examples/*.ipynb",
]
root_doc = "README"
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False
myst_heading_anchors = 4
default_role = "code"  # of `names` in docstrings
autodoc_typehints = "description"
autodoc_member_order = "bysource"

for package in (grpo, reward):  # a name is imported when it is first used, and autodoc lists what is there
    for name in package.__all__:
        setattr(package, name, getattr(package, name))


def pages() -> list[str]:
    """The pages in the order in which the tables of docs/index.md link to them."""
    links = re.findall(
        r"\]\(([^)#]+)\.(?:md|ipynb)[)#]", (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    )
    names = [posixpath.normpath(f"docs/{link}") for link in links]
    return [name for name in dict.fromkeys(["docs/index", *names]) if name != root_doc]


def add_pages(app: Any, docname: str, content: list[str]) -> None:
    """The side bar of the site hangs on its first page."""
    if docname == root_doc:
        content[0] += "\n```{toctree}\n:hidden:\n" + "\n".join(f"/{page}" for page in pages()) + "\n```\n"


def notebook_as_markdown(app: Any, docname: str, content: list[str]) -> None:
    """The cells of a notebook in their order, behind a link to its file."""
    path = app.env.doc2path(docname)
    if path.suffix != ".ipynb":
        return
    cells = [
        f"```python\n{''.join(cell['source'])}\n```"
        if cell["cell_type"] == "code"
        else "".join(cell["source"])
        for cell in json.loads(content[0])["cells"]
    ]
    cells.insert(1, f"{{download}}`{path.name} <{path.name}>` is this page as a notebook.")
    content[0] = "\n\n".join(cells)


def keep_tables(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A paragraph of a docstring that is set in columns is shown as it stands."""
    paragraphs = [text.split("\n") for text in "\n".join(lines).split("\n\n")]
    shown = [
        "::\n\n" + "\n".join(f"   {line}" for line in one)
        if re.match(r"\S+ {2,}\S", one[0])
        else "\n".join(one)
        for one in paragraphs
    ]
    lines[:] = "\n\n".join(shown).split("\n")


def setup(app: Any) -> None:
    app.connect("source-read", add_pages)
    app.connect("source-read", notebook_as_markdown)
    app.connect("autodoc-process-docstring", keep_tables)
