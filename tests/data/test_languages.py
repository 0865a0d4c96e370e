"""Languages by their tags: the script, the English name, and what is said of a tag that is none."""

import pytest

from data.config import DataConfig, check
from data.errors import InputError
from data.language_names import is_language, language_meant, language_name, short_name
from data.script import is_script, known_code, known_script, parse_tag, primary, script_of, unit_name


def codes_in(text: str) -> list[str]:
    """The codes in a text, each once."""
    return list(dict.fromkeys(text.split()))


FLORES_BY_SCRIPT = {
    "Arab": "ace acm acq aeb ajp apc arb ars ary arz azb bjn ckb kas knc min pbt pes prs snd uig urd",
    "Latn": (
        "ace afr als aka arb ast ayr azj bam ban bem bjn bos bug cat ceb ces cjk crh cym dan deu dik dyu eng epo est eus ewe fao fij "
        "fin fon fra fur fuv gaz gla gle glg grn hat hau hrv hun ibo ilo ind isl ita jav kab kac kam kbp kea kik kin kmb kmr knc kon "
        "lij lim lin lit lmo ltg ltz lua lug luo lus lvs min mlt mos mri nld nno nob nso nus nya oci pag pap plt pol por quy ron run "
        "sag scn slk slv smo sna som sot spa srd ssw sun swe swh szl taq tgl tpi tsn tso tuk tum tur twi umb uzn vec vie war wol xho "
        "yor zsm zul"
    ),
    "Cyrl": "bak bel bul kaz khk kir mkd rus srp tat tgk ukr",
    "Deva": "awa bho hin hne kas mag mai mar npi san",
    "Beng": "asm ben mni", "Tibt": "bod dzo", "Ethi": "amh tir", "Hebr": "heb ydd", "Grek": "ell", "Gujr": "guj", "Armn": "hye",
    "Geor": "kat", "Knda": "kan", "Khmr": "khm", "Laoo": "lao", "Mlym": "mal", "Mymr": "mya shn", "Orya": "ory", "Guru": "pan",
    "Olck": "sat", "Sinh": "sin", "Taml": "tam", "Telu": "tel", "Tfng": "taq tzm", "Thai": "tha",
}  # fmt: skip
FLORES = {f"{code}_{script}": script for script, codes in FLORES_BY_SCRIPT.items() for code in codes.split()}
FLORES |= {
    "zho_Hans": "Hani", "zho_Hant": "Hani", "yue_Hant": "Hani", "kor_Hang": "Hang", "jpn_Jpan": "Hani+Hira+Kana", "nqo_Nkoo": "Nkoo",
}  # fmt: skip
OTHER_CODES = codes_in(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el "
    "en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu "
    "ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na "
    "nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so "
    "sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
    "ace ach ady agq ain aii aln amo ang anp arc arn arq arw asa ast avk awa aym bal ban bar bas bax bbc bcl bej "
    "bem bez bft bgn bik bin bjn bku bla blt bpy bqi bra brh brx bss bua bug bum bya byn cad car cch ceb cgg chk "
    "chm chn cho chp chr chy cic cjm cop cps crk crs csb cuk dak dar dav del den din dje doi dsb dtp dua dyo dyu "
    "dzg ebu efi egl eka esu ewo ext fan fil fit fon frp frr fur gaa gag gay gba gbm gil glk gom gon gor got grt "
    "gsw guc gur guz gwi hai haw hil hmn hne hnj hsb hsn hup iba ibb ilo inh ist izh jam jgo jmc jut kaa kab kac "
    "kaj kam kbd kbl kcg kde kea kfo kgp kha kho khq kjg kln kmb koi kok kos kpe krc kri krj krl kru ksb ksf ksh "
    "kum kvr lad lag lah lam lbe lep lez lif lij lki lkt lmn lmo lol loz lrc ltg lua lun luo lus luy luz lzh lzz "
    "mad maf mag mai mak man mas mdf mdh mdr men mer mfe mga mgh mgo mic min mni moh mos mrj mua mus mwl mwr myv "
    "mzn nan nap naq nds new nia niu nmg nnh nog nqo nso nus nym nyn nyo nzi osa pag pam pap pau pcd pcm pdc pnt "
    "pon quc rap rar rej rgn rif rof rtm rue rug rup rwk sad sah saq sas sat saz sba sbp scn sco sdc sdh see seh "
    "sei sel ses sga sgs shi shn shu sid sly sma smj smn sms snk srn srr ssy stq suk sus swb swv sxn syr szl tcy "
    "tem teo ter tet tig tiv tkl tkr tli tly tmh tog tpi trv tsg tsi ttt tum tvl twq tyv tzm udm uga umb unr vai "
    "vec vep vls vmf vot vro vun wae wal war was wbp wni wuu xal xmf xog yao yap yav ybb yrl yue zap zea zen zgh zun zza "
)  # fmt: skip
SINGLE_ROWS_THAT_DIFFER = {"srp_Cyrl", "crh_Latn", "kor_Hang", "tzm_Tfng"}
WITHOUT_SCRIPT = set(  # CLDR and the registry say nothing of them
    codes_in(
        "ie oj pi ain ang anp arw avk bla bya car chn chy cuk del din hai hmn hup ist kbl kho lam lun lus mga mic mwl "
        "nia nog nyo rap rar rup sad see sel ter tli tsi was xal zap zen zun "
    )
)  # fmt: skip


def test_every_tag_of_flores_200_has_the_script_that_it_names() -> None:
    assert len(FLORES) > 195
    assert {tag: script_of(tag) for tag in FLORES} == FLORES
    assert all(is_language(tag) and language_name(tag) != tag for tag in FLORES)


def test_the_likely_script_is_that_of_flores_where_a_language_has_one_row_there() -> None:
    by_code: dict[str, list[str]] = {}
    for tag in FLORES:
        by_code.setdefault(tag.split("_")[0], []).append(tag)
    wrong = {
        tags[0]
        for code, tags in by_code.items()
        if len(tags) == 1 and script_of(code) not in (FLORES[tags[0]], None)
    }
    # two scripts in daily use; Korean with its Han characters; CLDR writes Tamazight in Latin letters
    assert wrong == SINGLE_ROWS_THAT_DIFFER


def test_hundreds_of_codes_have_a_script_or_are_refused_with_the_setting() -> None:
    codes = OTHER_CODES
    assert len(codes) > 500 and all(map(is_language, codes))
    assert {code for code in codes if script_of(code) is None} == WITHOUT_SCRIPT
    for code in WITHOUT_SCRIPT:
        with pytest.raises(InputError, match=f"{code!r}: its script is not known; give data.target_script"):
            known_script(code)
    check(DataConfig(corpus="a.tsv", source_language="lus", target_language="nqo"))


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("cn", "zh"),
        ("jp", "ja"),
        ("cz", "cs"),
        ("ua", "uk"),
        ("quechua", "qu"),
        ("Uighur", "ug"),
        ("engl", "en"),
        ("swahli", "sw"),
        ("central_kurdish", "ckb"),
        ("Central Kurdish", "ckb"),
        ("sorani", "ckb"),
        ("cambodian", "km"),
        ("Ol Chiki", "sat"),
        ("olck", "sat"),
        ("N’Ko", "nqo"),
        ("n'ko", "nqo"),
    ],
)
def test_what_is_no_code_is_refused_with_the_nearest_one(written: str, code: str) -> None:
    assert not is_language(written) and language_meant(written) == code
    for name in ("source_language", "target_language"):
        with pytest.raises(InputError, match=f'data.{name}={written}: a code is needed; write "{code}"$'):
            check(DataConfig(corpus="a.tsv", **{name: written}))  # type: ignore[arg-type]


def test_what_is_like_no_code_is_refused_with_an_example() -> None:
    with pytest.raises(
        InputError,
        match=r"data\.source_language=!!: a code is needed of ISO 639, such as bo, bod or bod_Tibt$",
    ):
        check(DataConfig(corpus="a.tsv", source_language="!!"))


def test_synonyms_are_one_language() -> None:
    tags = ("bo", "bod", "tib", "bod_Tibt", "bo-CN", "BO")
    assert {primary(tag) for tag in tags} == {"bo"} and {language_name(tag) for tag in tags[:3]} == {
        "Tibetan"
    }


def test_what_follows_a_single_letter_is_no_script_and_no_region() -> None:
    assert script_of("qaa-Latn-x-mine") == "Latn" and script_of("qaa-x-mine") is None
    assert parse_tag("de-u-co-phonebk") == ("de", "", "") and parse_tag("sr-Latn-RS-x-us") == (
        "sr",
        "Latn",
        "RS",
    )
    assert (
        not is_language("x-mine") and language_meant("x-mine") == "qaa" and language_meant("i-klingon") == ""
    )


def test_a_short_name_says_what_is_not_expected_of_the_language() -> None:
    names = {tag: short_name(tag) for tag in FLORES}
    assert len(set(names.values())) == len(FLORES)
    assert [names[tag] for tag in ("bod_Tibt", "tzm_Tfng", "jpn_Jpan", "kor_Hang", "yue_Hant", "zho_Hant", "min_Arab")] == [
        "Tibetan", "Central Atlas Tamazight (Tifinagh)", "Japanese", "Korean", "Cantonese", "Chinese (Traditional)",
        "Minangkabau (Arabic)",
    ]  # fmt: skip


def test_two_scripts_are_one_script_with_a_plus() -> None:
    assert known_script("sr") == "Cyrl+Latn" and known_script("sr-Latn") == "Latn"
    config = DataConfig(corpus="a.tsv", target_language="uz", target_script="latn+cyrl")
    check(config)
    assert known_script(config.completion_language) == "Cyrl+Latn"
    assert [is_script(letter, "Cyrl+Latn") for letter in ("\u0436", "z", "\u4e00")] == [True, True, False]
    with pytest.raises(InputError, match=r"data\.target_script=latn[+]xxxx: known scripts are"):
        check(DataConfig(corpus="a.tsv", target_script="latn+xxxx"))


def test_rare_scripts_and_styles_are_known_and_unwritten_ones_are_not() -> None:
    assert [known_code(code) for code in ("Hebr", "aran", "Goth", "Zxxx", "Zyyy", "Latn1")] == [
        "Hebr",
        "Arab",
        "Goth",
        None,
        None,
        None,
    ]


def test_units_are_named() -> None:
    names = [unit_name(script_of(code)).split()[0] for code in ("dz", "th", "ja", "ko", "ug", "am")]
    assert names == ["syllables", "characters", "characters", "words", "words", "words"]
