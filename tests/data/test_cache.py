"""Files and folders appear whole or not at all, and what killed processes left behind goes away."""

import errno
import multiprocessing
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from data import cache
from data.cache import atomic_folder, atomic_write_text, name_disk_errors, remove_folder, remove_unfinished


def content(folder: Path) -> dict[str, str]:
    """Everything in `folder`, hidden or not: path -> text."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def put_file(path: Path, text: str) -> None:
    with atomic_folder(path) as work:
        (work / "inner").mkdir()
        (work / "inner" / "a.txt").write_text(text, encoding="utf-8")


def write_until_killed(action: Callable[[], object]) -> None:
    """Run `action` in a process of its own, which must die by SIGKILL in it."""
    process = multiprocessing.get_context("fork").Process(target=action)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def kill_at_replace(number: int, after: bool) -> None:
    """From now on this process dies before or after the `number`-th rename of data.cache."""
    replace = os.replace
    done = 0

    def deadly(source: Path, target: Path) -> None:
        nonlocal done
        done += 1
        if done == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    cache.os.replace = deadly


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_a_kill_at_any_rename_leaves_the_old_or_the_new(number: int, after: bool, tmp_path: Path) -> None:
    """Past bug: between the two renames there was nothing under the name, and what had been there stayed in a
    hidden folder for good.
    """
    put_file(tmp_path / "x", "old")

    def die() -> None:
        kill_at_replace(number, after)
        put_file(tmp_path / "x", "new")

    write_until_killed(die)
    remove_unfinished(tmp_path)
    assert content(tmp_path) == {"x/inner/a.txt": "new" if (number, after) == (2, True) else "old"}


def test_a_kill_while_a_file_is_written_or_a_folder_removed_leaves_no_half_of_it(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "file", "old")
    put_file(tmp_path / "x", "old")

    def die_writing() -> None:
        kill_at_replace(1, after=False)
        atomic_write_text(tmp_path / "file", "new")

    def die_removing() -> None:
        kill_at_replace(1, after=True)
        remove_folder(tmp_path / "x")

    write_until_killed(die_writing)
    write_until_killed(die_removing)
    # the second start swept the first's away
    assert not (tmp_path / "x").exists() and len(list(tmp_path.glob(".unfinished-*"))) == 1
    atomic_write_text(tmp_path / "other", "")
    assert content(tmp_path) == {"file": "old", "other": ""}


def test_what_a_living_process_is_writing_is_never_swept(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "mine") as work:
        (work / "a.txt").write_text("mine", encoding="utf-8")
        other = multiprocessing.get_context("fork").Process(target=put_file, args=(tmp_path / "x", "other"))
        other.start()
        other.join()
        assert other.exitcode == 0
    assert content(tmp_path) == {"mine/a.txt": "mine", "x/inner/a.txt": "other"}


def test_an_error_in_the_block_puts_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_file(tmp_path / "x", "old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "x") as work:
        (work / "half").write_text("", encoding="utf-8")
        raise RuntimeError
    monkeypatch.setattr(
        cache, "fsync_path", lambda path: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error"))
    )
    with pytest.raises(OSError, match="Input/output error") as error:
        put_file(tmp_path / "x", "new")
    assert error.value.filename == str(tmp_path / "x")
    assert content(tmp_path) == {"x/inner/a.txt": "old"}


def test_files_then_their_folders_then_the_name_reach_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[str] = []
    monkeypatch.setattr(cache, "fsync_path", lambda path: paths.append(str(path.relative_to(tmp_path))))
    put_file(tmp_path / "x", "new")
    scratch = paths[0].split("/")[0]
    assert set(paths[:-2]) == {f"{scratch}/new/inner", f"{scratch}/new/inner/a.txt"}
    assert paths[-2:] == [f"{scratch}/new", "."]


def test_a_made_folder_has_the_modes_that_the_user_asks_of_new_ones(tmp_path: Path) -> None:
    """Past bug: the weights of a policy could be read by their owner alone, as safetensors writes them."""
    before = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "x") as work:
            (work / "model.safetensors").touch(0o600)
        atomic_write_text(tmp_path / "file", "new")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("x", "x/model.safetensors", "file")]
    assert modes == [0o750, 0o640, 0o640]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EPIPE, "Broken pipe"), OSError(errno.ENOSPC, "full", "its name"), OSError("no number")],
)
def test_only_an_error_of_the_disk_without_a_name_is_given_one(error: OSError, tmp_path: Path) -> None:
    with pytest.raises(OSError) as info, name_disk_errors(tmp_path):
        raise error
    assert info.value is error


@pytest.mark.parametrize(
    "write", [lambda path: atomic_write_text(path, "new"), lambda path: put_file(path, "new")]
)
def test_a_folder_that_cannot_be_written_is_named_by_what_was_to_be_written(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past bug: the sentence named a scratch folder, such as .unfinished-q7k1gwal, which nobody can find."""

    def refuse(dir: Path, prefix: str) -> str:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(dir / f"{prefix}x"))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(OSError) as info:
        write(tmp_path / "report.md")
    assert (info.value.errno, info.value.filename) == (errno.EACCES, str(tmp_path / "report.md"))
