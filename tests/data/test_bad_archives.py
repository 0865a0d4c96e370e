"""Archives that are damaged or made to do harm: plain files inside their own folder and within the limits, or
one sentence and nothing.
"""

import gzip
import io
import lzma
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from archives import files, make_zip, tar_bytes
from hypothesis import strategies as st
from invented_bytes import assert_one_sentence, damaged_files, for_all, times

from data import obtain
from data import unpack as unpack_module
from data.errors import InputError
from data.obtain import HASH_NAME, debian_archives, npm_archive
from data.unpack import RefusedError, unpack

WHOLE = {"a/x.json": b"{}" * 40, "a/b/y.txt": bytes(range(256)) * 3, "z": b""}
NAMES = [
    *"abcdefgh", "ཀ/ཁ", "i/j", "k.json",
    "a/b", "./c", "", ".", "..", "../e", "a/../../e", "/e", "a\\..\\e", "e\0f", "a//b", "n" * 300, "d/" * 30 + "x", "\u202e", "a\n",
]  # fmt: skip
LINKS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
TYPES = [*[tarfile.REGTYPE] * 20, *LINKS, tarfile.DIRTYPE, tarfile.CONTTYPE, b"?"]


def zip_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


def deb_bytes(data: bytes, name: str = "data.tar.gz") -> bytes:
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": tar_bytes({"./control": b""}), name: data}
    heads = {
        name: f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        for name, content in parts.items()
    }
    return b"!<arch>\n" + b"".join(
        heads[name] + content + b"\n" * (len(content) % 2) for name, content in parts.items()
    )


KINDS = {
    "a.whl": tuple(
        zip_bytes(WHOLE, method)
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    ),
    "a.tar": (tar_bytes(WHOLE, "w:"),),
    "a.tgz": tuple(tar_bytes(WHOLE, f"w:{kind}") for kind in ("gz", "xz", "bz2")),
    "a.deb": (deb_bytes(tar_bytes(WHOLE)), deb_bytes(tar_bytes(WHOLE, "w:xz"), "data.tar.xz")),
}


def take(archive: Path, out: Path) -> dict[str, bytes] | None:
    """What came of an archive, or None where one sentence refused it; afterwards `out` is empty and nothing
    lies beside it.
    """
    shutil.rmtree(out, ignore_errors=True)
    try:
        result = files(unpack(archive, out))
        assert all(path.is_file() and not path.is_symlink() for path in out.rglob("*") if not path.is_dir())
        shutil.rmtree(out)
        return result
    except InputError as error:
        assert_one_sentence(error, archive)
        assert not files(out) if out.exists() else True
        return None
    finally:
        assert {path.name for path in archive.parent.iterdir()} <= {archive.name, out.name}


@times(300)
@pytest.mark.parametrize("name", KINDS)
def test_damaged_archive_is_unpacked_or_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int
) -> None:
    if name == "a.deb" and shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed here")
    monkeypatch.setattr("data.cache.os.fsync", lambda descriptor: None)
    folder = tmp_path / "inner"
    folder.mkdir()

    def holds(content: bytes) -> None:
        (folder / name).write_bytes(content)
        take(folder / name, folder / "out")

    for content in KINDS[name]:
        (folder / name).write_bytes(content)
        assert take(folder / name, folder / "out") == WHOLE
    for_all(count if name != "a.deb" else count // 3, holds, damaged_files(*KINDS[name]))
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


@times(400)
def test_any_names_types_and_sizes_of_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("data.cache.os.fsync", lambda descriptor: None)
    monkeypatch.setattr(unpack_module, "MAX_TOTAL_BYTES", 4000)
    folder = tmp_path / "inner"
    folder.mkdir()

    def holds(members: list[tuple[str, bytes, int]], is_pax: bool) -> None:
        stream = io.BytesIO()
        with tarfile.open(
            fileobj=stream, mode="w:", format=tarfile.PAX_FORMAT if is_pax else tarfile.GNU_FORMAT
        ) as tar:
            for name, kind, size in members:
                info = tarfile.TarInfo(name)
                info.type = kind
                info.size = size
                info.linkname = "/etc/passwd"
                tar.addfile(info, io.BytesIO(bytes(size)))
        archive = folder / "a.tar"
        archive.write_bytes(stream.getvalue())
        result = take(archive, folder / "out")
        assert result is None or (len(result) <= len(members) and sum(map(len, result.values())) <= 4000)

    member = st.tuples(st.sampled_from(NAMES), st.sampled_from(TYPES), st.integers(0, 2000))
    for_all(count, holds, st.lists(member, min_size=1, max_size=4), st.booleans())
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def refusal_of(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    archive = tmp_path / name
    archive.write_bytes(content)
    with pytest.raises(RefusedError, match=reason + r".*; nothing was taken from it"):
        unpack(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {}


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "/", "a/..\\evil"])
def test_member_outside_is_refused_and_members_before_it_are_gone(tmp_path: Path, name: str) -> None:
    for archive, content in (
        ("a.tar", tar_bytes({"good": b"1", name: b"x"}, "w:")),
        ("a.whl", zip_bytes({"good": b"1", name: b"x"})),
    ):
        if name != "/" or archive == "a.tar":  # zipfile takes a name that ends in a slash for a folder
            refusal_of(tmp_path, archive, content, "outside its own folder")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    """The second silently took the place of the first; whoever checks an archive may have looked at the other one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:") as tar:
        for name in ("a/b", "./a//b"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    refusal_of(tmp_path, "a.tar", stream.getvalue(), "two members")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr("x", b"1")
        file.writestr("x", b"2")
    refusal_of(tmp_path, "a.zip", (tmp_path / "b.zip").read_bytes(), "two members 'x'")


@pytest.mark.parametrize("name", ["", ".", "a\nb", "\u202egpj.exe"])
def test_a_name_of_no_file_is_refused(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    refusal_of(tmp_path, "a.tar", stream.getvalue(), "no name of a file")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """It became an id with half a surrogate pair, and writing the corpus ended in UnicodeEncodeError."""
    info = tarfile.TarInfo("x\udcff")
    refusal_of(tmp_path, "a.tar", info.tobuf(tarfile.GNU_FORMAT) + bytes(1024), "no name of a file")


def test_links_and_devices_are_left_out_and_nothing_is_written_through_them(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:") as tar:
        for kind in LINKS:
            info = tarfile.TarInfo("link")
            info.type = kind
            info.linkname = str(target)
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("link/file"), io.BytesIO())
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, str(target))
        file.writestr("link/file", b"")
    (tmp_path / "a.tar").write_bytes(stream.getvalue())
    for name in ("a.tar", "a.zip"):
        assert files(unpack(tmp_path / name, tmp_path / "out")) == {"link/file": b""}
    assert not list(target.iterdir())


def test_sizes_and_numbers_beyond_the_limits_are_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member was read whole, whatever it said: 20 MB of zeros in a zip of 20 kB, and 1 TB in a sparse
    member of a tarball.
    """
    huge = tarfile.TarInfo("huge")
    huge.size = 1 << 40
    refusal_of(
        tmp_path, "a.tar", huge.tobuf(), r"a member 'huge' of 1,099,511,627,776 bytes, more than 536,870,912"
    )
    huge.type = b"?"  # a kind that is left out has to be read past
    refusal_of(tmp_path, "b.tar", huge.tobuf(), "a member 'huge' of")
    monkeypatch.setattr(unpack_module, "MAX_MEMBER_BYTES", 10_000_000)
    refusal_of(tmp_path, "a.zip", zip_bytes({"x": bytes(20_000_000)}), "a member 'x' of 20,000,000 bytes")
    monkeypatch.setattr(unpack_module, "MAX_TOTAL_BYTES", 15_000_000)
    refusal_of(
        tmp_path,
        "c.zip",
        zip_bytes({"x": bytes(8_000_000), "y": bytes(8_000_000)}),
        "members of more than 15,000,000 bytes together",
    )
    monkeypatch.setattr(unpack_module, "MAX_MEMBERS", 5)
    for name, content in (
        ("d.zip", zip_bytes(dict.fromkeys("abcdef", b""))),
        ("d.tar", tar_bytes(dict.fromkeys("abcdef", b""), "w:")),
    ):
        refusal_of(tmp_path, name, content, "more than 5 members")


@pytest.mark.parametrize(
    "kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
)
def test_a_name_of_gigabytes_is_refused(tmp_path: Path, kind: bytes) -> None:
    """tarfile reads a long name or an extended header at once: one of 10 GB in a tarball of 10 MB took all memory."""
    info = tarfile.TarInfo("x")
    info.type = kind
    info.size = 10 << 30
    refusal_of(
        tmp_path,
        "a.tar.gz",
        gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000)),
        r"a header of 10,737,418,240 bytes",
    )


def test_a_size_below_nothing_and_headers_within_headers_are_one_sentence(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    buffer = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    buffer[124:136] = b"\xff" * 12
    buffer[148:156] = b" " * 8
    buffer[148:155] = f"{sum(buffer):06o}\0".encode()
    refusal_of(tmp_path, "a.tar", bytes(buffer) + bytes(1024), "a header of -1 bytes")
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = 5
    (tmp_path / "b.tar").write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")) * 5000)
    with pytest.raises(InputError, match=r"b\.tar cannot be unpacked \(maximum recursion depth"):
        unpack(tmp_path / "b.tar", tmp_path / "out")


def test_a_member_that_says_less_than_it_holds_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"x": bytes(1000)}))
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 10)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip cannot be unpacked \(Bad CRC-32"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize(("name", "flags", "method"), [("encrypted", 1, 8), ("of an unknown method", 0, 99)])
def test_zip_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, flags: int, method: int) -> None:
    """RuntimeError and NotImplementedError came out of `unpack`."""
    content = bytearray(zip_bytes({"x": b"abc"}))
    for place, offset in ((content.index(b"PK\x03\x04"), 6), (content.rindex(b"PK\x01\x02"), 8)):
        content[place + offset : place + offset + 4] = struct.pack("<2H", flags, method)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_damaged_compression_is_one_sentence(tmp_path: Path) -> None:
    """zlib.error, LZMAError and, for the first three bytes of gzip alone, TypeError came out of `unpack`."""
    archive = {
        "a.tgz": gzip.compress(bytes(range(256)) * 300),
        "a.tar.xz": lzma.compress(bytes(range(256)) * 300),
    }
    damage = {name: content[:40] + b"\xff" * 40 + content[80:] for name, content in archive.items()}
    for name, content in {**damage, "b.tgz": b"\x1f\x8b\x08"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "out")


def test_a_large_member_goes_to_disk_in_pieces(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.whl", {"large": bytes(32 << 20)})
    tracemalloc.start()
    folder = unpack(archive, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (folder / "large").stat().st_size == 32 << 20
    assert peak < 8 << 20


@times(300)
def test_any_state_of_the_folder_of_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(obtain, "_run_command", lambda command, folder: ("", ""))
    npm = tmp_path / "packages/npm/u-1"
    debian = tmp_path / "packages/debian"

    def holds(checksum: bytes, listing: bytes, number: int) -> None:
        shutil.rmtree(tmp_path / "packages", ignore_errors=True)
        npm.mkdir(parents=True)
        debian.mkdir()
        (debian / "unlisted.txt").write_bytes(listing)
        (npm / HASH_NAME).write_bytes(checksum)
        for name in "ab"[:number]:
            (npm / name).write_bytes(b"")
        assert set(debian_archives(["b"], tmp_path, lambda _: None)[1]) == {"b"}
        try:
            assert len(npm_archive("u", "1", tmp_path, say=lambda _: None).sha256) == 64
        except InputError as error:
            assert_one_sentence(error, npm, "u@1")

    for_all(count, holds, damaged_files(b"0" * 64 + b"\n"), damaged_files(b"a\nb\nc"), st.integers(0, 2))
