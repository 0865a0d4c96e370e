"""Finds candidates for near-duplicates among millions of sets in linear time: MinHash with bands, on disk.

A sketch is COLUMNS numbers a set, each the least of its hashes under one function: two sets agree in a column
with the chance of their Jaccard similarity (Broder 1997). A band is a handful of columns; sets that agree in
all of them are candidates (Indyk & Motwani 1998). One band at a time is in memory, as one 64-bit number a set.
Whether a candidate is near enough is checked on the texts, so nothing is joined by chance; a pair at the
threshold itself is overlooked with a chance of about MISS.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from data.grams import BASE, Grams, Ints, mix
from data.system import read_at, write_at

COLUMNS = 128
MISS = 0.03  # of the pairs at the threshold; a tenth of it at 0.05 above a threshold of 0.7
CHANCE = 0.03  # that a band finds a pair at the threshold: it gives the columns of a band
MAX_BAND = 16  # columns
MARGIN = 2.2  # times the bands that independent ones would need: they share columns
WINDOW = 8  # following sets of a bucket that a set is compared with
BLOCK = 512  # sets whose hashes stay in the processor's cache
TOGETHER = 65_536  # keys that are mixed at once
Words = NDArray[np.uint16]


def band_shape(threshold: float) -> tuple[int, int]:
    """(columns of a band, number of bands)."""
    columns = MAX_BAND if threshold == 1 else int(math.log(CHANCE) / math.log(threshold))
    columns = min(max(columns, 1), MAX_BAND)
    chance = threshold**columns
    bands = 1 if chance == 1 else math.ceil(MARGIN * math.log(MISS) / math.log1p(-chance))
    return columns, bands


def bands_of(threshold: float) -> list[list[int]]:
    """The columns of each band, drawn once and for all."""
    columns, bands = band_shape(threshold)
    random = np.random.default_rng(0)
    return [sorted(random.choice(COLUMNS, columns, replace=False).tolist()) for _ in range(bands)]


def sketch(grams: Grams) -> Words:
    """(COLUMNS, n) the sketches of n sets."""
    random = np.random.default_rng(1)
    factors = random.integers(0, 2**31, COLUMNS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    shifts = random.integers(0, 2**32, COLUMNS, dtype=np.uint32)
    result = np.empty((COLUMNS, len(grams)), np.uint16)
    hashes = grams.hashes.astype(np.uint32)
    for start in range(0, len(grams), BLOCK):
        end = min(start + BLOCK, len(grams))
        block = hashes[grams.starts[start] : grams.starts[end]]
        places = grams.starts[start:end] - grams.starts[start]
        values = np.empty_like(block)
        for column, (factor, shift) in enumerate(zip(factors, shifts, strict=True)):
            np.multiply(block, factor, out=values)
            values += shift
            result[column, start:end] = np.minimum.reduceat(values, places)  # its low bits, which look random
    return result


class SketchFile:
    """The sketches of `count` sets in a file, column by column."""

    def __init__(self, path: Path, count: int) -> None:
        self.count = count
        self.file = path.open("w+b")

    def __enter__(self) -> "SketchFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def write(self, start: int, words: Words) -> None:
        """Store the sketches (COLUMNS, n) of the sets from `start` on."""
        for column, row in enumerate(words):
            write_at(self.file.fileno(), row.tobytes(), 2 * (column * self.count + start))

    def column(self, number: int) -> Words:
        """(count,) one column."""
        size = 2 * self.count
        content = read_at(self.file.fileno(), size, number * size)
        return np.frombuffer(content, np.uint16)

    def candidates(self, rows: Ints, threshold: float, workers: int) -> Iterator[Ints]:
        """(n, 2) for each band the pairs of `rows` that agree in it; one set is compared with the WINDOW
        following ones of its bucket.
        """
        bands = bands_of(threshold)
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(bands), workers):
                yield from pool.map(lambda band: self._pairs(band, rows), bands[start : start + workers])

    def _pairs(self, band: list[int], rows: Ints) -> Ints:
        bits = np.uint64(max(1, int(self.count - 1).bit_length()))
        keys = np.zeros(len(rows), np.uint64)
        for number in band:
            keys *= BASE
            keys += self.column(number)[rows]
        for start in range(0, len(rows), TOGETHER):  # so that memory holds no second set of keys
            part = slice(start, start + TOGETHER)
            keys[part] = (mix(keys[part]) >> bits << bits) | rows[part].astype(np.uint64)
        keys.sort()
        items = (keys & ((np.uint64(1) << bits) - np.uint64(1))).view(np.int64)
        keys >>= bits
        places = np.flatnonzero(keys[1:] == keys[:-1])
        pairs = [np.zeros((0, 2), np.int64)]
        for distance in range(1, WINDOW + 1):
            places = places[places + distance < len(keys)]
            places = places[keys[places] == keys[places + distance]]
            pairs.append(np.stack([items[places], items[places + distance]], axis=1))
        return np.concatenate(pairs)
