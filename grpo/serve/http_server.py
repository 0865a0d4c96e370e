"""The HTTP side: connections, bodies and answers, and refusals in OpenAI's shape."""

import json
import socket
import socketserver
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from data.documents import parse_json
from data.errors import InputError
from grpo.serve.origin import check_host, check_origin, names_of
from grpo.serve.refusal import RequestError
from grpo.serve.service import Service
from grpo.serve.worker import BusyError, DecodeError

LARGEST_BODY = 1 << 20  # bytes
JSON = "application/json"
PATIENCE = 60.0  # seconds for each read and write of a connection
Json = dict[str, Any]
Route = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """A port that is taken at once, and serves when `service` is set. `routes`: (method, address) -> what it does;
    `names`: further names under which a browser may know this machine. Raises InputError for an address that cannot
    be taken.
    """

    daemon_threads = True
    request_queue_size = 128  # connections that wait; a bounded queue of ours then answers 503
    service: Service

    def __init__(
        self, host: str, port: int, routes: Mapping[tuple[str, str], Route], names: Collection[str] = ()
    ):
        self.routes = routes
        self.host = host
        self.names = names_of(host, names)
        try:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            super().__init__((host, port), Handler)
        except (OSError, UnicodeError) as error:
            cause = getattr(error, "strerror", None) or error
            raise InputError(
                f"--host {host} --port {port}: {cause}; write another one; --port 0 takes a free port"
            ) from error

    def server_bind(self) -> None:
        """Without asking a name server for the name of this machine, as http.server does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    @property
    def url(self) -> str:
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "semantic-grpo"
    sys_version = ""
    timeout = PATIENCE
    has_begun = False  # the head of the answer is sent
    server: Server

    @property
    def address(self) -> str:
        """The path of the request, without its query."""
        return unquote(self.path.partition("?")[0])

    def do_GET(self) -> None:
        """Do what the address says."""
        self.has_begun = False
        try:
            self._check_sender()
            self._route()(self)
        except RequestError as error:
            self._refuse(error)
        except BusyError:
            self._refuse(RequestError(503, "Too many requests wait; try again soon.", None, "overloaded"))
        except DecodeError as error:
            self._refuse(RequestError(500, f"{error}.", None, "decode_failed"))
        except (ConnectionError, TimeoutError):  # whoever asked has gone
            self.close_connection = True
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self._refuse(RequestError(500, "The server failed; see its terminal.", None, "internal_error"))

    do_HEAD = do_POST = do_OPTIONS = do_GET  # noqa: N815

    def _check_sender(self) -> None:
        """Raises RequestError for a name that is not this machine's, and for a page of another origin."""
        host = self.headers.get("Host")
        try:
            check_host(host, self.server.names, self.server.host)
            check_origin(self.headers.get("Origin"), host)
        except RequestError:
            self.close_connection = True  # a body may follow
            raise

    def _route(self) -> Route:
        """What the address does. Raises RequestError for an unknown one."""
        methods = self.methods
        if self.command in methods:
            method = "GET" if self.command == "HEAD" else self.command
            return self.server.routes.get((method, self._place()), show_methods)
        self.close_connection = True  # a body may follow
        if methods:
            raise RequestError(
                405,
                f"{self.address} does not take {self.command}.",
                None,
                "method_not_allowed",
                {"Allow": ", ".join(methods)},
            )
        raise RequestError(404, f"Unknown address {self.address}.", None, "unknown_url")

    def _place(self) -> str:
        """The address in the table of routes: itself, or the folder that it is in."""
        folder = self.address[: self.address.rfind("/") + 1]
        is_known = any(place == self.address for _, place in self.server.routes)
        return self.address if is_known or folder == "/" else folder

    @property
    def methods(self) -> list[str]:
        """What the address takes: HEAD wherever GET, and OPTIONS; nothing where there is no such address."""
        own = [method for method, place in self.server.routes if place == self._place()]
        return [*own, *(["HEAD"] if "GET" in own else []), "OPTIONS"] if own else []

    def body(self) -> Json:
        """The JSON object of the request, whatever its content type says, without fields that are null. Raises
        RequestError.
        """
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise RequestError(411, "A request needs the header Content-Length.")
        if len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
            self.close_connection = True
            raise RequestError(413, f"The body is larger than {LARGEST_BODY} bytes.")
        try:
            body = parse_json(self._read(int(length)), "the body")
        except InputError as error:
            raise RequestError(400, "The body is no JSON that can be read.") from error
        if not isinstance(body, dict):
            raise RequestError(400, "The body has to be a JSON object.")
        return {name: value for name, value in body.items() if value is not None}

    def _read(self, length: int) -> bytes:
        """The bytes of a body. Raises RequestError where they do not come in time, or not all."""
        try:
            content = self.rfile.read(length)
        except TimeoutError as error:
            self.close_connection = True
            message = f"The body did not come within {self.timeout:g} seconds."
            raise RequestError(408, message, None, "request_timeout") from error
        if len(content) < length:
            self.close_connection = True
            raise RequestError(400, f"The body has {len(content)} bytes of {length}.")
        return content

    def send(self, status: int, kind: str, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        """An answer of a content type."""
        self._begin(status, {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, status: int, body: Json, headers: Mapping[str, str] | None = None) -> None:
        self.send(status, JSON, json.dumps(body, ensure_ascii=False).encode(), headers)

    def stream(self, pieces: Iterable[Json]) -> None:
        """Server-sent events, the last of which is [DONE]."""
        self._begin(200, {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
        for piece in pieces:
            self._send_event(json.dumps(piece, ensure_ascii=False))
        self._send_event("[DONE]")

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of an answer; one of unknown length ends with its connection."""
        self.has_begun = True
        self.close_connection = self.close_connection or "Content-Length" not in headers
        self.send_response(status)
        end = {"Connection": "close"} if self.close_connection else {}
        for name, value in {"X-Content-Type-Options": "nosniff", **headers, **end}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())

    def _refuse(self, error: RequestError) -> None:
        try:
            if self.has_begun:  # a stream, whose status is sent
                self._send_event(json.dumps(error.body))
            else:
                retry = {"Retry-After": "1"} if error.status == 503 else {}
                self.send_json(error.status, error.body, error.headers | retry)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses, such as an unknown method."""
        self.close_connection = True
        self._refuse(RequestError(code, message or "The request cannot be read."))


def show_methods(handler: Handler) -> None:
    """The answer to OPTIONS."""
    handler.send(200, JSON, b"", {"Allow": ", ".join(handler.methods)})
