"""ROUGE-L and lead copies, against numbers worked out by hand, and results of versions that had neither."""

import json
from pathlib import Path

import pytest
from invented_run import write_run

from eval.metrics import rouge
from eval.metrics.rouge import copies, rouge_l
from eval.report.write import result_table, write_report
from eval.systems import write_comparison, write_json

SYLLABLES = ["ཀ", "ཁ", "ག", "ང", "ཅ", "ཆ", "ཇ", "ཉ", "ཏ", "ཐ", "ད", "ན"]
TSHEG = "\u0f0b"
SHAD = "\u0f0d"


@pytest.mark.parametrize(
    ("output", "reference", "expected"),
    [
        (TSHEG.join(SYLLABLES[:4]) + SHAD, TSHEG.join(SYLLABLES[:4]), 1.0),  # the shad is no unit
        (TSHEG.join(SYLLABLES[:3]), TSHEG.join([SYLLABLES[0], SYLLABLES[4], SYLLABLES[2], SYLLABLES[5]]), 2 * 2 / 7),
        ("打开文件", "打开一个文件", 2 * 4 / 10),
        ("Police kill the gunman", "police killed the gunman!", 2 * 3 / 8),  # no stemming
        ("the gunman kill police", "police killed the gunman", 2 * 2 / 8),  # in order
        ("打开 URL", "URL 打开", 2 * 2 / 6),
        ("", "打开", 0.0),
        ("?!", "", 0.0),
    ],
)  # fmt: skip
def test_rouge_l_by_hand_in_syllables_characters_and_words(
    output: str, reference: str, expected: float
) -> None:
    assert rouge_l([output], [[reference]]) == [pytest.approx(expected)]


def test_a_copied_lead_is_a_copy_and_a_headline_out_of_the_same_words_is_none() -> None:
    body, lead, heading = (
        TSHEG.join(part) for part in (SYLLABLES, SYLLABLES[:7], [*SYLLABLES[8:11], *SYLLABLES[1:4]])
    )
    half, third = (TSHEG.join([*SYLLABLES[:6], *["བ"] * more]) for more in (6, 7))
    outputs = [lead, body, heading, half, third, "", lead]
    references = [[heading]] * 6 + [[lead]]  # the last one's reference text has the very same run
    assert copies([body] * 7, outputs, references, "dz") == [True, True, False, True, False, False, False]


def test_a_copy_in_characters_takes_longer_runs() -> None:
    source = "国家主席今天下午在北京会见了来访的客人"
    assert copies([source] * 2, [source[:9], source[:10]], [["会见客人"]] * 2, "zh") == [False, True]


def test_results_made_before_these_figures_are_still_reported_and_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", count=12, resamples=20)
    new = json.loads((run / "eval" / "comparison.json").read_text(encoding="utf-8"))
    for path in (run / "eval").glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        old = [
            *document.get("metrics", {}).values(),
            *document.get("items", ()),
            document.get("signatures", {}),
        ]
        old += [figures for pair in document.get("pairs", ()) for figures in pair["slices"].values()]
        for figures in old:
            for key in ("rouge_l", "copied", "copied_share"):
                figures.pop(key, None)
        write_json(path, document)
    write_report(run)
    assert "ROUGE-L" in result_table(run)
    # old items have the texts, of which these figures are made
    assert write_comparison(run, seed=0, resamples=20) == new


def test_the_best_of_several_reference_texts_counts_and_each_excuses_its_copy() -> None:
    assert rouge_l(["打开文件"] * 2, [["关", "打开文件"], ["打开一个文件", "关"]]) == [
        1.0,
        pytest.approx(2 * 4 / 10),
    ]
    assert [rouge.signature(texts)[-8:] for texts in ([["a"]], [["a", "b"]], [["a"], ["a", "b"]])] == [
        "|nrefs:1",
        "|nrefs:2",
        "refs:var",
    ]
    lead = TSHEG.join(SYLLABLES[:7])
    assert copies([TSHEG.join(SYLLABLES)] * 2, [lead] * 2, [[SYLLABLES[8]], [SYLLABLES[8], lead]], "dz") == [
        True,
        False,
    ]
