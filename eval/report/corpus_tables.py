"""The corpus part of the report: parts, origins and licences as tables; everything else of the manifest and
the token report as it stands.

In that rest a set of entries that are alike (a dictionary or a list of flat dictionaries) becomes a table
with one row each, and what remains becomes rows of one table of keys and values, so a new figure in a
manifest needs no change here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.clean import OTHER_REFERENCE
from eval.report.blocks import Table
from eval.report.tables import flatten
from eval.report.wording import ABSENT, place_label, plain_number
from eval.run_folder import Json

PARTS = ("warm_start", "train", "dev", "test")


def corpus_tables(corpus: Json) -> list[Table]:
    """What a reader of the results should know of the corpus: tier, parts, origins with licences, tokens,
    what was dropped.
    """
    manifest = corpus.get("manifest", {})
    tokens = corpus.get("tokens", {})
    facts = [
        (key, value)
        for key, value in flatten(manifest)
        if key.split(".")[0] in ("tier", "tier_means", "corpus", "not_obtained")
    ]
    if further := manifest.get("totals", {}).get("dropped", {}).get(OTHER_REFERENCE):
        facts.append(("further reference texts of a source, kept", plain_number(further)))
    facts += [("remark", text) for text in manifest.get("remarks", ())]
    tables = [
        Table("Corpus", ("Key", "Value"), tuple(facts)),
        part_table(manifest.get("splits", {})),
        origin_table(manifest.get("origins", {}), manifest.get("splits", {})),
        dropped_table(manifest),
        Table("Tokens", ("Key", "Value"), tuple(flatten(tokens)) if tokens else ()),
        pieces_table(corpus.get("new_pieces", {})),
    ]
    return [table for table in tables if table.rows]


def pieces_table(pieces: Json) -> Table:
    """What the new pieces of model.add_pieces changed before any training; the tax in nats a token of general text."""
    rows = [("new pieces", plain_number(pieces["pieces"]), ABSENT)] if pieces else []
    for side in ("source", "reference") if pieces else ():
        before, after = pieces[f"tokens_per_{side}_unit"]
        rows.append((f"tokens a {side} unit", f"{after:.2f}", f"{before:.2f}"))
    if isinstance(tax := pieces.get("tax"), float):
        rows.append(("tax before any training", f"{tax:+.4f}", "0"))
    return Table("New pieces", ("What", "With them", "Without"), tuple(rows))


def dropped_table(manifest: Json) -> Table:
    """Each rule that dropped pairs: how many, the setting that changes it and one example, where the manifest
    has them. A further reference text of a source is kept and not named here.
    """
    if "losses" not in manifest:
        counts = sorted(
            lost(manifest.get("totals", {}).get("dropped", {})).items(), key=lambda entry: -entry[1]
        )
        return Table(
            "Pairs dropped",
            ("Reason", "Pairs"),
            tuple((reason, plain_number(count)) for reason, count in counts),
        )
    rows = tuple(
        (loss["reason"], plain_number(loss["pairs"]), loss["setting"] or ABSENT, loss["example"])
        for loss in manifest["losses"]
        if loss["reason"] != OTHER_REFERENCE
    )
    return Table("Pairs dropped", ("Reason", "Pairs", "Setting", "Example"), rows)


def lost(dropped: Mapping[str, int]) -> dict[str, int]:
    """reason -> pairs, of those whose texts are gone."""
    return {reason: count for reason, count in dropped.items() if reason != OTHER_REFERENCE}


def part_table(splits: Json) -> Table:
    """Pairs of each part by source language."""
    languages = sorted({language for part in splits.values() for language in part["languages"]})
    rows = tuple(
        (
            name,
            plain_number(splits[name]["pairs"]),
            *(plain_number(splits[name]["languages"].get(key, 0)) for key in languages),
        )
        for name in [
            *(name for name in PARTS if name in splits),
            *(name for name in splits if name not in PARTS),
        ]
    )
    return Table("Parts", ("Part", "Pairs", *map(place_label, languages)), rows)


def origin_table(origins: Json, splits: Json) -> Table:
    """Licence and counts of each origin: read, dropped, kept, and how many pairs of it are in each part. Pairs
    that became a further reference text of another are only among those read.
    """
    parts = [name for name in PARTS if name in splits]
    rows = tuple(
        (
            name,
            facts["licence"],
            plain_number(facts["read"]),
            plain_number(sum(lost(facts["dropped"]).values())),
            plain_number(facts["kept"]),
            *(plain_number(splits[part]["origins"].get(name, 0)) for part in parts),
        )
        for name, facts in origins.items()
    )
    return Table("Origins", ("Origin", "Licence", "Read", "Dropped", "Kept", *parts), rows)


def manifest_tables(corpus: Json) -> list[Table]:
    """Everything in corpus.json: one table of keys and values, and one for each set of like entries."""
    single: list[tuple[str, str]] = []
    tables: list[Table] = []
    for path, value in walk(corpus, ""):
        if rows := entries(value):
            tables.append(entry_table(path, rows))
        else:
            single.extend(flatten(value, path))
    return [Table("All figures of the manifest", ("Key", "Value"), tuple(single)), *tables]


def walk(document: Json, prefix: str) -> Iterator[tuple[str, Any]]:
    """(dotted path, value) down to flat dictionaries, sets of entries and plain values."""
    for key, value in document.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        is_nested = isinstance(value, dict) and any(isinstance(one, dict | list) for one in value.values())
        if is_nested and not entries(value):
            yield from walk(value, path)
        else:
            yield path, value


def entries(value: Any) -> list[tuple[str, Json]]:
    """(name, entry) of a dictionary or a list of flat dictionaries; nothing of another value."""
    named_values = (
        value.items() if isinstance(value, dict) else enumerate(value, 1) if isinstance(value, list) else ()
    )
    rows = [(str(name), entry) for name, entry in named_values]
    return rows if all(is_flat(entry) for _, entry in rows) else []


def is_flat(entry: Any) -> bool:
    """A dictionary with something in it and no further dictionary."""
    return (
        isinstance(entry, dict) and bool(entry) and not any(isinstance(cell, dict) for cell in entry.values())
    )


def entry_table(path: str, rows: Sequence[tuple[str, Json]]) -> Table:
    """One row an entry, one column for every key that any entry has."""
    columns = list(dict.fromkeys(key for _, entry in rows for key in entry))
    cells = tuple(
        (name, *(plain_number(entry[key]) if key in entry else ABSENT for key in columns))
        for name, entry in rows
    )
    return Table(path, ("Entry", *map(str, columns)), cells)
