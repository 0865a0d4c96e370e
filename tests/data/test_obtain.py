"""Downloads are made once, hashed, and a failure is one sentence that names package, tool and reason."""

import hashlib
import shutil
from pathlib import Path

import pytest

from data import obtain
from data.obtain import NOT_LISTED, UnobtainableError, debian_archives, npm_archive, pip_archive


class Commands:
    """Stands in for `obtain._run`: writes the files a tool would leave, and remembers what was called."""

    def __init__(self, files: dict[str, bytes], failure: str = "", listing: str = "") -> None:
        self.files = files
        self.failure = failure
        self.listing = listing
        self.calls = list[list[str]]()

    def __call__(self, command: list[str], folder: Path) -> tuple[str, str]:
        self.calls.append(command)
        if command[:2] == ["apt-cache", "madison"]:
            return "", "".join(f" {name} | 1 | x\n" for name in self.listing.split())
        if "update" not in command:
            for name, content in self.files.items():
                (folder / name).write_bytes(content)
        return self.failure, ""


def use(monkeypatch: pytest.MonkeyPatch, commands: Commands, tools: bool = True) -> Commands:
    monkeypatch.setattr(obtain, "_run_command", commands)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if tools else None)
    return commands


def test_second_call_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = use(monkeypatch, Commands({"x-1.whl": b"abc"}))
    lines: list[str] = []
    archives = [pip_archive("x", "1", tmp_path, say=lines.append) for _ in range(2)]
    assert archives[0] == archives[1]
    assert archives[0].sha256 == hashlib.sha256(b"abc").hexdigest()
    assert archives[0].path.read_bytes() == b"abc"
    assert (len(commands.calls), lines) == (1, ["downloading x==1 (pip)"])
    assert "--no-deps" in commands.calls[0] and "x==1" in commands.calls[0]


@pytest.mark.parametrize(("files", "failure"), [({}, "ERROR: no route"), ({"a": b"", "b": b""}, "")])
def test_failed_download_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], failure: str
) -> None:
    use(monkeypatch, Commands(files, failure))
    with pytest.raises(
        UnobtainableError, match=f"x==1 could not be downloaded with pip: {failure or '2 files came'}"
    ):
        pip_archive("x", "1", tmp_path, say=lambda _: None)
    assert not list((tmp_path / "packages" / "pip").iterdir())


def test_without_npm_the_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Commands({}), tools=False)
    with pytest.raises(UnobtainableError, match="u@1: npm is not installed here"):
        npm_archive("u", "1", tmp_path, say=lambda _: None)


def test_debian_package_that_is_not_listed_is_skipped_and_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = use(monkeypatch, Commands({"a_1%3a2_all.deb": b"a"}, listing="a"))
    result, missing = debian_archives(["a", "b"], tmp_path, lambda _: None)
    assert list(result) == ["a"] and missing == {"b": NOT_LISTED}
    calls = len(commands.calls)
    assert debian_archives(["a", "b"], tmp_path, lambda _: None) == (result, missing)
    assert len(commands.calls) == calls


def test_names_are_only_remembered_as_unlisted_after_a_good_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Commands({}, failure="E: no network", listing=""))
    assert debian_archives(["b"], tmp_path, lambda _: None)[1] == {
        "b": "apt-get update failed: E: no network"
    }
    use(monkeypatch, Commands({"b_1_all.deb": b"b"}, listing="b"))
    assert list(debian_archives(["b"], tmp_path, lambda _: None)[0]) == ["b"]


def test_fresh_lists_are_kept_in_the_cache_so_no_root_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = use(monkeypatch, Commands({}, listing=""))
    debian_archives(["b"], tmp_path, lambda _: None)
    (update,) = [call for call in commands.calls if "update" in call]
    assert f"Dir::State::Lists={tmp_path / 'packages' / 'apt' / 'lists'}" in update


def test_without_apt_every_package_has_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = use(monkeypatch, Commands({}), tools=False)
    result, missing = debian_archives(["a", "b"], tmp_path, lambda _: None)
    assert result == {} and set(missing.values()) == {"apt-get or dpkg-deb is not installed here"}
    assert commands.calls == []


def test_a_command_that_fails_hangs_or_is_missing_gives_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert obtain._run_command(["sh", "-c", "echo out"], tmp_path) == ("", "out\n")
    assert (
        obtain._run_command(
            ["sh", "-c", "echo note >&2; echo 'ERROR: a (from versions: 1, 2)' >&2; exit 1"], tmp_path
        )[0]
        == "ERROR: a"
    )
    assert obtain._run_command(["sh", "-c", "exit 3"], tmp_path)[0] == "exit code 3"
    assert "no-such-tool" in obtain._run_command(["no-such-tool"], tmp_path)[0]
    monkeypatch.setattr(obtain, "COMMAND_SECONDS", 0.05)
    assert obtain._run_command(["sleep", "30"], tmp_path)[0] == "no answer within 0.05 s"
