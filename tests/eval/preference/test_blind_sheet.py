"""The blind sheet: what it shows, what it hides, and how it comes back from people and their programs."""

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from explore import damaged_bytes, explore, read_or_refuse, times
from hypothesis import strategies as st
from invented_outputs import outputs, two_files

from data.errors import InputError
from eval.blind_sheet import agreement, main, score
from eval.preference.outcome import Answer
from eval.preference.sheet_csv import COLUMNS, escape_formula, read_signs, sheet_csv, sign_in
from eval.preference.sheet_key import Key, read_key
from eval.preference.sheet_page import SCRIPT

COUNT = 12
BEFORE = [f"=FIRST({number})</script>" for number in range(COUNT)]
AFTER = [f"second {number}, \"quoted\"; 'x'" for number in range(COUNT - 2)] + [
    f" {text} " for text in BEFORE[-2:]
]


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """A folder with a sheet of 10 rows; 2 more items are identical."""
    before, after = two_files(tmp_path, BEFORE, AFTER)
    assert (
        main(["make", "--before", str(before), "--after", str(after), "--out", str(tmp_path / "blind")]) == 0
    )
    return tmp_path / "blind"


def rows_of(sheet: Path) -> list[dict[str, str]]:
    return list(
        csv.DictReader(io.StringIO((sheet / "sheet.csv").read_text(encoding="utf-8-sig"), newline=""))
    )


def fill_sheet(
    sheet: Path, signs: list[str], name: str = "filled.csv", delimiter: str = ",", encoding: str = "utf-8-sig"
) -> Path:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, delimiter=delimiter)
    writer.writeheader()
    writer.writerows([{**row, "better": sign} for row, sign in zip(rows_of(sheet), signs, strict=True)])
    (sheet / name).write_bytes(out.getvalue().encode(encoding))
    return sheet / name


def for_after(key: Key) -> list[str]:
    return ["1" if first else "2" for _, first in key.rows]


def test_sheet_shows_every_differing_item_once_in_balanced_sides_and_names_nobody(sheet: Path) -> None:
    key = read_key(sheet / "key.json")
    rows = rows_of(sheet)
    assert len(rows) == 10 and len(key.identical) == 2 and tuple(rows[0]) == COLUMNS
    assert sum(first for _, first in key.rows) == 5 and len({row["id"] for row in rows}) == 10
    for row, (pair, first) in zip(rows, key.rows, strict=True):
        outputs = row["output 1"], row["output 2"]
        assert (
            outputs == tuple(escape_formula(text) for text in (pair.outputs(first)))
            and row["better"] == row["comment"] == ""
        )
    assert [pair.id for pair, _ in key.rows] != sorted(pair.id for pair, _ in key.rows)
    shown_to_reader = (sheet / "sheet.html").read_text() + (sheet / "sheet.csv").read_text()
    assert not re.search("warm_start|grpo|item-0", shown_to_reader)


def test_page_is_one_file_that_fetches_nothing_and_runs_no_text(sheet: Path) -> None:
    page = (sheet / "sheet.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|src=|@import|url\(|innerHTML", page) and "default-src 'none'" in page
    assert page.count("</script>") == 2  # those of the texts are written as \u003c/script>
    data = json.loads(re.search('id="sheet">(.*?)</script>', page, re.DOTALL)[1])
    assert {row["one"] for row in data["rows"]} & set(BEFORE) and data["rows"][0][
        "target_language"
    ] == "zh-Hans"
    assert "Noto Serif Tibetan" in page and "localStorage" in page


def test_languages_are_named_as_browsers_know_them(tmp_path: Path) -> None:
    """Past bug: the page said uig_Arab, which no browser takes for a language."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(json.dumps(outputs(name, [name], "uig_Arab")), encoding="utf-8")
    files = ["--before", str(tmp_path / "a"), "--after", str(tmp_path / "b")]
    assert main(["make", *files, "--out", str(tmp_path / "blind")]) == 0
    assert '"target_language": "ug-Arab"' in (tmp_path / "blind" / "sheet.html").read_text(encoding="utf-8")


def test_same_seed_same_sheet_and_a_sheet_is_never_overwritten(
    sheet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--before", str(sheet.parent / "warm_start.json"), "--after", str(sheet.parent / "grpo.json")]
    assert (
        main(["make", *files, "--out", str(sheet)]) == 2 and "give another --out" in capsys.readouterr().err
    )
    for seed in ("0", "1"):
        assert main(["make", *files, "--seed", seed, "--out", str(sheet.parent / f"again{seed}")]) == 0
    names = [
        read_key(folder / "key.json").row_names()[0]
        for folder in (sheet, sheet.parent / "again0", sheet.parent / "again1")
    ]
    assert names[0] == names[1] != names[2]


def test_score_by_hand_and_the_identical_are_ties(sheet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """10 rows: 6 for after, 2 for before, 1 tie, 1 left empty; with 2 identical outputs n = 11."""
    right = for_after(read_key(sheet / "key.json"))
    wrong = [{"1": "2", "2": "1"}[sign] for sign in right]
    path = fill_sheet(sheet, [*right[:6], *wrong[6:8], "=", ""])
    assert (
        main(["score", str(path), "--key", str(sheet / "key.json"), "--out", str(sheet / "result.json")]) == 0
    )
    result = json.loads((sheet / "result.json").read_text())
    assert (
        result["counts"] == {"win": 6, "tie": 3, "loss": 2}
        and result["n"] == 11
        and result["unanswered"] == 1
    )
    assert (result["before"], result["after"], result["judge"]) == (
        "warm_start",
        "grpo",
        "blind sheet, 1 reader",
    )
    assert result["sign_test_p"] == pytest.approx(2 * (1 + 8 + 28) / 2**8)
    assert result["win_interval"][0] < 6 / 11 < result["win_interval"][1]
    assert "2 of 11 outputs are identical and count as ties" in capsys.readouterr().out


def test_reader_who_always_takes_the_first_text_is_seen_and_favours_nobody(sheet: Path) -> None:
    key = read_key(sheet / "key.json")
    result = score(key, {"reader": dict.fromkeys(key.row_names(), "1")})
    assert result["net"]["difference"] == 0 and result["first_chosen"]["share"] == 1.0


def test_several_readers_vote_and_their_agreement_is_that_of_cohen(sheet: Path) -> None:
    key = read_key(sheet / "key.json")
    names = key.row_names()
    right = for_after(key)
    eager = dict(zip(names, right, strict=True))
    ties = dict.fromkeys(names, "=")
    against = {name: {"1": "2", "2": "1"}[sign] for name, sign in eager.items()}
    assert score(key, {"a": eager, "b": ties})["counts"] == {"win": 10, "tie": 2, "loss": 0}
    opposite = score(key, {"a": eager, "b": against})
    assert opposite["counts"] == {"win": 0, "tie": 12, "loss": 0} and opposite["agreement"][0]["raw"] == 0.0
    assert score(key, {"a": eager, "b": against, "c": against})["counts"]["loss"] == 10
    assert [reader["judge"] for reader in opposite["readers"]] == ["a", "b"] and opposite["readers"][1][
        "counts"
    ]["loss"] == 10


def test_kappa_of_a_table_by_hand() -> None:
    """20 + 15 of 50 alike: (0.7 - 0.5) / (1 - 0.5) = 0.4, the example of the textbooks; an answer that one
    lacks counts for nobody.
    """
    yes = Answer(True, "1")
    no = Answer(True, "2")
    first = [yes] * 25 + [no] * 25 + [None]
    second = [yes] * 20 + [no] * 5 + [yes] * 10 + [no] * 15 + [yes]
    result = agreement(first, second)
    assert result == {"n": 50, "raw": pytest.approx(0.7), "kappa": pytest.approx(0.4)}
    assert agreement([yes], [yes])["kappa"] is None and agreement([None], [yes])["raw"] is None


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_way_in_which_programs_save_a_sheet_is_read(delimiter: str, encoding: str, sheet: Path) -> None:
    names = read_key(sheet / "key.json").row_names()
    signs = ["1", "2", "=", " 1 ", "2.0", "1,0", "\uff11", "'=", "==", "0"]
    path = fill_sheet(sheet, signs, delimiter=delimiter, encoding=encoding)
    expected = dict(zip(names, "12=1211===", strict=True))
    assert read_signs(path, names) == expected
    text = path.read_bytes().decode(encoding)
    with_new_header = text.replace("better", "Better ")
    with_empty_rows = text + f"{delimiter * 6}\r\n\r\n"
    for changed in (
        text.replace("\r\n", "\n"),
        f"sep={delimiter}\r\n{text}",
        with_new_header,
        with_empty_rows,
    ):
        path.write_bytes(changed.encode(encoding))
        assert read_signs(path, names) == expected


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=x", "\uff1d1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert escape_formula(cell) == f"'{cell}" and escape_formula("x=1") == "x=1"
    assert list(csv.reader(io.StringIO(sheet_csv([[cell] * 7]), newline="")))[1] == [f"'{cell}"] * 7


def test_bad_cells_are_named_by_line(sheet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = read_key(sheet / "key.json").row_names()
    for signs, message in (
        (["1"] * 4 + ["3"] + ["1"] * 5, "filled.csv:6: better = '3'; write 1 or 2"),
        ([""] * 10, "no row is answered"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            read_signs(fill_sheet(sheet, signs), names)
    content = fill_sheet(sheet, ["1"] * 10).read_text(encoding="utf-8-sig")
    doubled = content + content.splitlines(keepends=True)[1]
    changes = {
        "filled.csv:4: better = 'x'": f'id,comment,better\n{names[0]},"two\nlines",1\n{names[1]},,x\n',
        "filled.csv:12: the row .* stands in line 2 too": doubled, "no row of the sheet": content.replace(names[0], "s0-001"),
        "no column 'better'": content.replace("better", "besser"), "an empty file": "", "no column 'id'": "x\n1\n",
    }  # fmt: skip
    for message, text in changes.items():
        (sheet / "filled.csv").write_text(text, newline="")
        with pytest.raises(InputError, match=message):
            read_signs(sheet / "filled.csv", names)
    (sheet / "filled.csv").write_bytes(content.encode().replace(b"id", b"\xff\xff\xff"))
    assert main(["score", str(sheet / "filled.csv"), "--key", str(sheet / "key.json")]) == 2
    assert "not UTF-8 at byte 0; save the sheet as CSV UTF-8" in capsys.readouterr().err


def test_sign_that_is_none_says_where() -> None:
    with pytest.raises(InputError, match=r"f\.csv:3: better = 'both'"):
        sign_in("both", "f.csv:3")
    assert sign_in("  ", "x") is None


def test_key_that_was_edited_is_refused(sheet: Path) -> None:
    content = (sheet / "key.json").read_text()
    for changed in (
        content.replace('"after_first": true', '"after_first": false', 1),
        "{}",
        content.replace('"rows"', '"lines"'),
    ):
        (sheet / "key.json").write_text(changed)
        with pytest.raises(InputError, match=r"key\.json: (not the key|does not have the hash)"):
            read_key(sheet / "key.json")


def test_nothing_to_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = two_files(tmp_path, ["a", "b"], ["a ", "b"])
    assert (
        main(["make", "--before", str(before), "--after", str(after), "--out", str(tmp_path / "blind")]) == 2
    )
    assert (
        "all 2 outputs that were drawn are identical" in capsys.readouterr().err
        and not (tmp_path / "blind").exists()
    )


@times
def test_any_damage_to_a_filled_sheet_is_one_sentence(times: int, sheet: Path) -> None:
    names = read_key(sheet / "key.json").row_names()
    path = fill_sheet(sheet, ["1", "2", "=", "", "1", "1", "1", "1", "1", "1"])

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        read_or_refuse(lambda: read_signs(path, names), str(path))

    explore(200 * times, holds, damaged_bytes(path.read_bytes()) | st.binary(max_size=60))


BROWSER = """
const made = {}, keys = {}, kept = {};
const element = id => made[id] || (made[id] = {id, dataset: {}, style: {}, textContent: "", value: "", handlers: {},
  addEventListener(name, handler) { this.handlers[name] = handler; }, setAttribute(name, value) { this[name] = value; }, click() {}});
const buttons = ["1", "=", "2"].map(sign => { const made = element("button" + sign); made.dataset.sign = sign; return made; });
globalThis.localStorage = {getItem: key => kept[key] || null, setItem: (key, text) => { kept[key] = text; }};
globalThis.document = {getElementById: element, querySelectorAll: () => buttons, createElement: () => element("link"),
  addEventListener(name, handler) { keys[name] = handler; }};
element("sheet").textContent = require("fs").readFileSync(process.argv[2], "utf-8");
const press = (key, id) => keys.keydown({key, target: {id: id || ""}});
"""


@pytest.mark.skipif(
    shutil.which("node") is None, reason="the script of the page is run by node, which is not here"
)
def test_what_the_page_saves_is_what_was_pressed(sheet: Path) -> None:
    """Keys 1, =, 2, then back and 1 instead of the 2; a digit typed into a comment chooses nothing; a new
    visit finds all again.
    """
    page = (sheet / "sheet.html").read_text(encoding="utf-8")
    (sheet / "data.json").write_text(
        re.search('id="sheet">(.*?)</script>', page, re.DOTALL)[1], encoding="utf-8"
    )
    actions = """
press("1"); press("="); press("2"); press("ArrowLeft"); press("1");
made.comment.value = "=evil\\n\\"x\\""; made.comment.handlers.input(); press("2", "comment");
const first = sheetCsv(); answers = {}; recall(); show();
if (first !== sheetCsv() || made.place.textContent !== "Item 4 of 10, 3 answered") throw new Error(made.place.textContent);
process.stdout.write(first);
"""
    (sheet / "run.cjs").write_text(BROWSER + SCRIPT.replace('"use strict";', "") + actions, encoding="utf-8")
    process = subprocess.run(
        ["node", str(sheet / "run.cjs"), str(sheet / "data.json")], capture_output=True, check=False
    )
    assert process.returncode == 0, process.stderr.decode()
    (sheet / "saved.csv").write_bytes(process.stdout)
    names = read_key(sheet / "key.json").row_names()
    assert read_signs(sheet / "saved.csv", names) == dict(zip(names, "1=1", strict=False))
    saved_rows = list(csv.DictReader(io.StringIO(process.stdout.decode("utf-8-sig"), newline="")))
    assert saved_rows[3]["comment"] == '\'=evil\n"x"'
    assert [{**row, "better": "", "comment": ""} for row in saved_rows] == rows_of(sheet)
