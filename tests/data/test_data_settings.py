"""Settings of [data]: what follows from them, how files and overrides reach them, and which are refused."""

import pytest
from repository import CONFIGS

from data.config import DataConfig, check
from data.errors import InputError
from grpo.config_file import load_config


def test_target_script_is_of_the_new_reference_texts_where_the_sides_change() -> None:
    config = DataConfig(
        corpus="a.tsv", source_language="qu", target_language="es", reverse=True, target_script="Latn"
    )
    assert config.completion_language == "qu-Latn" and config.column_languages == ("qu-Latn", "es")


@pytest.mark.parametrize("script", ["latn", "LATN", "Latn"])
def test_the_case_of_a_script_is_free(script: str) -> None:
    config = DataConfig(corpus="a.tsv", target_language="qu", target_script=script)
    assert config.completion_language == "qu-Latn" and config.completion_setting == "data.target_language"
    assert DataConfig(corpus="a.tsv", reverse=True).completion_setting == "data.source_language"


def test_settings_of_files_and_overrides_reach_the_data_section() -> None:
    configs = CONFIGS
    data = load_config(configs / "zh_dz.toml").data
    assert (data.corpus, data.reverse, data.languages, data.completion_language) == (
        "tibetan",
        True,
        ("dz",),
        "dz",
    )
    assert load_config(configs / "zh_dz.toml", ['data.languages=["bo"]']).data.completion_language == "bo"
    assert load_config(configs / "headline.toml").data.completion_language == "dz"
    # no user's corpus
    assert load_config(configs / "mt.toml", ["data.target_language=en"]).data.completion_language == "zh"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corpus": ""}, r"data\.corpus is empty; name a file of pairs, or write data\.corpus=tibetan"),
        ({"languages": ("ug",)}, r"data\.languages: 'ug' is not in the built-in corpus, which has bo, dz"),
        ({"corpus": "headlines", "reverse": True}, r"data\.reverse=true: headlines are not turned round; leave it out"),
        ({"reverse": True}, r"data\.reverse=true, data\.languages=\[\]: .* write data\.languages=\[\"dz\"\] or \[\"bo\"\]"),
        ({"reverse": True, "languages": ("dz", "bo")}, r"one target language; write data\.languages"),
        ({"near_duplicate": 0.0}, r"data\.near_duplicate = 0\.0: must be at least 1e-06"),
        ({"warm_start_share": 1.5}, r"data\.warm_start_share = 1\.5: must be at most 1"),
        ({"min_source_units": 9, "max_source_units": 8}, r"data\.min_source_units=9, data\.max_source_units=8"),
        ({"test_size": -1}, r"data\.test_size = -1: must be at least 0"),
        ({"target_script": "Latn"}, r"data\.target_script=Latn: the script of data\.corpus=tibetan is known; leave it out"),
        ({"corpus": "headlines_en", "target_script": "Latn"}, r"data\.target_script=Latn: the script of data\.corpus=headlines_en"),
        ({"corpus": "a.tsv", "target_script": "Latin"}, r"data\.target_script=Latin: known scripts are Adlm, Arab, .*Latn"),
        ({"corpus": "a.tsv", "target_script": "Latin"}, r"Vaii, Wcho, Yiii; write \"Latn\"$"),
        ({"source_language": "english"}, r"data\.source_language=english: a code is needed; write \"en\"$"),
        ({"target_language": "Vietnamse"}, r"data\.target_language=Vietnamse: a code is needed; write \"vi\"$"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(DataConfig(**settings))  # type: ignore[arg-type]
