"""A report in headless Chromium at 1366 and 390 pixels, light and dark: it skips where there is none."""

from pathlib import Path
from typing import Any

import pytest
from browser import SIZES, measure
from invented_points import invented_study, write_points
from invented_run import change_results, write_run
from invented_tibetan import invented_items

from eval.report.write import write_report
from eval.study.report import write_study_report

SCRIPT = Path(__file__).with_name("measure_page.js").read_text(encoding="utf-8").partition("\n")[2]
ARABIC = "\u0645\u0631\u062d\u0628\u0627 x"
Json = dict[str, Any]


def tibetan_run(folder: Path) -> list[str]:
    """An invented run whose sources are of Tibetan script and of Arabic; its long words have no space."""
    run = write_run(folder)
    texts = [item.text * (12 if number % 7 == 0 else 1) for number, item in enumerate(invented_items(60))]

    def change(document: Json) -> None:
        items = document.get("items", [])
        for item, text in zip(items, texts, strict=False):
            item["source"] = text
        for item in items[::3]:
            item |= {"source": ARABIC, "source_language": "ar"}

    change_results(run, change)
    return texts


@pytest.fixture(scope="module", params=["light", "dark"])
def views(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    folder = tmp_path_factory.mktemp("page")
    texts = tibetan_run(folder)
    page, _, _ = write_report(folder)
    is_dark = request.param == "dark"
    found = measure(page, SCRIPT, folder, is_dark)
    common = {"texts": texts, "is_dark": is_dark}
    return {name: common | one for name, one in zip(SIZES, found, strict=True)}


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_the_page_even_unfolded(views: dict[str, Json], size: str) -> None:
    view = views[size]
    assert (view["room"], view["width"]) == (SIZES[size][0], SIZES[size][0])
    assert view["outside"] == [] and view["cut"] == []


@pytest.mark.parametrize("size", SIZES)
def test_the_first_screen_holds_the_answer_the_numbers_and_the_picture(
    views: dict[str, Json], size: str
) -> None:
    places = views[size]["places"]
    height = SIZES[size][1]
    assert places["answer"] < places["numbers"] < height and places["picture"] < height
    assert places["pictureEnd"] < places["table"]
    assert size == "phone" or places["pictureEnd"] < height
    assert views[size]["smallest"] >= 10
    assert views[size]["foldedHeight"] < 0.6 * views[size]["height"]


@pytest.mark.parametrize("size", SIZES)
def test_every_visible_text_has_contrast(views: dict[str, Json], size: str) -> None:
    view = views[size]
    assert view["checked"] > 500 and view["weak"] == []
    red = int(view["ground"].split("(")[1].split(",")[0])
    assert red < 60 if view["is_dark"] else red > 200


@pytest.mark.parametrize("size", SIZES)
def test_texts_of_tibetan_script_are_there_and_are_no_boxes(views: dict[str, Json], size: str) -> None:
    view = views[size]
    shown = [text for text, height in view["tibetan"] if height > 0]
    assert len(shown) == len(view["tibetan"]) > 15 and set(shown) <= set(view["texts"])
    if view["boxes"] == 3:
        pytest.skip("no font of Tibetan script here; install Debian's package fonts-noto-core")
    assert view["boxes"] == 0


@pytest.mark.parametrize("size", SIZES)
def test_filters_curves_and_directions_work(views: dict[str, Json], size: str) -> None:
    view = views[size]
    counts = view["filters"]
    assert [counts[f"g{number}"] for number in range(4)] == [10] * 4 and counts["all"] > 30
    assert view["focus"] and [value.split(":")[0] for value in view["values"]] == ["step 0", "step 39"]
    assert {(language, way) for language, way in view["directions"] if way == "rtl" or language == "ar"} == {
        ("ar", "rtl")
    }


def test_a_study_fits_too(tmp_path: Path) -> None:
    page, _, _ = write_study_report(write_points(tmp_path, invented_study((0, 1, 2))), resamples=50)
    for view, (width, height) in zip(measure(page, SCRIPT, tmp_path), SIZES.values(), strict=True):
        assert view["width"] == width and view["outside"] == view["cut"] == view["weak"] == []
        places = view["places"]
        assert (
            places["numbers"] < height
            and places["picture"] < height
            and places["pictureEnd"] < places["table"]
        )
