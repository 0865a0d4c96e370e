"""The report of an invented run: every figure in it is generated here, none is a result."""

import base64
import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invented_run import RATES, change_results, write_run
from page_reader import Page
from repository import skipped_levels

from data.errors import InputError
from eval.report.plots import moving_average
from eval.report.samples import GROUPS, choose, samples
from eval.report.tables import time_table
from eval.report.wording import METRICS, direction, duration, plain_number, signed_number
from eval.report.write import result_table, write_report
from eval.run_folder import read_run
from eval.systems import write_json


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("run"))
    write_report(run)
    return run


@pytest.fixture(scope="module")
def page(complete: Path) -> str:
    return (complete / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def plain(complete: Path) -> str:
    return (complete / "report.md").read_text(encoding="utf-8")


@pytest.fixture
def run_copy(complete: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(complete, tmp_path / "run"))


def system_json(run: Path, name: str) -> dict[str, Any]:
    return json.loads((run / "eval" / f"{name}.json").read_text(encoding="utf-8"))


def test_page_markdown_and_console_hold_every_figure_of_every_system(
    complete: Path, page: str, plain: str
) -> None:
    console = result_table(complete)
    for name in RATES:
        for place, figures in system_json(complete, name)["metrics"].items():
            cells = [metric.value(figures[metric.key]) for metric in METRICS]
            assert "".join(f"<td>{cell}</td>" for cell in cells) in page, (name, place)
            assert " | ".join(cells) in plain, (name, place)
        overall = system_json(complete, name)["metrics"]["all"]
        assert re.search(
            r"\s+".join(re.escape(metric.value(overall[metric.key])) for metric in METRICS), console
        )


def test_differences_and_intervals_are_in_the_report(complete: Path, page: str) -> None:
    comparison = json.loads((complete / "eval" / "comparison.json").read_text(encoding="utf-8"))
    for place, differences in comparison["pairs"][0]["slices"].items():
        for metric in METRICS if place == "all" else METRICS[:4]:
            row = differences[metric.key]
            assert (
                f"<td>{metric.change(row['difference'])}</td><td>{metric.interval(row['low'], row['high'])}</td>"
                in page
            )


def test_probe_figures_signatures_times_and_manifest_are_in_the_report(complete: Path, page: str) -> None:
    probes = system_json(complete, "trained")["probes"]
    for text in (
        f"{probes['english']['bits_per_character']:.3f}",
        f"{100 * probes['capitals']['accuracy']:.1f} %",
        "tok:zh",
        "encoder:invented",
        "nc:6",
    ):
        assert text in page
    for text in (
        "1 min 15 s",
        "1 h 2 min",
        "Peak memory: 3.00 GiB",
        "2 min 0 s",
        "777",
        "1,234",
        "invented",
        "kl_coef",
    ):
        assert text in page
    for title in (
        "Warm start: loss",
        "Reward",
        "KL to the reference policy",
        "Completion length (tokens)",
        "Share of groups without variance",
    ):
        assert f"<figcaption>{title}</figcaption><svg" in page


def test_questions_lost_and_gained_are_in_the_report(complete: Path, page: str) -> None:
    """Counted here from the answers themselves."""
    before, after = (
        [row["right"] for row in system_json(complete, name)["probes"]["capitals"]["items"]]
        for name in ("untouched", "trained")
    )
    lost = sum(b and not a for b, a in zip(before, after, strict=True)) / sum(before)
    gained = sum(a and not b for b, a in zip(before, after, strict=True)) / (100 - sum(before))
    row = page.split("Untouched model \u2192 GRPO: Capital cities, accuracy</th>")[1].split("</tr>")[0]
    assert f"<td>{100 * lost:.1f} % (" in row and f"<td>{100 * gained:.1f} % (" in row
    assert 0 < lost < 1 and 0 < gained < 1


def test_corpus_tables_show_parts_origins_licences_and_the_rest_of_the_manifest(plain: str) -> None:
    assert "| Part | Pairs | Tibetan (bo) | Dzongkha (dz) |\n" in plain
    assert "| warm\\_start | 321 | 321 | 0 |\n| train | 1,234 | 1,000 | 234 |" in plain
    assert "| origin0 | none | 800 | 23 | 777 | 0 | 611 |" in plain
    assert "| duplicate | 20 |\n| empty | 3 |" in plain
    assert "| some-package | some.whl | ab12 |" in plain
    assert "| tokens.per\\_syllable | 2.9 |" in plain


def test_signatures_stand_under_the_console_table(complete: Path) -> None:
    console = result_table(complete)
    assert "bleu: nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:" in console
    assert "cosine: encoder:invented" in console


def test_page_is_one_balanced_document_that_fetches_nothing_and_runs_one_script_of_its_own(page: str) -> None:
    reader = Page(page)
    assert reader.open == []
    assert not any(map(reader.all, ("link", "img", "iframe", "object")))
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert len(reader.all("script")) == 1 and f"script-src 'sha256-{digest}'\"" in page
    assert 'name="viewport"' in page


def test_user_text_is_escaped(page: str, plain: str) -> None:
    assert page.count("<script") == 1 and "&lt;script&gt;alert(&quot;x&quot;)" in page
    assert "<script" not in plain.replace("\\<script", "") and "\\|\\[a\\]" in plain


def test_markdown_skips_no_heading_level(plain: str) -> None:
    assert "\n## The main numbers\n" in plain and plain.count("\n### ") > 10
    assert skipped_levels(plain) == []


def test_markdown_has_no_heading_above_pictures_alone(page: str, plain: str) -> None:
    assert "<h2>Training curves</h2>" in page
    assert "\n## Samples\n" in plain and "Training curves" not in plain


def test_markdown_tables_have_as_many_cells_in_every_row(plain: str) -> None:
    widths: list[int] = []
    for line in [*plain.splitlines(), ""]:
        if line.startswith("|"):
            widths.append(len(re.findall(r"(?<!\\)\|", line)))
        else:
            assert len(set(widths)) <= 1
            widths = []


def test_report_is_the_same_each_time(run_copy: Path) -> None:
    write_report(run_copy)
    before = {name: (run_copy / name).read_bytes() for name in ("report.html", "report.md", "summary.json")}
    write_report(run_copy)
    assert before == {name: (run_copy / name).read_bytes() for name in before}


def test_summary_holds_full_precision_and_no_items(complete: Path) -> None:
    summary = json.loads((complete / "summary.json").read_text(encoding="utf-8"))
    assert summary["metrics"]["trained"] == system_json(complete, "trained")["metrics"]
    assert summary["training"]["last_train"]["step"] == 59
    assert summary["phase_seconds"]["train"] == {"rollout": 120.0, "reward": 15.0}
    assert '"items"' not in json.dumps(summary)


def test_samples_show_every_reference_text(run_copy: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        for item in document.get("items", []):
            item["references"] = [item["reference"], f"other of {item['id']}"]

    change_results(run_copy, change)
    shown = samples(read_run(run_copy))
    texts = [[text for label, _, text in sample.parts if label == "Reference text"] for sample in shown]
    assert [sum(group in sample.groups for sample in shown) for group in GROUPS] == [10] * 4
    assert [two[1] for two in texts] == [f"other of {sample.title[:8]}" for sample in shown]


def test_samples_are_ten_gains_ten_losses_ten_others() -> None:
    changes = {f"{number:03d}": (number - 50) / 100 for number in range(101)}
    best, worst, others = choose(changes)
    assert best == [f"{number:03d}" for number in range(100, 90, -1)]
    assert worst == [f"{number:03d}" for number in range(10)]
    assert len({*best, *worst, *others}) == 30
    assert choose(dict(reversed(changes.items()))) == (best, worst, others)


def test_few_items_are_shown_once_and_no_loss_is_called_a_gain() -> None:
    best, worst, others = choose({"a": 0.1, "b": 0.2, "c": 0.0})
    assert (best, worst, others) == (["b", "a"], [], ["c"])


def test_a_run_with_sft_only_says_what_is_missing(tmp_path: Path) -> None:
    run = write_run(tmp_path, systems=("untouched", "warm_start"))
    write_report(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    for sentence in (
        "No GRPO metrics",
        "Not evaluated: Translation memory, GRPO.",
        "GRPO was not compared with the warm start.",
        "No verdict on GRPO",
    ):
        assert sentence in page
    assert "General competence, Warm start (SFT) against the untouched model" in page
    assert "No verdict on GRPO" in result_table(run)


def test_a_run_that_only_began_still_has_a_report(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"seed": 0})
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not evaluated: Untouched model, Translation memory, Warm start (SFT), GRPO." in page
    assert "No corpus.json." in page and "No general-competence probes." in page


def remove_key(run: Path) -> None:
    document = system_json(run, "trained")
    del document["metrics"]["all"]["cosine"]
    write_json(run / "eval" / "trained.json", document)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: shutil.rmtree(run), "no such run folder"),
        (lambda run: (run / "config.json").unlink(), "not a run folder, it has no config.json"),
        (lambda run: (run / "config.json").write_text("{"), "config.json: not a readable JSON file"),
        (lambda run: (run / "timings.json").write_text("[]"), "timings.json: must hold a JSON object {...}, not list"),
        (
            lambda run: (run / "metrics.jsonl").write_text('{"stage": "sft", "step": 0}\n{"sta'),
            r"metrics.jsonl:2: not a readable JSON file",
        ),
        (lambda run: (run / "metrics.jsonl").write_text('{"step": 0}\n'), r"metrics.jsonl:1: a row needs"),
        (
            lambda run: (run / "eval" / "trained.json").write_text('{"system": "trained"}'),
            "trained.json: key 'target_language' is missing",
        ),
        (lambda run: (run / "corpus.json").write_bytes(b"\xff\xfe\xff"), "corpus.json: not a readable JSON file"),
        (remove_key, r"run/eval/trained.json is damaged \(KeyError: 'cosine'\)"),
    ],
)  # fmt: skip
def test_a_damaged_run_folder_is_named_in_one_sentence(
    run_copy: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(run_copy)
    for function in (write_report, result_table):
        with pytest.raises(InputError, match=message):
            function(run_copy)


def test_damage_that_the_views_of_a_run_share_is_named(run_copy: Path) -> None:
    """Past bugs: "more than one part", for the log of the tax, and for settings where there is a further test set."""
    (run_copy / "eval" / "more").mkdir()
    for path in (run_copy / "eval").glob("*.json"):
        shutil.copy(path, run_copy / "eval" / "more")
    log = (run_copy / "metrics.jsonl").read_text(encoding="utf-8")
    (run_copy / "metrics.jsonl").write_text(f'{log}{{"stage": "train_tax", "step": 0}}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"run/metrics\.jsonl is damaged \(KeyError: 'rolled_back'\)"):
        write_report(run_copy)
    (run_copy / "metrics.jsonl").write_text(log, encoding="utf-8")
    write_json(run_copy / "config.json", {"seed": 0, "reward": 3})
    with pytest.raises(InputError, match=r"run/config\.json is damaged \(AttributeError"):
        write_report(run_copy)


def test_not_a_number_metrics_are_left_out_of_curves(run_copy: Path) -> None:
    rows = [
        {"stage": "train", "step": step, "reward_mean": math.nan if step == 2 else 1.0, "seconds": {}}
        for step in range(3)
    ]
    (run_copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_report(run_copy)
    assert "<figcaption>Reward</figcaption><svg" in (run_copy / "report.html").read_text(encoding="utf-8")
    assert (
        json.loads((run_copy / "summary.json").read_text(encoding="utf-8"))["training"]["last_train"][
            "reward_mean"
        ]
        is None
    )


def test_of_a_step_written_twice_the_last_row_counts(run_copy: Path) -> None:
    rows = [
        {"stage": "train", "step": 0, "reward_mean": 1.0},
        {"stage": "train", "step": 0, "reward_mean": 2.0},
    ]
    (run_copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert [row["reward_mean"] for row in read_run(run_copy).train] == [2.0]


@pytest.mark.parametrize(("kind", "of"), [("cpu", ""), ("gpu", " of the accelerator")])
def test_peak_memory_is_that_of_the_device(run_copy: Path, kind: str, of: str) -> None:
    run = replace(read_run(run_copy), environment={"device_type": kind})
    assert time_table(run).notes == (f"Peak memory{of}: 3.00 GiB",)


def test_wording_of_figures() -> None:
    assert [signed_number(value, 2) for value in (0.004, -0.004, 0.5, -0.5)] == [
        "0.00",
        "0.00",
        "+0.50",
        "\u22120.50",
    ]
    assert [duration(value) for value in (8.25, 59.96, 75, 7500)] == [
        "8.2 s",
        "1 min 0 s",
        "1 min 15 s",
        "2 h 5 min",
    ]
    assert [plain_number(value) for value in (True, None, 12345, 1e-5, [1, 2], "x")] == [
        "yes",
        "-",
        "12,345",
        "1e-05",
        "1, 2",
        "x",
    ]
    assert [
        direction({"low": low, "high": high})
        for low, high in ((0.1, 0.2), (-0.1, 0.2), (-0.2, -0.1), (0.0, 0.1))
    ] == [1, 0, -1, 0]
    assert moving_average([1, 3, 5], 1) == [2, 3, 4]


@pytest.mark.parametrize(("method", "name"), [("sft", "SFT"), ("best_of_group", "Best of group")])
def test_a_run_of_imitation_is_not_called_grpo(run_copy: Path, method: str, name: str) -> None:
    config = run_copy / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    write_json(config, values | {"train": values.get("train", {}) | {"method": method}})
    write_report(run_copy)
    plain = (run_copy / "report.md").read_text(encoding="utf-8")
    assert "GRPO" not in plain
    assert f"## {name} minus warm start" in plain and f"By embedding cosine, {name} " in plain
    assert len(read_run(run_copy).train) > 0
