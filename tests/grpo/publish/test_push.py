"""What goes to a model hub: nothing without --yes, and nothing without a card. No network."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import outcome
from repository import CHILD_PATH

from grpo.publish import push
from grpo.publish.push import main

CARD = "---\nlicense: gemma\n---\n# A model\n" + "line\n" * 20


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """An exported folder with card and notice, and what must stay here."""
    out = shutil.copytree(tiny_folder, tmp_path / "out")
    for name, text in (("README.md", CARD), ("Notice", "terms"), (".hidden", "x"), ("cost.json", "{}")):
        (out / name).write_text(text)
    (out / "more").mkdir()
    return out


class Hub:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo: str, **settings: Any) -> None:
        self.calls.append((repo, settings))

    def upload_folder(self, **settings: Any) -> str:
        self.calls.append(("upload", settings))
        return "somewhere"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr(push, "HfApi", lambda: hub)
    return hub


FILES = ["Notice", "README.md", "config.json", "generation_config.json", "model.safetensors"]
FILES += ["tokenizer.json", "tokenizer_config.json"]


def test_a_dry_run_shows_all_and_asks_no_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: Any) -> None:
        pytest.fail("a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(push, "HfApi", refused)
    assert main([str(folder), "me/model"]) == 0
    lines = capsys.readouterr().out.splitlines()
    total = sum((folder / name).stat().st_size for name in FILES)
    assert lines[0] == f"{folder} -> me/model (public): 7 files, {total / 1000:.1f} kB"
    assert [line.split()[-1] for line in lines[1:8]] == FILES
    assert lines[9] == "  ---" and lines[-2] == "  ... 12 more lines"
    assert lines[-1] == "dry run: nothing was sent; --yes sends it"


def test_yes_sends_these_files_and_no_others(folder: Path, hub: Hub) -> None:
    assert outcome(main, [str(folder), "me/model", "--yes", "--private"]) == (0, "")
    (made, settings), (_, sent) = hub.calls
    assert made == "me/model" and settings == {"private": True, "exist_ok": True}
    assert sent == {"repo_id": "me/model", "folder_path": folder, "allow_patterns": FILES}


def test_a_hub_that_refuses_is_one_sentence(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no token")

    monkeypatch.setattr(hub, "upload_folder", refuse)
    code, said = outcome(main, [str(folder), "me/model", "--yes"])
    assert (
        code == 2
        and said.startswith("error: me/model: the hub did not take it (no token)")
        and said.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("repo", "gone", "said"),
    [
        ("me/model", "README.md", "has no card; write one first"),
        ("me/model", "Notice", "a Gemma must go with its Notice file"),
        ("model", "", "no name of a repository; write OWNER/NAME"),
        ("a/b/c", "", "no name of a repository; write OWNER/NAME"),
    ],
)
def test_refusals(repo: str, gone: str, said: str, folder: Path, hub: Hub) -> None:
    if gone:
        (folder / gone).unlink()
    code, sentence = outcome(main, [str(folder), repo, "--yes"])
    assert code == 2 and said in sentence and sentence.count("\n") == 1 and hub.calls == []


def test_a_readme_without_a_head_is_no_card(folder: Path, hub: Hub) -> None:
    (folder / "README.md").write_text("# A model\n")
    code, said = outcome(main, [str(folder), "me/model"])
    assert code == 2 and "has no card" in said


def test_a_hub_that_does_not_answer_is_one_sentence(folder: Path) -> None:
    """Past bug: without a network the command ended in a traceback of the HTTP library."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free once more behind this line
    code = (
        "import sys; from grpo.publish.push import main; "
        f"sys.exit(main([{str(folder)!r}, 'me/model', '--yes']))"
    )
    place = {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "none",
        "no_proxy": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | CHILD_PATH | place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: me/model: the hub did not take it" in done.stderr
