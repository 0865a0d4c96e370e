"""The README's picture: one file that needs nothing else, with the numbers of the study it is drawn from."""

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from repository import ROOT

from eval.readme_picture import MARKS, main, picture, picture_rows

SUMMARY = ROOT / "docs" / "results" / "study_cpu.json"
SPACE = "{http://www.w3.org/2000/svg}"
MINUS = "\u2212"
Drawing = tuple[ElementTree.Element, str]


@pytest.fixture(scope="module")
def drawing() -> Drawing:
    svg, words = picture(json.loads(SUMMARY.read_text(encoding="utf-8")))
    return ElementTree.fromstring(svg), words


def test_it_has_the_main_arm_and_the_best_of_each_rival_method() -> None:
    rows = picture_rows(json.loads(SUMMARY.read_text(encoding="utf-8")))
    last = {row["arm"]: row for row in rows}
    assert list(last) == ["warm_start", "grpo", "sft_1e-5", "best_of_group_1e-5"]
    every = json.loads(SUMMARY.read_text(encoding="utf-8"))["checkpoints"]
    others = [row for row in every if row["kind"] == "sft"]
    best = last["sft_1e-5"]["gains"]["cosine_held_out"]["value"]
    assert len({row["arm"] for row in others}) > 3
    assert best == max(row["gains"]["cosine_held_out"]["value"] for row in others if row["step"] == 40)


def test_its_words_have_the_numbers_of_the_last_checkpoints(drawing: Drawing) -> None:
    """By hand, of the committed figures: 0.167631 - 0.159496 and so on."""
    svg, words = drawing
    assert svg.findtext(f"{SPACE}desc") == words
    for text in (
        "200 test items, 95 % intervals",
        f"grpo, step 40 of 40: gain +0.008 ({MINUS}0.011 to +0.026), tax +0.1015 (+0.0524 to +0.1411)",
        "sft_1e-5, step 40 of 40: gain +0.022 (+0.005 to +0.039), tax +0.0894 (+0.0445 to +0.1256)",
        "Warm start (SFT): tax +0.0843 (+0.0492 to +0.1133)",
    ):
        assert text in words


def test_points_stand_where_their_numbers_are(drawing: Drawing) -> None:
    """The places of three points are linear in their taxes and gains."""
    svg, _ = drawing
    places = {}
    for mark in svg.iter(f"{SPACE}g"):
        title = mark.findtext(f"{SPACE}title") or ""
        shape = mark.find(f"{SPACE}path")
        if "step 40" in title or "Warm start" in title:
            assert shape is not None
            found = re.findall(r"[\d.]+", shape.attrib["transform"])
            places[title.split(",")[0].split(" ")[0]] = tuple(map(float, found))
    start, grpo, sft = (places[name] for name in ("Warm", "grpo", "sft_1e-5"))
    across = (grpo[0] - start[0]) / (sft[0] - start[0])
    up = (grpo[1] - start[1]) / (sft[1] - start[1])
    assert across == pytest.approx((0.1015 - 0.0843) / (0.0894 - 0.0843), rel=0.02)
    assert up == pytest.approx(0.008135 / 0.02182, rel=0.02)


def test_it_is_one_file_for_light_and_dark_and_a_phone(drawing: Drawing) -> None:
    svg, _ = drawing
    style = svg.findtext(f"{SPACE}style") or ""
    assert "@media (prefers-color-scheme: dark)" in style and style.count("--ground:") == 2
    classes = {name for one in svg.iter() for name in one.attrib.get("class", "").split()}
    assert {"c0", "c1", "c2", "ink", "span", "way", "limit", "page"} <= classes
    for name in classes - {"axis", "mark"}:
        assert re.search(rf"\.{name}\b[^{{}}]*{{", style), name
    assert not re.search(r"url\(|href|<script|@import", ElementTree.tostring(svg, encoding="unicode"))
    left, top, width, height = map(float, svg.attrib["viewBox"].split())
    assert (left, top, width) == (0, 0, 390) and height < 500
    texts = [one for one in svg.iter(f"{SPACE}text") if one.attrib.get("x") == "34"]
    assert len(texts) == 5
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
