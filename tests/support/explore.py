"""Generated bad input: how many examples, which damage, and what a refusal must look like. Reproducible: no
database, no random seed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from data.errors import MAX_CHARACTERS, InputError, one_line

Value = TypeVar("Value")
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
QUIET = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=PHASES
)
# the same properties, ten times as many examples
times = pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.slow)])


def explore(examples: int, holds: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    """Run the property on `examples` drawn inputs."""
    settings(QUIET, max_examples=examples)(given(*strategies)(holds))()


def read_or_refuse(read: Callable[[], Value], *named: str) -> Value | None:
    """What `read` gives, or None where it refuses in one sentence naming one of `named`, if any; anything
    else it raises is a failure.
    """
    try:
        return read()
    except InputError as error:
        check_sentence(one_line(error), *named)
        return None


def check_sentence(line: str, *named: str) -> None:
    """One printable line of a bearable length that says where."""
    assert line and line.isprintable() and len(line) <= MAX_CHARACTERS + 5 and "Traceback" not in line, line
    assert not named or any(one_line(name) in line for name in named), (line, named)


def flip(file: Path) -> None:
    """Other bits in the middle byte."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def truncate(file: Path) -> None:
    """The last byte is lost."""
    file.write_bytes(file.read_bytes()[:-1])


SPLINTERS = [b"", b"\0", b"\xff", b"{", b"[", b'"', b"9" * 30, b"-1", b"NaN", b"null", b"1e999"]


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` cut, with bytes changed, inserted, repeated or taken out, at one to three places."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        middle = draw(st.sampled_from(SPLINTERS) | st.binary(max_size=6))
        cut = draw(st.booleans()) and draw(st.booleans())
        content = content[:start] + (
            b"" if cut else middle + draw(st.sampled_from([content[start:end], b""])) + content[end:]
        )
    return content


numbers = (
    st.booleans() | st.integers(-3, 70) | st.integers(-(10**20), 10**20) | st.floats() | st.just(10**400)
)
leaves = st.none() | numbers | st.text(max_size=8) | st.sampled_from(["\ud800", "\0", "../..", ""])
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def altered_json(draw: st.DrawFn, document: Any) -> bytes:
    """A JSON document with one value somewhere inside it replaced, or taken out."""
    document = json.loads(json.dumps(document))
    place = document
    steps = draw(st.integers(0, 6))
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if not steps or not isinstance(place[key], dict | list) or not place[key]:
            if draw(st.booleans()):
                place[key] = draw(json_values)
            else:
                del place[key]
            break
        place = place[key]
        steps = steps - 1
    return json.dumps(document).encode()


def with_header(weights: bytes, header: bytes) -> bytes:
    """A safetensors file with another header, whose length is right."""
    return len(header).to_bytes(8, "little") + header + weights[8 + int.from_bytes(weights[:8], "little") :]


def bad_weights(weights: bytes) -> st.SearchStrategy[bytes]:
    """A safetensors file with its header altered, or with anything damaged."""
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    return altered_json(header).map(lambda changed: with_header(weights, changed)) | damaged_bytes(weights)


def bad_json(content: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file with one value altered, or with anything damaged."""
    return altered_json(json.loads(content)) | damaged_bytes(content)
