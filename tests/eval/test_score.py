"""`eval.score`: any files by sacreBLEU's metrics and by a learned one."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from command_line import outcome
from metric_folders import marking_folder, metric_folder

from benchmarks.tiny_metrics import segments
from eval.metrics.overlap import chrf_of_sums, chrf_statistics
from eval.metrics.ranking import random_swaps, randomisation_p
from eval.metrics.significance import cluster_counts, paired_bootstrap
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
    (tmp_path / "ragged").write_text("reference\ta\nx\ty\nx\n", encoding="utf-8")
    (tmp_path / "twice").write_text("reference\ta\ta\nx\ty\tz\n", encoding="utf-8")
    (tmp_path / "out.gz").write_text("no gzip", encoding="utf-8")
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


def test_a_line_without_a_reference_text_has_the_ter_of_sacrebleu(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Past bug: words in place of nothing had a TER of 0, the best there is."""
    (files / "blank").write_text("\n".join(["", *REFERENCES[1:]]) + "\n", encoding="utf-8")
    (row,) = results(capsys, "--metric", "ter", "--outputs", files / "out", "--references", files / "blank")
    assert row["lines"][0] == sacrebleu.corpus_ter(OUTPUTS[:1], [[""]]).score == 100


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
        ("--metric {}/comet_folder --outputs {}/out --sources {}/src", "comet needs references; give --references"),
        ("--metric {}/comet_folder --outputs {}/out --references {}/ref", "comet needs sources; give --sources"),
        ("--metric chrf --outputs {}/out --references {}/ref --resamples 5", "an interval needs at least 100"),
        ("--metric chrf", "give --outputs FILE, what a system wrote, or --tsv FILE"),
        ("--metric chrf --tsv {}/out --outputs {}/out", "--tsv has all texts; leave out --outputs"),
        ("--metric chrf --tsv {}/out", "needs reference texts; give --references, or a column reference in --tsv"),
        ("--metric chrf --tsv {}/twice", "needs a header of different names"),
        ("--metric chrf --tsv {}/ragged", "ragged:3: has 1 columns, and the header has 2"),
        ("--metric chrf --outputs {}/out {}/out --references {}/ref", "--outputs: a file is named twice"),
        ("--metric chrf --outputs - --references -", "standard input (-) can be read once"),
        ("--metric chrf --outputs {}/out.gz --references {}/ref", "out.gz: is no gzip file"),
        ("--metric cosine:nothing --outputs {}/out --references {}/ref", "--metric: unknown encoder 'nothing'"),
    ],
)  # fmt: skip
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


def test_several_systems_are_compared_with_the_first(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Difference, interval and p are those of the two tests; the reference texts themselves are the best system."""
    paths = [files / "out", files / "ref2", files / "ref"]
    arguments = ["--metric", "chrf", "ter", "--outputs", *paths, "--references", files / "ref"]
    rows = results(capsys, *arguments)
    assert [(row["metric"], row["system"]) for row in rows] == [
        (metric, str(path)) for metric in ("chrf", "ter") for path in paths
    ]
    chrf = rows[:3]
    before, after = (chrf_statistics(own, [[text] for text in REFERENCES]) for own in (OUTPUTS, OTHER))
    groups = np.arange(4)
    counts, swaps = (draw(groups, np.random.default_rng(0), 200) for draw in (cluster_counts, random_swaps))
    expected = paired_bootstrap(before, after, chrf_of_sums, counts)
    change = chrf[1]["change"]
    assert chrf[0]["change"] is None and change["against"] == str(paths[0])
    assert [change[key] for key in ("difference", "low", "high")] == pytest.approx(
        [expected.difference, expected.low, expected.high]
    )
    assert change["p"] == pytest.approx(randomisation_p(before, after, chrf_of_sums, swaps))
    assert change["difference"] == pytest.approx(chrf[1]["score"] - chrf[0]["score"])
    assert all(row["rank"] == 1 for row in rows)  # four lines tell nothing apart
    assert main([*map(str, arguments)]) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[0] == f"chrf, n = 4; difference from {paths[0]}"
    assert text[2].startswith(f"  1. {paths[1]}  ") and ", p = " in text[2]
    assert text[5].startswith("ter, n = 4, lower is better; difference from")


def test_the_better_of_two_systems_has_the_first_rank(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, lines in (("many", REFERENCES * 10), ("bad", OTHER[::-1] * 10)):
        (files / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = results(
        capsys, "--metric", "ter", "--outputs", files / "bad", files / "many", "--references", files / "many"
    )
    assert [row["rank"] for row in rows] == [2, 1]
    assert rows[1]["change"]["high"] < 0 and rows[1]["change"]["p"] == pytest.approx(1 / 201)


def test_a_table_and_a_pipe_say_what_files_say(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also Windows line ends and gzip; the table of lines has a column for each metric and system."""
    header = "source\treference\treference_2\tmine\tother\n"
    body = zip(OUTPUTS[::-1], REFERENCES, OTHER, OUTPUTS, OTHER, strict=True)
    table = files / "all.tsv"
    table.write_bytes(
        (header + "".join("\t".join(row) + "\n" for row in body)).replace("\n", "\r\n").encode()
    )
    references = ["--references", files / "ref", files / "ref2"]
    by_files = results(capsys, "--metric", "chrf", "--outputs", files / "out", files / "ref2", *references)
    lines = files / "lines.tsv"
    by_table = results(capsys, "--metric", "chrf", "--tsv", table, "--segments", lines)
    assert [row["system"] for row in by_table] == ["mine", "other"]
    assert [row["lines"] for row in by_table] == [row["lines"] for row in by_files]
    rows = [line.split("\t") for line in lines.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == ["line", "chrf mine", "chrf other"] and len(rows) == 5
    assert float(rows[2][1]) == pytest.approx(by_table[0]["lines"][1], abs=1e-6)
    content = gzip.compress((files / "ref").read_bytes())
    (files / "ref.gz").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((files / "out").read_bytes())))
    (piped,) = results(
        capsys, "--metric", "chrf", "--outputs", "-", "--references", files / "ref.gz", files / "ref2"
    )
    assert piped["lines"] == by_files[0]["lines"]


def test_documents_are_drawn_as_a_whole(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two lines of one document: the interval is wider than that of four independent lines drawn alike."""
    (files / "docs").write_text("a\na\nb\nb\n", encoding="utf-8")
    arguments = ["--metric", "chrf", "--outputs", files / "out", "--references", files / "ref"]
    (row,) = results(capsys, *arguments, "--documents", files / "docs")
    statistics = chrf_statistics(OUTPUTS, [[text] for text in REFERENCES])
    halves = [float(chrf_of_sums(statistics[part].sum(axis=0))) for part in (slice(2), slice(2, 4))]
    assert (row["low"], row["high"]) == pytest.approx((min(halves), max(halves)))
