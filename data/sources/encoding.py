"""Which encoding a file has that is not UTF-8, and the command that converts it.

The languages of a corpus are known. So of the encodings under which a line can be decoded, the likely one is the
first that gives letters of their scripts; of Latin letters only where no other script is known, or where the bytes
show it of a language with two scripts.
"""

import re
import shlex
from codecs import getincrementaldecoder
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data.script import is_script, primary, script_of
from data.sources.packed_file import TOOLS

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF32_MARKS = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
# the share of zero bytes that no UTF-8 has; every tab of UTF-16 has one
MANY_ZEROS = 0.001
# below it UTF-8 has zero bytes, as an output of a model may: in UTF-16 that is UTF-8 as well, such as Ol Chiki, every
# space has one
FEW_ZEROS = 0.02
MOST = 0.8  # of the other characters than ASCII are letters of the languages
HIGH = re.compile(b"[\x80-\xff]+")
HIGH_IN_LATIN = re.compile(b"(?<=[A-Za-z])[\x80-\xff]+|[\x80-\xff]+(?=[A-Za-z])")


class Encoding(NamedTuple):
    """An encoding as iconv calls it, Python's name of it, and the languages it is tried first for."""

    name: str
    codec: str
    languages: str = ""


# where several fit, the first one is named: the smaller character set first
ENCODINGS = (
    Encoding("EUC-KR", "euc_kr", "ko"),
    Encoding("CP949", "cp949", "ko"),
    Encoding("SHIFT_JIS", "shift_jis", "ja"),
    Encoding("EUC-JP", "euc_jp", "ja"),
    Encoding("GB18030", "gb2312"),
    Encoding("BIG5", "big5"),
    Encoding("GB18030", "gb18030"),
    Encoding("CP1250", "cp1250", "pl cs sk hu sl hr ro sq bs sr"),
    Encoding("CP1254", "cp1254", "tr az crh"),
    Encoding("CP1257", "cp1257", "et lv lt"),
    Encoding("CP1258", "cp1258", "vi"),
    Encoding("CP1252", "cp1252"),
    Encoding("ISO-8859-1", "latin_1"),
    Encoding("CP1251", "cp1251"),
    Encoding("KOI8-R", "koi8_r"),
    Encoding("CP1253", "cp1253"),
    Encoding("CP1255", "cp1255"),
    Encoding("CP1256", "cp1256"),
    Encoding("CP874", "cp874"),
)


MISREAD = (("CP1252", "cp1252"), ("ISO-8859-1", "latin_1"))


def wide_encoding(sample: bytes) -> str:
    """UTF-16 or UTF-32 where the beginning of a file is that, else "". The order of bytes is part of the name
    where no mark says it.
    """
    if sample.startswith(UTF32_MARKS):
        return "UTF-32"
    if sample.startswith(UTF16_MARKS):
        return "UTF-16"
    zeros = [sample[place::4].count(0) for place in range(4)]
    for name, pair in (("UTF-32LE", zeros[2:]), ("UTF-32BE", zeros[:2])):
        if sum(pair) > MOST * len(sample) / 2:
            return name
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if even + odd <= max(3, MANY_ZEROS * len(sample)) or _has_stray_zeros(sample, even, odd):
        return ""
    return "UTF-16LE" if odd >= even else "UTF-16BE"


def _has_stray_zeros(sample: bytes, even: int, odd: int) -> bool:
    """Whether it is UTF-8 with zero bytes in it: they are few, or stand at even and at odd places, which those of the
    ASCII letters and spaces of UTF-16 do not.
    """
    try:
        getincrementaldecoder("utf-8")().decode(sample)  # the last character of a sample may be cut
    except UnicodeDecodeError:
        return False
    return even + odd < FEW_ZEROS * len(sample) or 2 * min(even, odd) > max(even, odd)


def likely_encoding(lines: Iterable[bytes], languages: Sequence[str]) -> str:
    """The encoding of lines that are not UTF-8, in texts of these languages; "" where none fits a line."""
    own = {primary(language) for language in languages}
    samples = list(lines)
    script = _script_of_lines(samples, [set((script_of(one) or "Latn").split("+")) for one in languages])
    first = [encoding for encoding in ENCODINGS if own & set(encoding.languages.split())]
    rest = [encoding for encoding in ENCODINGS if not encoding.languages]
    counts = [
        (sum(_fits(line, encoding.codec, script) for line in samples), encoding)
        for encoding in (*first, *rest)
    ]
    most, best = max(counts, key=lambda item: item[0])  # the first of equal ones
    return best.name if most else ""


def _script_of_lines(lines: Sequence[bytes], languages: Sequence[set[str]]) -> str:
    """The scripts to look for, joined by "+", of the scripts of each language. In Latin words other letters stand
    beside ASCII ones; by that a language of Latin and another script shows which one a file has.
    """
    others = set[str]().union(*languages) - {"Latn"}
    is_open = any("Latn" in scripts and len(scripts) > 1 for scripts in languages)
    if is_open:
        text = b"\n".join(lines)
        if 2 * len(HIGH_IN_LATIN.findall(text)) > len(HIGH.findall(text)):
            return "Latn"
    return "+".join(sorted(others)) or "Latn"


def _fits(line: bytes, codec: str, script: str) -> bool:
    """Whether a line has this encoding by its letters that are not ASCII."""
    try:
        text = line.decode(codec)
    except UnicodeDecodeError:
        return False
    letters = [character for character in text if character > "\x7f" and character.isalpha()]
    return bool(letters) and sum(is_script(letter, script) for letter in letters) >= MOST * len(letters)


def misread_as(lines: Sequence[bytes]) -> str:
    """The encoding as which UTF-8 was read before it was saved as UTF-8 once more, of most of the lines; "" for none.

    >>> misread_as(["caf\u00c3\u00a9".encode()]), misread_as(["caf\u00e9".encode()])
    ('CP1252', '')
    """
    counts = [(sum(_is_misread(line, codec) for line in lines), name) for name, codec in MISREAD]
    most, name = max(counts, key=lambda item: item[0])  # the first of equal ones
    return name if 2 * most > len(lines) else ""


def _is_misread(line: bytes, codec: str) -> bool:
    """Whether the characters of a line are the bytes of UTF-8 in an encoding of one byte each."""
    try:
        content = line.decode("utf-8").encode(codec)
        return not content.isascii() and bool(content.decode("utf-8"))
    except UnicodeError:
        return False


def command_to_convert(path: Path, encoding: str, result: str = "UTF-8") -> str:
    """The command that writes a file again as UTF-8, beside it and unpacked.

    >>> command_to_convert(Path("a.tsv.gz"), "BIG5")
    'gzip -dc a.tsv.gz | iconv -f BIG5 -t UTF-8 > a.utf8.tsv'
    """
    packing = TOOLS.get(path.suffix.lower())
    plain = path.with_suffix("") if packing else path
    new = shlex.quote(str(plain.with_name(f"{plain.stem}.utf8{plain.suffix}")))
    old = shlex.quote(str(path))
    convert = f"iconv -f {encoding} -t {result}"
    return f"{packing} -dc {old} | {convert} > {new}" if packing else f"{convert} {old} > {new}"
