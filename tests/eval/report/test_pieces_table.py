"""The report's table of new pieces."""

from eval.report.corpus_tables import corpus_tables


def test_new_pieces_show_tokens_a_unit_and_the_tax_where_it_was_measured() -> None:
    pieces = {
        "pieces": 1200,
        "tokens_per_source_unit": [1.0, 1.0],
        "tokens_per_reference_unit": [2.944, 1.156],
        "tax": 0.00024,
    }
    (table,) = corpus_tables({"new_pieces": pieces})
    rows = {what: (after, before) for what, after, before in table.rows}
    assert rows["new pieces"][0] == "1,200" and rows["tokens a reference unit"] == ("1.16", "2.94")
    assert rows["tax before any training"] == ("+0.0002", "0")
    (table,) = corpus_tables({"new_pieces": pieces | {"tax": ""}})
    assert len(table.rows) == 3
    assert corpus_tables({}) == []
