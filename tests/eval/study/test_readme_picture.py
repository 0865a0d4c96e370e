"""The README's picture: one file that needs nothing else, with the numbers of the study it is drawn from."""

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from repository import ROOT

from eval.readme_picture import MARKS, main, method_lines, picture

SUMMARY = ROOT / "docs" / "results" / "rivals.json"
SPACE = "{http://www.w3.org/2000/svg}"
MINUS = "\u2212"
Drawing = tuple[ElementTree.Element, str]


@pytest.fixture(scope="module")
def drawing() -> Drawing:
    svg, words = picture(json.loads(SUMMARY.read_text(encoding="utf-8")))
    return ElementTree.fromstring(svg), words


def test_a_method_has_its_best_arm_and_its_best_within_the_budget() -> None:
    summary = json.loads(SUMMARY.read_text(encoding="utf-8"))
    lines, left_out = method_lines(summary)
    arms = {line.name: [mark.cells[0] for mark in line.marks] for line in lines}
    assert next(iter(arms)) == "SFT + anchor + GRPO, 3 seeds" and left_out == ["SFT + ASFT", "SFT + DFT"]
    assert arms["SFT + replay, 2 seeds"] == ["replay_25_5e-5", "replay_25_1e-4"]
    assert arms["SFT + anchor, 3 seeds"] == ["sft_long_more_3e-5"] and arms["SFT + shield, one seed"] == [
        "shield_2e-4"
    ]
    assert arms["SFT + L2, 2 seeds"] == ["l2_weak_1e-4"]  # within the budget it gains 0.33 of 0.51
    gains = [line.marks[-1].y for line in lines]
    assert gains == sorted(gains, reverse=True) and min(gains) > 0.8 * max(gains)


def test_methods_stand_in_the_order_of_what_they_gain() -> None:
    summary = json.loads(SUMMARY.read_text(encoding="utf-8"))
    replay = next(row for row in summary["main_table"] if row["arm"] == "replay_25_1e-4")
    replay["gains"]["cosine_held_out"]["value"] = 0.6
    assert method_lines(summary)[0][0].name == "SFT + replay, 2 seeds"


def test_its_words_have_the_numbers_of_the_best_arms(drawing: Drawing) -> None:
    svg, words = drawing
    assert svg.findtext(f"{SPACE}desc") == words
    for text in (
        "500 test items, 95 % intervals",
        "SFT + anchor + GRPO, 3 seeds (sft_long_grpo): gain +0.514 (+0.482 to +0.545), tax +0.0740 (+0.0304 to +0.1108)",
        "SFT, 3 seeds (plain_long_3e-5): gain +0.504 (+0.470 to +0.536), tax +2.6341 (+2.2485 to +2.9413)",
        f"SFT + anchor + EWC, 3 seeds (anchored_ewc_1e-4): gain +0.449 (+0.418 to +0.480), tax {MINUS}0.0168",
    ):
        assert text in words


def test_points_stand_where_their_numbers_are(drawing: Drawing) -> None:
    """The places of three points within the budget are linear in their taxes and gains."""
    svg, _ = drawing
    places = {}
    for mark in svg.iter(f"{SPACE}g"):
        title = mark.findtext(f"{SPACE}title") or ""
        if title and (shape := mark.find(f"{SPACE}path")) is not None:
            found = re.findall(r"[\d.]+", shape.attrib["transform"])
            places[title.partition(":")[0]] = tuple(map(float, found))
    grpo, sft, ewc = (places[name] for name in ("sft_long_grpo", "sft_long_more_3e-5", "anchored_ewc_1e-4"))
    across = (grpo[0] - ewc[0]) / (sft[0] - ewc[0])
    up = (grpo[1] - ewc[1]) / (sft[1] - ewc[1])
    assert across == pytest.approx((0.074021 + 0.016768) / (0.072466 + 0.016768), rel=0.02)
    assert up == pytest.approx((0.514054 - 0.449225) / (0.499878 - 0.449225), rel=0.02)


def test_it_is_one_file_for_light_and_dark_and_a_phone(drawing: Drawing) -> None:
    svg, _ = drawing
    style = svg.findtext(f"{SPACE}style") or ""
    assert "@media (prefers-color-scheme: dark)" in style and style.count("--ground:") == 2
    classes = {name for one in svg.iter() for name in one.attrib.get("class", "").split()}
    assert {"c0", "c1", "c2", "span", "way", "limit", "page"} <= classes
    for name in classes - {"axis", "mark"}:
        assert re.search(rf"\.{name}\b[^{{}}]*{{", style), name
    assert not re.search(r"url\(|href|<script|@import", ElementTree.tostring(svg, encoding="unicode"))
    left, top, width, height = map(float, svg.attrib["viewBox"].split())
    assert (left, top, width) == (0, 0, 390) and height < 500
    texts = [one for one in svg.iter(f"{SPACE}text") if one.attrib.get("x") == "34"]
    assert len(texts) == 13
    assert all(34 + 6.2 * len(one.text or "") < width for one in texts)  # at 12 px a letter has 6 on average


def test_the_command_writes_file_and_place_from_a_folder_and_says_what_is_stale(tmp_path: Path) -> None:
    shutil.copy(SUMMARY, tmp_path / "summary.json")
    readme, svg = tmp_path / "README.md", tmp_path / "pictures" / "gain.svg"
    readme.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n", encoding="utf-8")
    command = [str(tmp_path), str(readme), "--svg", str(svg)]
    assert main([*command, "--check"]) == 1 and not svg.exists()
    assert main(command) == 0 and main([*command, "--check"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert "](pictures/gain.svg)\n" in text and "old" not in text and text.startswith("before\n")
    svg.write_text("<svg/>", encoding="utf-8")
    assert main([*command, "--check"]) == 1
    readme.write_text("nothing", encoding="utf-8")
    assert main(command) == 2
    (tmp_path / "summary.json").write_text("{}", encoding="utf-8")
    assert main(command) == 2
