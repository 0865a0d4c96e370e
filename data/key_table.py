"""Finds the positions of keys among millions: 16 bytes a slot, at most half of the slots in use."""

from array import array
from collections.abc import Iterator

MASK = 2**64 - 1
SPREAD = 0x9E3779B97F4A7C15
FREE = -1


class KeyTable:
    """Positions by the hash of a key, in order of arrival. The caller compares the keys themselves."""

    def __init__(self) -> None:
        self.count = 0
        self._resize(10)

    def _resize(self, bits: int) -> None:
        self.bits = bits
        self.hashes = array("Q", bytes(8 << bits))
        self.positions = array("q", [FREE]) * (1 << bits)

    def positions_of(self, key: int) -> Iterator[int]:
        """The positions that were added with this hash, of up to 64 bits."""
        key &= MASK
        for slot in self._slots(key):
            if self.positions[slot] == FREE:
                return
            if self.hashes[slot] == key:
                yield self.positions[slot]

    def add(self, key: int, position: int) -> None:
        """Add a position."""
        if 2 * self.count >= 1 << self.bits:
            self._grow()
        key &= MASK
        slot = next(slot for slot in self._slots(key) if self.positions[slot] == FREE)
        self.hashes[slot] = key
        self.positions[slot] = position
        self.count += 1

    def _slots(self, key: int) -> Iterator[int]:
        """The slots of a hash, the first one first."""
        mask = (1 << self.bits) - 1
        slot = (key * SPREAD & MASK) >> (64 - self.bits)
        while True:
            yield slot
            slot = (slot + 1) & mask

    def _grow(self) -> None:
        entries = zip(self.hashes, self.positions, strict=True)
        self._resize(self.bits + 1)
        self.count = 0
        for key, position in entries:
            if position != FREE:
                self.add(key, position)
