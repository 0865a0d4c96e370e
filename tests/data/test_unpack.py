"""Archives are read for plain files that match, and can write nowhere else."""

import shutil
from pathlib import Path

import pytest
from archives import files, make_zip, tar_bytes

from data.errors import InputError
from data.unpack import unpack


def test_only_matching_members_come_and_each_choice_has_its_folder(tmp_path: Path) -> None:
    wheel = make_zip(tmp_path / "a.whl", {"a/bo.json": b"1", "a/b/bo.json": b"2", "a/de.json": b"3"})
    assert files(unpack(wheel, tmp_path / "out", ("*/bo.json",))) == {"a/b/bo.json": b"2", "a/bo.json": b"1"}
    assert len(files(unpack(wheel, tmp_path / "out"))) == 3
    wheel.unlink()
    assert len(files(unpack(wheel, tmp_path / "out"))) == 3  # kept


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil"])
def test_a_member_outside_the_folder_stops_everything(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    tarball = inner / "a.tar.gz"
    tarball.write_bytes(tar_bytes({"good": b"", name: b"x"}))
    for archive in (tarball, make_zip(inner / "a.whl", {"good": b"", name: b"x"})):
        if name == "a\\..\\evil" and archive.suffix == ".whl":
            continue  # zipfile itself turns the backslash of this platform's separator round
        with pytest.raises(InputError, match="outside its own folder"):
            unpack(archive, inner / "out")
    assert not list(tmp_path.rglob("*evil*"))
    assert not [path for path in (inner / "out").glob("*") if not path.name.startswith(".")]


def test_links_are_left_out(tmp_path: Path) -> None:
    archive = tmp_path / "a.tgz"
    archive.write_bytes(tar_bytes({"package/x": b"1"}))
    assert files(unpack(archive, tmp_path / "out")) == {"package/x": b"1"}


@pytest.mark.parametrize("name", ["a.whl", "a.tar.gz", "a.deb"])
def test_broken_archive_says_what_to_do(tmp_path: Path, name: str) -> None:
    archive = tmp_path / name
    archive.write_bytes(b"not an archive")
    with pytest.raises(InputError, match=r"cannot be unpacked .*delete its folder"):
        unpack(archive, tmp_path / "out")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed here")
def test_debian_package_is_read_without_installing_it(tmp_path: Path) -> None:
    def member(name: str, content: bytes) -> bytes:
        return (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )

    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": tar_bytes({"./control": b""}),
        "data.tar.gz": tar_bytes({"./usr/share/x": b"1"}),
    }
    archive = tmp_path / "a_1_all.deb"
    archive.write_bytes(b"!<arch>\n" + b"".join(member(name, content) for name, content in parts.items()))
    assert files(unpack(archive, tmp_path / "out", ("usr/*",))) == {"usr/share/x": b"1"}
