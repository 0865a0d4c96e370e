"""Made-up pairs of two languages in Latin script, as files of one's own: English sentences and Spanish ones."""

import random
from itertools import product
from pathlib import Path

NOUNS = {
    "dog": "perro",
    "cat": "gato",
    "boy": "niño",
    "teacher": "maestro",
    "doctor": "médico",
    "horse": "caballo",
}
VERBS = {"sleeps": "duerme", "eats": "come", "runs": "corre", "sings": "canta", "works": "trabaja"}
PLACES = {"here": "aquí", "at home": "en casa", "in the garden": "en el jardín", "today": "hoy"}
SIZES = {"test": 10, "dev": 4, "train": 106}
LANGUAGES = ["data.source_language=en", "data.target_language=es", "data.near_duplicate=1.0"]


def write_latin_pairs(folder: Path) -> list[str]:
    """Write the files of the three parts; the settings that name them."""
    rows = product(NOUNS.items(), VERBS.items(), PLACES.items())
    pairs = [f"The {n[0]} {v[0]} {p[0]}.\tEl {n[1]} {v[1]} {p[1]}.\n" for n, v, p in rows]
    random.Random(0).shuffle(pairs)
    for part, size in SIZES.items():
        own, pairs = pairs[:size], pairs[size:]
        (folder / f"{part}.tsv").write_text("source\treference\n" + "".join(own), encoding="utf-8")
    return [*LANGUAGES, *(f"data.{part}={folder / part}.tsv" for part in SIZES)]
