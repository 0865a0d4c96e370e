"""`eval.score`: any files by sacreBLEU's metrics and by a learned one."""

import json
from pathlib import Path

import pytest
import sacrebleu
import torch
from command_line import outcome
from metric_folders import marking_folder, metric_folder

from benchmarks.tiny_metrics import segments
from eval.score import main
from reward.encoder import load_encoder

OUTPUTS = ["the cat sat on a mat", "dogs bark at night", "it is late now, my friend", "one more line of text"]
REFERENCES = [
    "the cat sat on the mat",
    "dogs barked at night",
    "it is late, my friend",
    "another line of text",
]
OTHER = ["a cat sat on a mat", "at night dogs bark", "it is late now", "one more line"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, lines in (("out", OUTPUTS), ("ref", REFERENCES), ("ref2", OTHER), ("src", OUTPUTS[::-1])):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "short").write_text("one line\n", encoding="utf-8")
    return tmp_path


def results(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict]:
    assert main([*map(str, arguments), "--json", "--resamples", "200"]) == 0
    rows: list[dict] = json.loads(capsys.readouterr().out)
    return rows


@pytest.mark.parametrize("references", [["ref"], ["ref", "ref2"]])
def test_scores_are_those_of_sacrebleu(
    references: list[str], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [files / name for name in references]
    rows = results(
        capsys, "--metric", "chrf", "bleu", "ter", "--outputs", files / "out", "--references", *paths
    )
    streams = [REFERENCES, OTHER][: len(references)]
    expected = {
        "chrf": sacrebleu.corpus_chrf(OUTPUTS, streams).score,
        "bleu": sacrebleu.corpus_bleu(OUTPUTS, streams).score,
        "ter": sacrebleu.corpus_ter(OUTPUTS, streams).score,
    }
    assert {row["metric"]: row["score"] for row in rows} == pytest.approx(expected, abs=1e-9)
    for row in rows:
        assert row["low"] <= row["score"] <= row["high"]
        assert row["low"] < row["high"]
        assert (row["n"], len(row["lines"])) == (4, 4)
        assert f"nrefs:{len(references)}" in row["signature"]
    assert [row["better"] for row in rows] == [1, 1, -1]


def test_a_learned_metric_scores_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = metric_folder(files, "cometkiwi")
    (row,) = results(capsys, "--metric", folder, "--outputs", files / "out", "--sources", files / "src")
    assert row["score"] == pytest.approx(sum(row["lines"]) / 4, abs=1e-9)
    assert len(set(row["lines"])) == 4
    assert row["signature"].startswith("cometkiwi:")
    again = results(capsys, "--metric", folder, "--outputs", files / "out", "--sources", files / "src")
    assert again == [row]


def test_the_errors_that_xcomet_marks_are_in_every_form(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words, as JSON and as JSON Lines: the same characters, severity and confidence."""
    folder = marking_folder(files)
    rows = segments(12, seed=4)
    for name, key in (("out", "mt"), ("ref", "ref"), ("src", "src")):
        (files / name).write_text("\n".join(row[key] for row in rows) + "\n", encoding="utf-8")
    arguments = ["--metric", folder, "chrf", "--outputs", files / "out", "--sources", files / "src"]
    arguments += ["--references", files / "ref", "--segments", files / "lines"]
    row, chrf = results(capsys, *arguments)
    assert len(row["errors"]) == 12 and any(row["errors"]) and chrf["errors"] == []
    lines = [json.loads(line) for line in (files / "lines").read_text(encoding="utf-8").splitlines()]
    assert [line["errors"][str(folder)] for line in lines] == row["errors"]
    assert [line["scores"] for line in lines] == [
        {str(folder): own, "chrf": other} for own, other in zip(row["lines"], chrf["lines"], strict=True)
    ]
    assert main([*map(str, arguments), "--errors", "--resamples", "200"]) == 0
    said = capsys.readouterr().out
    for number, (segment, errors) in enumerate(zip(rows, row["errors"], strict=True), 1):
        for one in errors:
            output = segment["mt"]
            assert output[one["start"] : one["end"]] == one["text"]
            assert one["severity"] in ("minor", "major", "critical") and 0.25 < one["confidence"] <= 1
            place = f"line {number}, characters {one['start']} to {one['end']}: {one['severity']}, confidence"
            assert f"{place} {one['confidence']:.2f}: {one['text'].strip()}" in said


def test_a_cosine_is_that_of_the_nearest_reference_text(
    files: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"static:{tiny_folder}"
    paths = ["--outputs", files / "out", "--references", files / "ref", files / "ref2"]
    (row,) = results(capsys, "--metric", f"cosine:{name}", *paths)
    encoder = load_encoder(name, files, torch.device("cpu"))
    outputs, first, second = map(encoder.encode, (OUTPUTS, REFERENCES, OTHER))
    expected = torch.maximum((outputs * first).sum(dim=1), (outputs * second).sum(dim=1))
    assert row["lines"] == pytest.approx(expected.tolist(), abs=1e-6)
    assert row["signature"] == f"encoder:{name}:{encoder.fingerprint[:12]}"


def test_the_answer_in_words(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--metric", "ter", "--outputs", str(files / "out"), "--references", str(files / "out")]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith(
        "ter: 0.0000 (0.0000 to 0.0000), n = 4, lower is better\n  nrefs:1"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--metric chrf --outputs {}/out", "--metric chrf: needs reference texts; give --references"),
        ("--metric cosine:use --outputs {}/out", "cosine:use: needs reference texts; give --references"),
        ("--metric chrf --outputs {}/out --references {}/short", "short: has 1 lines, and --outputs"),
        ("--metric chrf --outputs {}/none", "there is no such file"),
        ("--metric meteor --outputs {}/out", "--metric meteor: is neither chrf, bleu, ter nor a folder"),
        (
            "--metric {}/comet_folder --outputs {}/out --sources {}/src",
            "comet needs references; give --references",
        ),
        (
            "--metric {}/comet_folder --outputs {}/out --references {}/ref",
            "comet needs sources; give --sources",
        ),
        (
            "--metric chrf --outputs {}/out --references {}/ref --resamples 5",
            "an interval needs at least 100",
        ),
    ],
)
def test_what_is_missing_is_one_sentence(arguments: str, sentence: str, files: Path) -> None:
    if "comet_folder" in arguments:
        metric_folder(files, "comet")
    code, said = outcome(main, arguments.replace("{}", str(files)).split())
    assert code == 2
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("language", "score", "asian"), [("zh", 100 / 8, True), ("sw", 100.0, False)])
def test_ter_of_chinese_counts_characters(
    language: str, score: float, asian: bool, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of eight characters is wrong; without spaces sacreBLEU's usual TER would have one wrong word of one."""
    (files / "zh").write_text("今天天气很好吗呢\n", encoding="utf-8")
    (files / "zh_ref").write_text("今天天气很坏吗呢\n", encoding="utf-8")
    (row,) = results(
        capsys,
        "--metric",
        "ter",
        "--language",
        language,
        "--outputs",
        files / "zh",
        "--references",
        files / "zh_ref",
    )
    assert row["score"] == pytest.approx(score)
    assert ("asian:yes" in row["signature"]) == asian
