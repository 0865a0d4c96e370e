"""report.html, report.md and summary.json of invented studies: every figure in them is generated here, none
is a result.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from invented_points import invented_study, study_report, target_items
from page_reader import Page

from data.errors import InputError
from eval.readme_table import CLOSE, OPEN, WIDTH, method_table
from eval.readme_table import main as readme_table
from eval.study.tables import all_tables

Json = dict[str, Any]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_report_has_every_part_and_stays_one_closed_page(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    page, plain, summary = study_report(tmp_path, invented_study(seeds))
    assert Page(page).open == []
    assert page.count("<figure>") == 4 and "http-equiv" in page and page.count("<script") == 1
    for title in (
        "Target scores",
        "Alignment tax",
        "At an equal target score",
        "Ablations",
        "Controls",
        "Tax budget",
        "Cost",
        "Samples",
    ):
        assert f"<h2>{title}</h2>" in page and f"## {title}" in plain
    assert " ".join(summary["conclusions"])[:80] in page
    front = [
        "Untouched model",
        "Warm start (SFT)",
        *(f"grpo, step {step} of 20" for step in (10, 20)),
        "sft_high, step 20 of 20",
    ]
    assert f"by rising Held-out cosine and tax: {'; '.join(front)}." in page
    assert summary["seeds"] == list(seeds) and len(summary["checkpoints"]) == 10


def test_the_summary_holds_no_test_item(tmp_path: Path) -> None:
    points = invented_study()
    _, _, summary = study_report(tmp_path, points)
    text = json.dumps(summary, ensure_ascii=False)
    assert target_items([0.5])[0]["reference"] not in text and "item-0" not in text and "text-0" not in text
    assert len(text) < 60_000
    lines = (tmp_path / "summary.json").read_text(encoding="utf-8").splitlines()
    one_line_each = [line for line in lines if '"step": ' in line and '"num_steps": 20' in line]
    assert len(one_line_each) == len(summary["checkpoints"])
    assert max(len(number) for number in re.findall(r"\.(\d+)", text)) < 10


def test_every_sample_shows_the_last_output_of_every_arm(tmp_path: Path) -> None:
    _, plain, _ = study_report(tmp_path, invented_study())
    samples = plain.split("## Samples")[1].split("\n- item")[1:]
    assert len(samples) == 6
    arms = ["grpo", "held", "no_kl", "noise", "sft_high", "sft_low", "self"]
    for sample in samples:
        assert re.findall(r"- (.+): 天地人", sample.replace("\\", "")) == [
            "Reference text",
            "Warm start (SFT)",
            *arms,
        ]
        assert "grpo: 天地人山水\n" in sample  # half of the reference text: step 20, not step 10


@pytest.mark.parametrize(
    "missing", ["untouched", "warm_start", "grpo", "sft_low", "self", "noise", "held", "no_kl"]
)
def test_a_study_without_one_arm_is_reported_without_it(tmp_path: Path, missing: str) -> None:
    page, _, summary = study_report(
        tmp_path, [point for point in invented_study() if point["arm"] != missing]
    )
    assert f">{missing}, step" not in page and f">{missing}</th><td>0</td>" not in page
    expected_gaps = {
        "untouched": "no change of the probes",
        "warm_start": "No warm start of seed 0",
        "self": "No best_of_group arm",
    }
    assert missing not in expected_gaps or any(expected_gaps[missing] in gap for gap in summary["gaps"])


def test_seeds_that_an_arm_lacks_are_named(tmp_path: Path) -> None:
    points = [point for point in invented_study((0, 1, 2)) if point["arm"] != "self" or point["seed"] == 1]
    _, _, summary = study_report(tmp_path, points)
    assert "self: not run with seed 0, 2." in summary["gaps"]
    row = next(row for row in summary["checkpoints"] if row["arm"] == "self")
    assert (row["seeds"], row["tax"]["value"]) == ([1], pytest.approx(0.031))


def write_transfer(study: Path, **scores: list[float]) -> None:
    """Results on another task, after 50 examples, by start."""
    (study / "transfer").mkdir()
    target = invented_study()[0]["target"]
    for start, own in scores.items():
        one = {"start": start, "examples": 50, "seed": 0, "target": {**target, "items": target_items(own)}}
        (study / "transfer" / f"{start}-50-seed0.json").write_text(json.dumps(one), encoding="utf-8")


def test_transfer_and_judgements_become_tables(tmp_path: Path) -> None:
    write_transfer(tmp_path, untouched=[0.2] * 4, grpo=[0.5] * 4)
    (tmp_path / "judge").mkdir()
    shares = {
        "win": 0.5,
        "tie": 0.25,
        "loss": 0.25,
        "win_interval": [0.4, 0.6],
        "loss_interval": [0.15, 0.35],
    }
    about = {"before": "sft_high", "after": "grpo", "judge": "local:x", "n": 40}
    judgement = {**about, **shares, "items": [{"id": "secret"}]}
    (tmp_path / "judge" / "a.json").write_text(json.dumps(judgement), encoding="utf-8")
    _, plain, summary = study_report(tmp_path, invented_study())
    assert "| 50 examples from grpo | 0 | 4 | 0.600 | 0.500 |" in plain
    (pair,) = summary["transfer"]["pairs"]
    assert (pair["second"], pair["first"], pair["changes"]["cosine_held_out"]["value"]) == (
        "grpo",
        "untouched",
        pytest.approx(0.3),
    )
    assert "with 50 examples better than untouched (+0.300" in summary["conclusions"][-2]
    assert (
        "| grpo against sft\\_high | local:x | 40 | 50.0 % | 25.0 % | 25.0 % | 40.0 % to 60.0 % | 15.0 % to 35.0 % |"
        in plain
    )
    assert "secret" not in json.dumps(summary)


def test_transfer_runs_on_other_test_items_are_refused(tmp_path: Path) -> None:
    write_transfer(tmp_path, untouched=[0.5] * 4, grpo=[0.5] * 5)
    with pytest.raises(
        InputError,
        match=r"transfer/untouched-50-seed0\.json: other test items than transfer/grpo-50-seed0\.json",
    ):
        study_report(tmp_path, invented_study())


def test_matched_cost_is_visible(tmp_path: Path) -> None:
    _, _, summary = study_report(tmp_path, invented_study())
    rows = {row[0].rstrip(" *"): row[1:] for row in all_tables(summary)["Cost"][0].rows}
    assert rows["grpo, step 10 of 20"] == ("grpo", "80", "9,000", "10", "25")
    assert rows["sft_low, step 20 of 20"] == ("sft", "160", "18,000", "20", "50")


def test_the_readme_table_is_rewritten_and_its_staleness_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_report(tmp_path, invented_study((0, 1, 2)))
    readme = tmp_path / "README.md"
    summary = tmp_path / "summary.json"
    readme.write_text(f"# x\n\n{OPEN}\nold\n{CLOSE}\nafter\n", encoding="utf-8")
    command = [str(summary), str(readme)]
    assert readme_table([*command, "--check"]) == 1
    assert "old" in readme.read_text(encoding="utf-8")
    assert readme_table(command) == 0 and readme_table([*command, "--check"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# x\n\n{OPEN}\n| system | Held-out cosine | chrF |") and text.endswith(
        f"{CLOSE}\nafter\n"
    )
    assert (
        "| grpo, 20 steps | +0.200 (+0.200 to +0.200) | +15.10 (+15.10 to +15.10) | +0.0210 (+0.0185 to +0.0235) | GRPO |"
        in text
    )
    assert (
        "| Warm start (SFT) | 0.300 | 25.59 |" in text and "| SFT on the reference texts, lr 1e-5 |" in text
    )
    assert "| GRPO, tax budget 0.02 |" in text and "| SFT on the best of its own samples |" in text
    assert "12 test items, seeds 0, 1, 2" in text and "nc:6" in text
    assert "no_kl" not in text and "noise" not in text and "old" not in text
    assert max(map(len, text[text.index("12 test") :].splitlines())) <= WIDTH
    summary.write_text(summary.read_text(encoding="utf-8").replace('"n": 12', '"n": 13'), encoding="utf-8")
    assert readme_table([*command, "--check"]) == 1
    capsys.readouterr()


def test_the_readme_table_of_methods(tmp_path: Path) -> None:
    """SFT's best arm pays more than the budget of 0.05, and it has no other within; another arm of GRPO is."""
    study_report(tmp_path, invented_study((0, 1, 2)))
    readme = tmp_path / "README.md"
    readme.write_text(f"{OPEN}\n{CLOSE}\n", encoding="utf-8")
    assert readme_table([str(tmp_path / "summary.json"), str(readme), "--rows", "methods"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert (
        "| method | Held-out cosine, gain | tax, nats per token | Held-out cosine, gain within a tax of 0.05 |"
        in text
    )
    assert "| SFT | +0.300 (+0.300 to +0.300) | +0.0610 (+0.0603 to +0.0620) | - | - |" in text
    assert (
        "| Other GRPO | +0.150 (+0.150 to +0.150) | +0.0510 (+0.0503 to +0.0520) | +0.050 (+0.050 to +0.050) |"
        in text
    )
    assert "12 test items, seeds 0, 1, 2" in text


def test_an_arm_of_fewer_seeds_than_the_study_says_how_many() -> None:
    figure = {"value": 0.25, "low": 0.2, "high": 0.3}
    rows = [
        {
            "price": "end",
            "method": f"with {count}",
            "seeds": [*range(count)],
            "tax": figure,
            "gains": {"chrf": figure},
        }
        for count in (1, 2, 3)
    ]
    summary = {
        "main_table": rows,
        "target": "chrf",
        "budget": 0.5,
        "n": 12,
        "seeds": [0, 1, 2],
        "signatures": {},
    }
    found = [row.split(" | ")[1].partition(")")[2] for row in method_table(summary).splitlines()[2:5]]
    assert found == [", one seed", ", 2 seeds", ""]


def test_a_readme_without_markers_and_what_is_no_summary_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_report(tmp_path, invented_study())
    readme = tmp_path / "README.md"
    other = tmp_path / "other.json"
    readme.write_text(f"{CLOSE} {OPEN}", encoding="utf-8")
    other.write_text("{}", encoding="utf-8")
    assert readme_table([str(tmp_path / "summary.json"), str(readme)]) == 2
    assert readme_table([str(other), str(readme)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "must each be there once" in lines[0] and "no summary of a study" in lines[1]
