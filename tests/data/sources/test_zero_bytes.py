"""Zero bytes are those of UTF-16, or strays in UTF-8 as an output of a model may have."""

import pytest

from data.sources.encoding import wide_encoding

SANTALI = "ᱤᱧ ᱫᱚ ᱫᱟᱠᱟ ᱧᱮᱞ ᱮᱫᱟ ᱾\n" * 40


@pytest.mark.parametrize("places", [(0, 2, 4, 6, 8), (1, 3, 5, 7, 9), (0, 1, 2, 3, 4)])
def test_a_few_zero_bytes_in_utf8_are_no_utf16(places: tuple[int, ...]) -> None:
    content = bytearray(b"an output of a model\n" * 40)
    for place in places:
        content[place] = 0
    assert len(places) > 3 and wide_encoding(bytes(content)) == ""


@pytest.mark.parametrize(("codec", "name"), [("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE")])
def test_utf16_whose_bytes_are_utf8_as_well_is_seen_by_its_spaces(codec: str, name: str) -> None:
    content = SANTALI.encode(codec)
    content.decode("utf-8")
    assert content.count(0) / len(content) < 0.2 and wide_encoding(content) == name
