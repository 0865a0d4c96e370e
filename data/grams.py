"""Hashed character n-grams of many texts at once: of letters and marks, as sorted 54-bit numbers. A text without any
letter keeps its raw characters. Marks count, since in Tibetan vowels and subjoined letters are marks.

Two of a million different n-grams have one number with a chance of 1 in 30,000, and one such pair changes
hardly any similarity.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
SPACE = ord(" ")
CODE_POINTS = 0x110000
BLOCK = 1024  # texts that are sorted at once: the number of a text and its hashes fit into 64 bits together
HASH_BITS = np.uint64(54)
BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Grams:
    """The n-gram sets of n texts: text i has `hashes[starts[i] : starts[i + 1]]`, ascending, each once."""

    hashes: Hashes
    starts: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> Ints:
        """(n,) the number of n-grams of each text."""
        return np.diff(self.starts)

    def keys(self) -> Hashes:
        """(n,) one 64-bit hash of each set."""
        if not len(self):
            return np.zeros(0, np.uint64)
        return mix(np.add.reduceat(mix(self.hashes), self.starts[:-1]) + self.sizes.astype(np.uint64))

    def take(self, items: Ints) -> "Grams":
        """The sets of some texts, in that order."""
        sizes = self.sizes[items]
        starts = starts_of(sizes)
        places = np.repeat(self.starts[items] - starts[:-1], sizes) + np.arange(starts[-1])
        return Grams(self.hashes[places], starts)


def grams_of(texts: Sequence[str], sizes: Sequence[int]) -> Grams:
    """The sets of character n-grams of texts; those of text i have `sizes[i]` characters."""
    order, parts = list[int](), list[Grams]()
    for size in sorted(set(sizes)):
        items = [item for item, other in enumerate(sizes) if other == size]
        order += items
        for start in range(0, len(items), BLOCK):
            parts.append(_block([texts[item] for item in items[start : start + BLOCK]], size))
    return join(parts).take(np.argsort(np.array(order, np.int64)))


def overlaps(one: Grams, other: Grams) -> Ints:
    """(n,) how many n-grams set i of `one` and set i of `other` share."""
    counts = [np.zeros(0, np.int64)]
    for start in range(0, len(one), BLOCK):
        end = min(start + BLOCK, len(one))
        keys = np.concatenate([_keys_of_rows(side, start, end) for side in (one, other)])
        keys.sort()
        rows = keys[1:][keys[1:] == keys[:-1]] >> HASH_BITS
        counts.append(np.bincount(rows.astype(np.int64), minlength=end - start))
    return np.concatenate(counts)


def _keys_of_rows(grams: Grams, start: int, end: int) -> Hashes:
    """The hashes of some rows with the row, from 0, in the bits above."""
    rows = np.repeat(np.arange(end - start, dtype=np.uint64), grams.sizes[start:end])
    return grams.hashes[grams.starts[start] : grams.starts[end]] | (rows << HASH_BITS)


def join(parts: Sequence[Grams]) -> Grams:
    """All the sets one after the other."""
    empty = np.zeros(0, np.uint64)
    sizes = [part.sizes for part in parts]
    return Grams(
        np.concatenate([empty, *(part.hashes for part in parts)]),
        starts_of(np.concatenate([np.zeros(0, np.int64), *sizes])),
    )


def starts_of(sizes: Ints) -> Ints:
    """(n + 1,) where each of n runs of these sizes begins, and the end."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def mix(values: Hashes) -> Hashes:
    """A bijection of 64-bit numbers that looks random (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _block(texts: Sequence[str], size: int) -> Grams:
    """The sets of up to BLOCK texts."""
    codes, starts = plain_codes(texts)
    lengths = np.diff(starts)
    padded = np.concatenate([codes, np.zeros(size, codes.dtype)]).astype(np.uint64)
    hashes = np.zeros(len(codes), np.uint64)
    for offset in range(size):
        hashes = hashes * BASE + padded[offset : offset + len(codes)] + np.uint64(1)
    for row in np.flatnonzero(lengths < size).tolist():  # the whole text is its only n-gram
        short = np.uint64(0)
        with np.errstate(over="ignore"):
            for code in padded[starts[row] : starts[row + 1]]:
                short = short * BASE + code + np.uint64(1)
        hashes[starts[row]] = short
    rows = np.repeat(np.arange(len(texts)), lengths)
    behind = np.arange(len(codes)) - starts[rows]
    is_gram = behind < np.maximum(1, lengths - size + 1)[rows]
    keys = (mix(hashes[is_gram]) >> (np.uint64(64) - HASH_BITS)) | (
        rows[is_gram].astype(np.uint64) << HASH_BITS
    )
    keys.sort()
    is_new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    keys = keys[is_new]
    sizes = np.bincount((keys >> HASH_BITS).astype(np.int64), minlength=len(texts))
    return Grams(keys & ((np.uint64(1) << HASH_BITS) - np.uint64(1)), starts_of(sizes))


def plain_codes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], Ints]:
    """The code points of the texts in lower case, letters and marks only, with single spaces between words
    and at both ends, one text after the other; and where each begins, (n + 1,).

    A text without a letter keeps its raw characters.
    """
    lowered = [text.lower() for text in texts]
    codes, starts, is_letter = _letters_of(lowered)
    letterless = np.flatnonzero(np.add.reduceat(is_letter, starts[:-1], dtype=np.int64) == 0).tolist()
    if letterless:
        for row in letterless:
            lowered[row] = texts[row]
        codes, starts, is_letter = _letters_of(lowered)
        for row in letterless:
            is_letter[starts[row] + 1 : starts[row + 1] - 1] = True
    keep = is_letter.copy()
    keep[:-1] |= is_letter[1:]  # the last one of a run of others becomes the space
    keep[starts[1:] - 1] = True
    keep[starts[:-1][np.diff(starts) == 2]] = True  # both spaces of an empty text
    sizes = np.add.reduceat(keep, starts[:-1], dtype=np.int64)
    return np.where(is_letter, codes, np.uint32(SPACE))[keep], starts_of(sizes)


def _letters_of(texts: Sequence[str]) -> tuple[NDArray[np.uint32], Ints, Bools]:
    """Code points of the texts with a space at both ends, where each begins, and which of them are letters."""
    content = "".join(f" {text} " for text in texts).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(content, np.uint32)
    return codes, starts_of(np.array([len(text) + 2 for text in texts], np.int64)), letter_table()[codes]


@cache
def letter_table() -> Bools:
    """For every code point whether it is a letter or a mark."""
    return np.array([unicodedata.category(chr(code))[0] in "LM" for code in range(CODE_POINTS)])
