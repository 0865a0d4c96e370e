"""The first `make` after a clone, with a stand-in for Python: environments that another machine may have left."""

import shutil
import subprocess
from pathlib import Path

import pytest
from repository import ROOT

# says what it is called with, makes environments of itself, and has pip where its folder has no file "broken"
PYTHON = """#!/bin/sh
here=$(dirname "$0")
case "$1 $2 $3" in
  "-m venv --clear") rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
  "-m pip --version") test ! -e "$here/broken" || exit 1 ;;
  "-m pip install") sleep 0.3; test ! -e offline || { echo "no matching distribution" >&2; exit 1; } ;;
esac
echo "$1 $2 $3" >> calls
"""
INSTALL = ["-m venv --clear", "-m pip --version", "-m pip install", "-m pip install"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `make install` needs, in a folder with a space in its name."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "python").write_text(PYTHON, encoding="utf-8")
    (folder / "python").chmod(0o755)
    return folder


def start(clone: Path) -> subprocess.Popen[str]:
    command = ["make", "--no-print-directory", "install", "PYTHON=./python"]  # the suite runs inside of make
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=clone, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def install(clone: Path) -> tuple[int, str]:
    process = start(clone)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def calls(clone: Path) -> list[str]:
    """What Python was called with since the last look, but for the check of its version."""
    found = [line for line in (clone / "calls").read_text(encoding="utf-8").splitlines() if line[:2] == "-m"]
    (clone / "calls").unlink()
    return found


def test_packages_come_once(clone: Path) -> None:
    code, said = install(clone)
    assert code == 0 and said.startswith("installing the pinned packages into .venv"), said
    assert calls(clone) == [one for one in INSTALL if one != "-m pip --version"]
    assert install(clone)[0] == 0 and not (clone / "calls").exists()


def test_an_environment_without_pip_is_made_again(clone: Path) -> None:
    """Debian's Python without its package python3-venv leaves one behind."""
    (clone / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(clone / "python", clone / ".venv" / "bin" / "python")
    (clone / ".venv" / "bin" / "broken").touch()
    assert install(clone)[0] == 0
    assert "-m venv --clear" in calls(clone) and not (clone / ".venv" / "bin" / "broken").exists()


def test_without_network_the_last_words_say_what_to_do_and_the_same_command_goes_on(clone: Path) -> None:
    (clone / "offline").touch()
    code, said = install(clone)
    assert code == 2 and "no matching distribution\npip could not install the packages: see above" in said
    (clone / "offline").unlink()
    calls(clone)
    assert install(clone)[0] == 0 and calls(clone) == INSTALL[1:]


@pytest.mark.skipif(shutil.which("flock") is None, reason="no flock here: two at once are not told apart")
def test_two_at_once_install_once(clone: Path) -> None:
    both = [start(clone), start(clone)]
    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    assert calls(clone).count("-m pip install") == 2
