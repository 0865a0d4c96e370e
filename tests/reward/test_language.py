"""The language term, with an invented detector; and with the real one where it is installed."""

import importlib

import pytest
import torch

import reward.language as module
from data.errors import InputError
from reward.language import language

TSHEG = "\u0f0b"
LONG = TSHEG.join(["ཀ"] * 12)


@pytest.fixture
def fake_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts with a kha are Tibetan, with a ga undecided, all others Dzongkha."""
    monkeypatch.setattr(
        module, "detector", lambda: lambda text: "bo" if "ཁ" in text else "un" if "ག" in text else "dz"
    )


def language_values(completion: str, *references: str, target: str = "dz") -> float:
    return language(["s"], [completion], [list(references or ["ཀ"])], target_language=target).item()


def test_another_language_is_0_and_the_wanted_one_1(fake_detector: None) -> None:
    values = language(["s"] * 2, [LONG, LONG + TSHEG + "ཁ"], [["ཀ"]] * 2, target_language="dz")
    assert torch.equal(values, torch.tensor([1.0, 0.0]))
    assert language_values(LONG, "ཁ", target="bo") == 0


def test_undecided_and_short_texts_are_neutral(fake_detector: None) -> None:
    assert language_values(LONG + TSHEG + "ག") == 1
    eleven = TSHEG.join(["ཁ"] * 11)
    assert language_values(eleven) == 1 and language_values(eleven + TSHEG + "ཁ") == 0
    assert language_values("") == 1


def test_a_misread_reference_text_still_gets_1(fake_detector: None) -> None:
    misread = LONG + TSHEG + "ཁ"
    assert language_values(misread, LONG) == 0 and language_values(misread, LONG, misread) == 1


def test_a_tag_is_compared_by_its_language(fake_detector: None) -> None:
    assert (
        language_values(LONG, target="dzo_Tibt") == language_values(LONG, target="dz-BT") == 1
        and language_values(LONG, "ཁ", target="bod") == 0
    )


def test_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    module.detector.cache_clear()
    with pytest.raises(
        InputError, match=r"reward term 'language' needs a package .* type: pip install pycld2==0\.42"
    ):
        language([], [], [], target_language="dz")


@pytest.mark.real
def test_real_detector_tells_languages_and_survives_odd_characters() -> None:
    pytest.importorskip("pycld2", reason="pycld2 is not installed; `pip install pycld2==0.42`")
    module.detector.cache_clear()
    identify = module.detector()
    english = "The file could not be opened because it is in use by another program."
    chinese = "无法打开该文件，因为它正被另一个程序使用。"
    assert (identify(english), identify(chinese), identify("")) == ("en", "zh", "un")
    assert identify("כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם") == "he"  # the package says iw
    assert identify(english + "\x00\ud800\u200b") == "en"
    assert (
        language_values(english, english, target="zh") == 1
        and language_values(english, chinese, target="zh") == 0
    )
