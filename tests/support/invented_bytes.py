"""What a file may hold by accident or on purpose: strategies for damaged files, and what may come of reading
them. Nobody's text.

Every check is run `count` times in CI, always with the same examples, and ten times as often by `make
test-slow`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from explore import check_sentence, explore
from hypothesis import strategies as st

from data.clean import clean_text
from data.errors import InputError, one_line
from data.examples import Example

PIECES = [
    *(text.encode() for text in (
        "\0", "\r", "\n", "\n\n", "\r\n", "\t", "\x0b", "\x1c", "\x85", "\u00a0", "\u00ad", "\u200b", "\u200f", "\u202e", "\u2028",
        "\u2066", "\ufeff", "\ufffd", "\U0010ffff", "\u0301" * 40, "\u0f71\u0f72" * 40, "\u0344", "\u1100\u1161", "ཀ་ཁ", "甲乙",
        '"', "\\", "\\u", "\\ud800", "\\x", "\\777", "'", "<", ">", "</p>", "<p", "<p>", "<!--", "&", "&#", "&#xd800;", "&#0;", "&lt;",
        "{", "}", "[", "]", "[" * 2000, '{"source": ' * 600, "9" * 5000, "-1e999", "NaN", "null", "{{", "%s", "%(a)s", "(_F)", "~",
    )),
    b"\xff", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80", b"\xe0\xbd", b"\x1f\x8b", b"PK\x03\x04",
    b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00\x00\x00\x05"
    b"}q\x00", b"Rr\xff\xff\xff\xff",
]  # fmt: skip

KINDS = ("insert", "overwrite", "flip", "cut", "repeat", "flip", "insert", "end")
EDITS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9999), st.integers(0, 9999)), max_size=4)


def apply_edits(content: bytes, edits: Iterable[tuple[str, int, int]]) -> bytes:
    """`content` after some accidents; places are taken modulo its length, so that one strategy suits every
    file.
    """
    for kind, place, number in edits:
        place %= len(content) + 1
        piece = PIECES[number % len(PIECES)]
        rest = content[place:]
        length = 1 + number % (16 if number % 4 else len(rest) + 1)  # mostly a few bytes
        content = (
            content[:place]
            + {
                "insert": piece + rest,
                "overwrite": piece + rest[len(piece) :],
                "flip": bytes([rest[0] ^ (1 << number % 8)]) + rest[1:] if rest else rest,
                "cut": rest[length:],
                "repeat": rest[:length] * 2 + rest[length:],
                "end": b"",
            }[kind]
        )
    return content


def damaged_files(*originals: bytes) -> st.SearchStrategy[bytes]:
    """One of the originals with a few accidents, and now and then any bytes at all."""
    anything = st.one_of(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join), st.binary(max_size=40))
    return st.integers(0, 9).flatmap(
        lambda kind: st.builds(apply_edits, st.sampled_from(originals), EDITS) if kind else anything
    )


def texts() -> st.SearchStrategy[str]:
    """Short texts of the worst characters, halves of surrogate pairs included."""
    pieces = [
        *(piece.decode("utf-8", "surrogatepass") for piece in PIECES if is_text(piece)),
        "\ud800",
        " ",
        "ཨོཾ",
        "a",
        "é",
    ]
    return st.lists(st.one_of(st.sampled_from(pieces), st.text(max_size=3)), max_size=8).map("".join)


def is_text(piece: bytes) -> bool:
    """Whether bytes are UTF-8, halves of surrogate pairs allowed."""
    try:
        piece.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def times(count: int) -> pytest.MarkDecorator:
    """Gives a test `count`: so many examples in CI, ten times as many in the slow tests."""
    return pytest.mark.parametrize("count", [count, pytest.param(10 * count, marks=pytest.mark.slow)])


def for_all(count: int, check: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    """Run `check` on `count` invented inputs, the same ones every time."""
    explore(count, check, *strategies)


def assert_valid(example: Example) -> None:
    """A record that every later stage can take: clean texts that are not empty, everything writable as
    UTF-8.
    """
    for text in (*example.references, example.source):
        assert text and text == clean_text(text) and unicodedata.is_normalized("NFC", text)
        assert not re.search("[\x00-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ufffd]", text)
    for value in (
        example.id,
        example.origin,
        example.licence,
        example.source_language,
        example.target_language,
        *example.references,
    ):
        assert isinstance(value, str) and value
        value.encode("utf-8")


def assert_one_sentence(error: InputError, *places: object) -> None:
    """One line that says where and what to do; nothing of a traceback."""
    check_sentence(one_line(error), *map(str, places))


def outcome(read: Callable[[], Sequence[Example]], *places: object) -> Sequence[Example]:
    """The valid examples `read` gives; none where it refuses the input in one sentence."""
    try:
        examples = read()
    except InputError as error:
        assert_one_sentence(error, *places)
        return ()
    for example in examples:
        assert_valid(example)
    return examples
