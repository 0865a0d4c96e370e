"""The site of the documentation is built without a warning, has all pages, and loads nothing from elsewhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

pytestmark = pytest.mark.slow
LOADED = re.compile(r"<(?:script|link|img)\b[^>]*?(?:src|href)=\"(https?:[^\"]+)\"")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(name, reason="no Sphinx here; type: pip install -e .[docs]")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-c", "docs/site", "-d", str(folder / "trees")]
    done = subprocess.run(
        [*command, ".", str(folder / "html")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_is_there_and_found(site: Path) -> None:
    pages = [page.relative_to(ROOT).with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 25 and [page for page in pages if not (site / page).is_file()] == []
    assert '"docs/settings"' in (site / "searchindex.js").read_text(encoding="utf-8")


def test_the_notebook_is_a_page_with_its_texts_and_code(site: Path) -> None:
    assert 'href="../examples/tutorial.html"' in (site / "docs" / "quick-start.html").read_text(
        encoding="utf-8"
    )
    page = (site / "examples" / "tutorial.html").read_text(encoding="utf-8")
    assert "cell_type" not in page and 'href="../docs/models.html"' in page
    cells = json.loads((ROOT / "examples" / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    assert page.count('<div class="highlight-python') == sum(cell["cell_type"] == "code" for cell in cells)
    (download,) = site.glob("_downloads/*/tutorial.ipynb")
    assert f'href="../{download.relative_to(site).as_posix()}"' in page


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    texts = [page.read_text(encoding="utf-8") for page in site.rglob("*.html")]
    assert len(texts) > 25 and [LOADED.findall(text) for text in texts if LOADED.findall(text)] == []


def test_public_names_have_their_docstrings(site: Path) -> None:
    page = (site / "docs" / "api.html").read_text(encoding="utf-8")
    for name in ("grpo.grpo_loss", "grpo.group_advantages", "reward.SemanticReward", "reward.ragged_cosines"):
        assert f'id="{name}"' in page
