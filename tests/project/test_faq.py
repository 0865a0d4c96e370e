"""Each error sentence that docs/faq.md answers is one of the code, word for word but for names and numbers."""

import ast
import re
from functools import cache

from repository import ROOT, python_files

WORDS = 2  # that a sentence of the code must have for itself
HEADINGS = re.findall(r"^### (.+)$", (ROOT / "docs" / "faq.md").read_text(encoding="utf-8"), re.MULTILINE)


def pattern_of(node: ast.expr) -> str | None:
    """A text of the code as a regular expression, in which what is filled in may be anything."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        parts = [re.escape(node.value)]
    elif isinstance(node, ast.JoinedStr):
        parts = [re.escape(str(one.value)) if isinstance(one, ast.Constant) else ".*?" for one in node.values]
    else:
        return None
    own = " ".join(part for part in parts if part != ".*?")
    return "".join(parts) if len(re.findall(r"[A-Za-z]{2,}", own)) >= WORDS else None


@cache
def patterns() -> list[re.Pattern[str]]:
    """All that the code could print, as far as it is a sentence."""
    found = set()
    for folder in ("grpo", "reward", "data", "eval"):
        for path in python_files(folder, at_least=40):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = pattern_of(node) if isinstance(node, ast.expr) else None
                if text and (":" in text or ";" in text):
                    found.add(text)
    return [re.compile(text) for text in found]


def test_every_question_is_a_sentence_of_the_code() -> None:
    """A sentence may be followed by a part that another function adds."""
    assert len(HEADINGS) >= 20
    assert [one for one in HEADINGS if not any(pattern.match(one) for pattern in patterns())] == []


def test_an_invented_sentence_is_found_out() -> None:
    assert not any(pattern.match("mt.toml: the moon is too full; wait for a week") for pattern in patterns())
