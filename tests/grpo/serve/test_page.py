"""The page of a server in headless Chromium at 1366 and 390 pixels, light and dark: it skips where there is none."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import SIZES, found_at, harness_of
from plain_vectors import PlainEncoder
from tiny_server import Json, serving, write_run

from data.template import Wording
from grpo.serve.http_server import Handler, Server
from grpo.serve.routes import ROUTES

pytestmark = pytest.mark.usefixtures("own_cache")
SCRIPT = Path(__file__).with_name("measure_page.js").read_text(encoding="utf-8").partition("\n")[2]


def all_but_one_alike(texts: Sequence[str]) -> torch.Tensor:
    """Vectors by which all texts but one are alike."""
    return torch.tensor([[0.6, 0.8] if text == "nearly" else [1.0, 0.0] for text in texts])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("page") / "run", ("ug", "zh", "mt"), Wording(), 60)


def harness_page(handler: Handler) -> None:
    """The harness, at an address of the server: a page may measure frames of its own place alone."""
    harness = harness_of("/", SCRIPT)
    handler.send(200, "text/html; charset=utf-8", harness.encode(), {})


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grpo.serve.similarity.load_encoder", lambda *_: PlainEncoder(all_but_one_alike))
        patch.setitem(ROUTES, ("GET", "/harness"), harness_page)
        with serving(run) as one:
            yield one


@pytest.fixture(scope="module", params=["light", "dark"])
def views(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Json]:
    is_dark = request.param == "dark"
    found = found_at(f"{server.url}/harness", tmp_path_factory.mktemp("chromium"), is_dark)
    return {name: {"is_dark": is_dark, **view} for name, view in zip(SIZES, found, strict=True)}


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_and_every_text_has_contrast(views: dict[str, Any], size: str) -> None:
    view = views[size]
    assert (view["room"], view["width"]) == (SIZES[size][0], SIZES[size][0])
    assert view["outside"] == [] and view["weak"] == [] and view["checked"] > 15
    red = int(view["ground"].split("(")[1].split(",")[0])
    assert red < 60 if view["is_dark"] else red > 200
    assert view["small"] == [] and view["nameless"] == []


@pytest.mark.parametrize("size", SIZES)
def test_outputs_and_cosines_appear_and_directions_are_right(views: dict[str, Any], size: str) -> None:
    view = views[size]
    assert [name for name, _, _ in view["outputs"]] == ["most likely", "sample 1", "sample 2", "sample 3"]
    assert all(text for _, text, _ in view["outputs"])
    assert [facts.rpartition(", ")[2] for _, _, facts in view["outputs"]] == ["cosine 0.600"] * 4
    assert view["status"] == "4 outputs, seed 5"
    assert view["directions"] == ["rtl", "ltr", "ltr"]


@pytest.mark.parametrize("size", SIZES)
def test_a_refusal_is_shown(views: dict[str, Any], size: str) -> None:
    assert views[size]["problem"].startswith("This server takes no text longer than")
