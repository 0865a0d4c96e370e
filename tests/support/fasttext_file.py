"""Writes a supervised fastText model by hand, byte for byte: words and labels with vectors of two numbers, no n-grams.

A text's vector is the mean of its words' vectors and that of the end of a line; the probabilities are the softmax of
its products with the labels' vectors.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

MAGIC = 793712314
VERSION = 12
SOFTMAX = 3
SUPERVISED = 3
END = "</s>"

Vectors = Mapping[str, tuple[float, float]]


def write_fasttext(path: Path, words: Vectors, labels: Vectors) -> Path:
    """A model file with these words and labels (as `__label__yor_Latn`)."""
    entries = [(word, 0) for word in (END, *words)] + [(label, 1) for label in labels]
    # dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate, t
    arguments = struct.pack("<12id", 2, 5, 1, 1, 5, 1, SOFTMAX, SUPERVISED, 0, 0, 0, 100, 1e-4)
    dictionary = struct.pack("<3i2q", len(entries), len(words) + 1, len(labels), len(entries), -1)
    dictionary += b"".join(text.encode() + b"\0" + struct.pack("<qb", 1, kind) for text, kind in entries)
    tables = matrix({END: (0.0, 0.0), **words}) + matrix(labels)
    path.write_bytes(struct.pack("<2i", MAGIC, VERSION) + arguments + dictionary + tables)
    return path


def matrix(rows: Vectors) -> bytes:
    """A flag (not quantised), the sizes, and the numbers in fp32."""
    numbers = b"".join(struct.pack("<2f", *row) for row in rows.values())
    return struct.pack("<?2q", False, len(rows), 2) + numbers
