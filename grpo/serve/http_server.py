"""The HTTP side: which address does what, and how refusals are answered."""

import json
import socket
import socketserver
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from data.documents import parse_json
from data.errors import InputError
from grpo.serve.answers import CHAT, TEXT, Kind, pieces, whole_answer
from grpo.serve.batch import end
from grpo.serve.fields import Fields, fields_of, messages_of, prompts_of
from grpo.serve.page import POLICY, page
from grpo.serve.page_outputs import most_samples, page_outputs
from grpo.serve.refusal import RequestError
from grpo.serve.rows import Row
from grpo.serve.served import Served
from grpo.serve.similarity import Similarity
from grpo.serve.worker import BusyError, DecodeError, Job, Worker

LARGEST_BODY = 1 << 20  # bytes
PATIENCE = 60.0  # seconds for each read and write of a connection
Json = dict[str, Any]


@dataclass(frozen=True)
class Service:
    """What answers requests."""

    served: Served
    worker: Worker
    similarity: Similarity
    started: int

    def model(self) -> Json:
        name = self.served.name
        return {"id": name, "object": "model", "created": self.started, "owned_by": "semantic-grpo"}

    def fields(self, body: Json, content: str) -> Fields:
        limits = self.served.limits
        return fields_of(body, content, self.served.name, limits.default_new, limits.new, limits.rows)

    def submit(self, prompts: Iterable[list[int]], fields: Fields) -> Job:
        """Completions of prompts. Raises RequestError and BusyError."""
        rows = [Row.of(prompt, fields.wish, number) for prompt in prompts for number in range(fields.count)]
        if len(rows) > self.served.limits.rows:
            most = self.served.limits.rows
            raise RequestError(
                400, f"{len(rows)} completions in one request; at most {most}.", "n", "invalid_value"
            )
        return self.worker.submit(Job(rows))


class Server(ThreadingHTTPServer):
    """A port that is taken at once, and serves when `service` is set."""

    daemon_threads = True
    service: Service

    def __init__(self, host: str, port: int):
        try:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            super().__init__((host, port), Handler)
        except (OSError, OverflowError, UnicodeError) as error:
            cause = getattr(error, "strerror", None) or error
            raise InputError(
                f"--host {host} --port {port}: {cause}; write another one; --port 0 takes a free port"
            ) from error

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # the other one asks a name server for its own name
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

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
        self._answer(
            {"/": self._page, "/health": self._health, "/v1/models": self._models, **self._model_routes()}
        )

    def do_POST(self) -> None:
        self._answer(
            {
                "/v1/chat/completions": self._chat,
                "/v1/completions": self._complete,
                "/outputs": self._outputs,
            }
        )

    def _answer(self, routes: dict[str, Callable[[], None]]) -> None:
        """Do what the address says; a refusal is answered in OpenAI's shape."""
        self.has_begun = False
        try:
            route = routes.get(self.address)
            if route is None:
                raise self._no_route()
            route()
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

    def _no_route(self) -> RequestError:
        self.close_connection = True  # a body may follow
        path = self.address
        known = ("/", "/health", "/v1/models", "/v1/chat/completions", "/v1/completions", "/outputs")
        if path in known:
            return RequestError(405, f"{path} does not take {self.command}.", None, "method_not_allowed")
        if path.startswith("/v1/models/"):
            return RequestError(404, "The model is not here; see /v1/models.", "model", "model_not_found")
        return RequestError(404, f"Unknown address {path}.", None, "unknown_url")

    def _page(self) -> None:
        service = self.server.service
        text = page(service.served, most_samples(service.served), service.similarity.problem)
        self._send(200, "text/html; charset=utf-8", text.encode(), {"Content-Security-Policy": POLICY})

    def _health(self) -> None:
        is_alive = self.server.service.worker.is_alive()
        self._send_json(
            200 if is_alive else 503, {"status": "ok" if is_alive else "the model thread has ended"}
        )

    def _models(self) -> None:
        self._send_json(200, {"object": "list", "data": [self.server.service.model()]})

    def _model_routes(self) -> dict[str, Callable[[], None]]:
        model = self.server.service.model()
        return {f"/v1/models/{model['id']}": lambda: self._send_json(200, model)}

    def _chat(self) -> None:
        service = self.server.service
        body = self._body()
        fields = service.fields(body, "messages")
        prompt = service.served.chat_prompt(messages_of(body))
        self._send_completions(CHAT, service.submit([prompt], fields), fields)

    def _complete(self) -> None:
        service = self.server.service
        body = self._body()
        fields = service.fields(body, "prompt")
        prompts = prompts_of(body, len(service.served.policy.prompt.tokenizer))
        self._send_completions(TEXT, service.submit(map(service.served.text_prompt, prompts), fields), fields)

    def _outputs(self) -> None:
        service = self.server.service
        self._send_json(200, page_outputs(self._body(), service.served, service.worker, service.similarity))

    def _body(self) -> Json:
        """The JSON object of a request, without fields that are null. Raises RequestError."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise RequestError(411, "A request needs the header Content-Length.")
        if len(length) > 12 or int(length) > LARGEST_BODY:
            self.close_connection = True
            raise RequestError(413, f"The body is larger than {LARGEST_BODY} bytes.")
        try:
            body = parse_json(self.rfile.read(int(length)), "the body")
        except InputError as error:
            raise RequestError(400, "The body is no JSON that can be read.") from error
        if not isinstance(body, dict):
            raise RequestError(400, "The body has to be a JSON object.")
        return {name: value for name, value in body.items() if value is not None}

    def _send_completions(self, kind: Kind, job: Job, fields: Fields) -> None:
        try:
            if fields.is_stream:
                self._stream(kind, job, fields)
            else:
                self._send_json(200, whole_answer(kind, self.server.service.served.name, job, fields))
        finally:
            end(job.rows)  # of one that nobody reads to its end

    def _stream(self, kind: Kind, job: Job, fields: Fields) -> None:
        self._begin(200, {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
        for piece in pieces(kind, self.server.service.served.name, job, fields):
            self._send_event(json.dumps(piece, ensure_ascii=False))
        self._send_event("[DONE]")

    def _send_event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())

    def _refuse(self, error: RequestError) -> None:
        try:
            if self.has_begun:  # a stream, whose status is sent
                self._send_event(json.dumps(error.body))
            else:
                self._send_json(error.status, error.body, {"Retry-After": "1"} if error.status == 503 else {})
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _send_json(self, status: int, body: Json, headers: dict[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(body, ensure_ascii=False).encode(), headers or {})

    def _send(self, status: int, kind: str, content: bytes, headers: dict[str, str]) -> None:
        self._begin(status, {"Content-Type": kind, "Content-Length": str(len(content)), **headers})
        self.wfile.write(content)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        """The head of an answer; one of unknown length ends with its connection."""
        self.has_begun = True
        self.send_response(status)
        if "Content-Length" not in headers or self.close_connection:
            self.send_header("Connection", "close")
            self.close_connection = True
        for name, value in {"X-Content-Type-Options": "nosniff", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses, such as an unknown method."""
        self.close_connection = True
        self._refuse(RequestError(code, message or "The request cannot be read."))
