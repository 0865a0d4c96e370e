"""Character n-grams of many texts at once, hashed into buckets: what the translation memory compares (eval/memory.py).

An n-gram's bucket is the CRC-32 of its UTF-8 bytes modulo BUCKETS, the same on every machine.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.grams import Ints, starts_of

BUCKETS = 4096
ORDERS = (2, 3, 4)
TOGETHER = 64  # texts that are counted at once, in a table of so many rows
POLYNOMIAL = 0xEDB88320  # of CRC-32, its bits reversed
Words = NDArray[np.uint32]


class Entries(NamedTuple):
    """How often each text hits each bucket that it hits: three arrays (k,), the texts ascending, then the buckets."""

    rows: Ints
    buckets: Ints
    counts: Ints


def entries_of(texts: Sequence[str]) -> Entries:
    """The entries of some texts. A space is added at both ends, so every text has an n-gram."""
    parts = [_few_entries(texts[start : start + TOGETHER], start) for start in range(0, len(texts), TOGETHER)]
    return Entries(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _few_entries(texts: Sequence[str], first: int) -> Entries:
    lines = [f" {text} " for text in texts]
    sizes = np.array([len(line) for line in lines], np.int64)
    content = np.frombuffer("".join(lines).encode(), np.uint8)
    is_begin = (content & 0xC0) != 0x80  # of a character
    begins = np.append(np.flatnonzero(is_begin), len(content))
    rows = np.repeat(np.arange(len(lines)), sizes)
    behind = np.repeat(starts_of(sizes)[1:], sizes) - np.arange(len(rows))  # characters from here to the end
    hits = []
    for order in ORDERS:
        places = np.flatnonzero(behind >= order)
        codes = checksums(content, begins[places], begins[places + order])
        hits.append(rows[places] * BUCKETS + codes % BUCKETS)
    table = np.bincount(np.concatenate(hits), minlength=len(lines) * BUCKETS)
    keys = np.flatnonzero(table)
    return Entries(keys // BUCKETS + first, keys % BUCKETS, table[keys])


def checksums(content: NDArray[np.uint8], begins: Ints, ends: Ints) -> Words:
    """(n,) the CRC-32 of n runs of bytes."""
    codes = np.full(len(begins), 0xFFFFFFFF, np.uint32)
    longest = int((ends - begins).max(initial=0))
    for offset in range(longest):
        places = begins + offset
        is_inside = places < ends
        byte = content[np.minimum(places, len(content) - 1)]
        following = byte_table()[(codes ^ byte) & 0xFF] ^ (codes >> np.uint32(8))
        codes = np.where(is_inside, following, codes)
    return ~codes


@cache
def byte_table() -> Words:
    """(256,) the CRC-32 of each byte alone, before its complement."""
    codes = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        codes = np.where(codes & 1, (codes >> np.uint32(1)) ^ np.uint32(POLYNOMIAL), codes >> np.uint32(1))
    return codes
