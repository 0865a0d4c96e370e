"""Who may ask a server, what each method answers, and bodies that do not come."""

import json
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tiny_server import request, running

from data.errors import InputError
from grpo.serve.http_server import Handler, Server
from grpo.serve.origin import check_host, host_name, names_of
from grpo.serve.refusal import RequestError
from grpo.serve.service import Service


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server without a model: what is asked here needs none."""
    worker = SimpleNamespace(is_alive=lambda: True, close=lambda: None)
    service = SimpleNamespace(worker=worker, served=SimpleNamespace(name="tiny"), started=0)
    with running(cast(Service, service), decodes=False, names=["box.example"]) as one:
        yield one


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("LocalHost", 200),
        ("[::1]:8000", 200),
        ("box.example:1", 200),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.7", 403),
        ("x@localhost", 400),
        ("localhost:port", 400),
        ("", 400),
    ],
)
def test_only_names_of_this_machine_are_served(server: Server, host: str, status: int) -> None:
    found, _, body = request(server, "GET", "/health", None, {"Host": host})
    assert found == status
    if status != 200:
        assert json.loads(body)["error"]["code"] in ("host_not_allowed", "invalid_host")


def test_a_server_at_every_address_takes_addresses_and_no_names() -> None:
    names = names_of("0.0.0.0", [])
    check_host("192.168.1.7:8000", names, "0.0.0.0")
    with pytest.raises(RequestError, match=r"--allow-host evil\.example"):
        check_host("evil.example", names, "0.0.0.0")
    assert host_name("[fe80::1]:80") == "fe80::1"
    with pytest.raises(InputError, match="--allow-host http://x/y: the name or address"):
        names_of("127.0.0.1", ["http://x/y"])


@pytest.mark.parametrize(
    ("origin", "status"), [("http://localhost:1", 200), ("http://evil.example", 403), ("null", 403)]
)
def test_pages_of_other_origins_are_refused(server: Server, origin: str, status: int) -> None:
    headers = {"Host": "localhost:1", "Origin": origin}
    assert request(server, "GET", "/health", None, headers)[0] == status
    found, answer, _ = request(server, "OPTIONS", "/v1/completions", None, headers)
    assert found == status and not [name for name in answer if name.startswith("Access-Control")]


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/models/tiny", "/v1/models/none", "/nowhere"])
def test_head_is_get_without_the_body(server: Server, path: str) -> None:
    status, headers, body = request(server, "GET", path)
    same, own, nothing = request(server, "HEAD", path)
    assert (same, nothing) == (status, b"") and body != b""
    assert own["Content-Length"] == headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/health", "GET, HEAD, OPTIONS"),
        ("/v1/completions", "POST, OPTIONS"),
        ("/v1/models/tiny", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_says_what_an_address_takes(server: Server, path: str, allow: str) -> None:
    status, headers, body = request(server, "OPTIONS", path)
    assert (status, headers["Allow"], body) == (200, allow, b"")
    wrong = "GET" if "POST" in allow else "POST"
    status, headers, body = request(server, wrong, path, b"")
    assert (status, headers["Allow"]) == (405, allow)
    assert request(server, "OPTIONS", "/nowhere")[0] == 404


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/json; charset=x"])
def test_json_is_read_whatever_its_content_type_says(server: Server, kind: str) -> None:
    """curl -d sends the second. A page of another site can send the first two: its origin is refused before."""
    path, headers = "/v1/completions", {"Content-Type": kind}
    for body, said in ((b"[1]", "a JSON object"), (b"prompt=x", "no JSON")):
        status, _, content = request(server, "POST", path, body, headers)
        assert status == 400 and said in json.loads(content)["error"]["message"]
    for origin in ("http://elsewhere.example", "null", "file://"):
        status, _, content = request(server, "POST", path, b"[1]", headers | {"Origin": origin})
        assert (status, json.loads(content)["error"]["code"]) == (403, "origin_not_allowed")


def exchange(server: Server, content: bytes, ends: bool) -> tuple[bytes, Any]:
    """The first line of the answer to some bytes, and its JSON; `ends`: nothing more is written."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        connection.sendall(content)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.splitlines()[0] if head else b"", json.loads(body) if body else None


def test_a_body_that_does_not_come_ends_its_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "timeout", 0.2)
    head = b"POST /outputs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    line, body = exchange(server, head, ends=False)
    assert b" 408 " in line and body["error"]["code"] == "request_timeout"
    line, body = exchange(server, head, ends=True)
    assert b" 400 " in line and body["error"]["message"] == "The body has 1 bytes of 9."
    # silence ends a connection
    assert exchange(server, b"GET /health HTTP/1.1\r\nHo", ends=False) == (b"", None)
