"""What a server refuses, and the command: OpenAI's shape of an error, one sentence for a user."""

import json
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_server import CHAT, TEXT, Json, options, request, running

from grpo.serve.__main__ import load, main
from grpo.serve.http_server import Server
from grpo.serve.rows import Row, Wish
from grpo.serve.worker import Job

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("path", "change", "status", "field", "code"),
    [
        (CHAT, {"model": "gpt"}, 404, "model", "model_not_found"),
        (CHAT, {"messages": None}, 400, "messages", "missing_required_parameter"),
        (CHAT, {"messages": []}, 400, "messages", "invalid_value"),
        (CHAT, {"messages": [{"role": "tool", "content": "x"}]}, 400, "messages", "invalid_value"),
        (CHAT, {"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages", "invalid_value"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages", "invalid_value"),
        (CHAT, {"messages": [{"role": "user", "content": " "}]}, 400, "messages", "invalid_value"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 600}]}, 400, "messages", "context_length_exceeded"),
        (CHAT, {"max_tokens": 513}, 400, "max_tokens", "invalid_value"),
        (CHAT, {"max_completion_tokens": 0}, 400, "max_completion_tokens", "invalid_value"),
        (CHAT, {"n": 9}, 400, "n", "invalid_value"),
        (CHAT, {"n": True}, 400, "n", "invalid_value"),
        (CHAT, {"temperature": 2.5}, 400, "temperature", "invalid_value"),
        (CHAT, {"temperature": "hot"}, 400, "temperature", "invalid_value"),
        (CHAT, {"stop": ["a", ""]}, 400, "stop", "invalid_value"),
        (CHAT, {"seed": 0.5}, 400, "seed", "invalid_value"),
        (CHAT, {"stream": "yes"}, 400, "stream", "invalid_value"),
        (CHAT, {"top_p": 0.9}, 400, "top_p", "unsupported_value"),
        (CHAT, {"tools": [{}]}, 400, "tools", "unsupported_value"),
        (CHAT, {"prompt": "x"}, 400, "prompt", "unknown_parameter"),
        (TEXT, {"prompt": [300]}, 400, "prompt", "invalid_value"),
        (TEXT, {"prompt": []}, 400, "prompt", "invalid_value"),
        (TEXT, {"prompt": ["a"] * 5, "n": 2}, 400, "n", "invalid_value"),
        ("/v1/embeddings", {}, 404, None, "unknown_url"),
        ("/v1/models", {}, 405, None, "method_not_allowed"),
        ("/outputs", {"source": ""}, 400, "source", "invalid_value"),
        ("/outputs", {"source": "x", "samples": 8}, 400, "samples", "invalid_value"),
    ],
)  # fmt: skip
def test_a_refusal_has_the_shape_of_openai(
    server: Server, path: str, change: Json, status: int, field: str | None, code: str
) -> None:
    right = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1} if path == CHAT else {}
    found, _, body = request(server, "POST", path, {**right, **change})
    error = json.loads(body)["error"]
    assert (found, error["param"], error["code"]) == (status, field, code)
    assert error["type"] == "invalid_request_error" and error["message"].endswith((".", code, "prompt"))


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b'"x"', {}, 400),
        (b"[" * 9000, {}, 400),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"", {"Content-Length": "2000000"}, 413),
        (b"", {"Content-Length": "-1"}, 411),
    ],
)
def test_a_body_that_cannot_be_read(
    server: Server, body: bytes, headers: dict[str, str], status: int
) -> None:
    found, _, answer = request(server, "POST", CHAT, body, headers)
    assert found == status and json.loads(answer)["error"]["type"] == "invalid_request_error"


def test_an_unknown_method_and_no_http_at_all(server: Server) -> None:
    status, _, body = request(server, "BREW", "/health")
    assert status == 501 and "error" in json.loads(body)
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b"error" in connection.recv(4096)
    assert request(server, "GET", "/health")[0] == 200


def test_beyond_the_queue_a_request_is_refused(run: Path) -> None:
    service = load(options(run, "--queue", "2"))
    with running(service, decodes=False) as server:
        for _ in range(2):
            service.worker.submit(Job([Row.of([1], Wish(1), 0)]))
        body: Json = {"messages": [{"role": "user", "content": "x"}]}
        status, headers, answer = request(server, "POST", CHAT, body)
        error = json.loads(answer)["error"]
        assert (status, error["type"], error["code"]) == (503, "server_error", "overloaded")
        assert headers["Retry-After"] == "1"


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """Ctrl-C as in a terminal: a shell starts what is in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupt")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_its_address_and_ends_by_a_signal(
    run: Path, number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []

    def ask(service: Any, url: str) -> str:
        def go() -> None:
            with urllib.request.urlopen(f"{url}/health", timeout=60) as answer:
                answers.append(answer.status)
            os.kill(os.getpid(), number)

        threading.Thread(target=go).start()
        return f"at {url}"

    monkeypatch.setattr("grpo.serve.__main__.first_sentence", ask)
    before = signal.getsignal(signal.SIGTERM)
    assert main([str(run), "--port", "0"]) == 0
    assert answers == [200] and signal.getsignal(signal.SIGTERM) == before
    said = capsys.readouterr().err
    assert "at http://127.0.0.1:" in said and said.endswith("stopped\n")


def test_bad_input_of_the_command_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sentence(*argv: str) -> str:
        assert main([*argv]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1
        return said

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "Address already in use; write another one" in sentence(str(run), "--port", port)
    assert "no model there" in sentence(str(tmp_path / "nowhere"), "--port", "0")
    assert "--port 70000" in sentence(str(run), "--port", "70000")
    assert "--host nowhere.invalid" in sentence(str(run), "--host", "nowhere.invalid", "--port", "0")
    assert "--queue 0: a number from 1" in sentence(str(run), "--queue", "0")
    assert "none is left for a prompt" in sentence(str(run), "--port", "0", "--max-new-tokens", "1024")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "nonesuch"}', encoding="utf-8")
    assert str(tmp_path / "empty") in sentence(str(tmp_path / "empty"), "--port", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "serve runs in one process" in sentence(str(run))
