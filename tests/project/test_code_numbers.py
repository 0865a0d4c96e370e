"""What is kept in the cache is made again when the code that makes it changes what it does, and never for a
comment, a format or a move.

A number in the code names the version; here it is held against a digest of the code without comments,
docstrings and imports. Where a test fails: if what is made may now differ, raise the number; in either case
write the new digest below.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT, python_files

from data.prepare import RULES
from reward.distil.identity import CODE

NO_CORPUS = {  # modules of data that touch no corpus
    "template", "stream", "tokens", "ends", "obtain", "unpack", "cache", "checksums", "documents", "errors", "console", "progress",
    "english", "general_texts", "questions", "model_folder", "settings", "prompt", "prompt_config", "prompt_record",
    "saved_prompt", "chat", "shots", "lazy", "system", "extras", "live_table", "terminal_table", "model_settings",
}  # fmt: skip
SHAPING = (
    "clean",
    "examples",
    "interface_text",
    "neighbours",
    "script",
    "split",
)  # modules of data that shape a student too
DIGESTS = {"corpus": (5, "8c34c4a9715ef3a2"), "student": (2, "a87dca544454eef7")}


def without_words(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements of a module, without docstrings and imports anywhere in them."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            plain = [
                one for one in body if not isinstance(one, ast.Import | ast.ImportFrom) and not is_words(one)
            ]
            node.body = plain or [ast.Pass()]  # type: ignore[attr-defined]
    yield from tree.body


def is_words(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def digest(files: list[Path]) -> str:
    """Of what the files do; the name of a file is a part of it and its folder is not."""
    code = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        statements = without_words(ast.parse(path.read_text(encoding="utf-8")))
        code.update(f"{path.name}\n".encode() + "\n".join(map(ast.dump, statements)).encode())
    return code.hexdigest()[:16]


def corpus_files() -> list[Path]:
    return [path for path in python_files("data", at_least=45) if path.stem not in NO_CORPUS]


def student_files() -> list[Path]:
    files = [ROOT / "reward" / "encoders" / f"{name}.py" for name in ("features", "student")]
    files += python_files("reward/distil", at_least=10)
    files += [
        path
        for path in python_files("data/sources", at_least=20)
        if path.stem not in ("general_texts", "news", "questions")
    ]
    return files + [ROOT / "data" / f"{name}.py" for name in SHAPING]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the digests are of Python 3.11's syntax trees")
@pytest.mark.parametrize(
    ("name", "number", "files"), [("corpus", RULES, corpus_files()), ("student", CODE, student_files())]
)
def test_the_number_stands_for_this_code(name: str, number: int, files: list[Path]) -> None:
    assert len(files) > 20
    assert (number, digest(files)) == DIGESTS[name]


def test_words_and_places_change_no_digest_and_code_does(tmp_path: Path) -> None:
    def of(text: str, folder: str) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.py").write_text(text)
        return digest([tmp_path / folder / "a.py"])

    plain = of("X = 1\n\ndef f(a):\n    return a + X\n", "one")
    assert plain == of(
        '"""Words."""\nimport os  # unused\n\nX = 1  # one\ndef f(a):\n    """More."""\n    return (a\n     + X)\n',
        "two",
    )
    assert plain != of("X = 2\n\ndef f(a):\n    return a + X\n", "one")
