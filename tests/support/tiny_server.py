"""A server of a tiny policy on a free port of this process, and requests to it through real sockets."""

import argparse
import http.client
import json
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tiny import byte_tokenizer, tiny_gemma

from data.prompt import Prompt
from data.prompt_record import Kind
from data.saved_prompt import save
from data.template import Wording
from grpo.config import Config, EvalConfig
from grpo.runtime.run_folder import plain
from grpo.serve.__main__ import arguments, load
from grpo.serve.http_server import Server
from grpo.serve.routes import ROUTES
from grpo.serve.service import Service

Json = dict[str, Any]
NEW = 12  # tokens of a completion
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


def write_run(folder: Path, kind: Kind, wording: Wording, max_new_tokens: int) -> Path:
    """What a run leaves for a server: its settings, and a policy with its prompt."""
    tiny_gemma().save_pretrained(folder / "policy")
    save(Prompt.of(byte_tokenizer(), wording), [kind], folder / "policy")
    config = Config(device="cpu", eval=EvalConfig(max_new_tokens=max_new_tokens))
    (folder / "config.json").write_text(json.dumps(plain(config)), encoding="utf-8")
    return folder


def options(model: Path, *more: str) -> argparse.Namespace:
    return arguments([str(model), "--name", "tiny", "--device", "cpu", *more])


@contextmanager
def running(service: Service, decodes: bool = True, names: Collection[str] = ()) -> Iterator[Server]:
    """The service at a port, under further `names`; without `decodes` every request waits."""
    with Server("127.0.0.1", 0, ROUTES, names) as server:
        server.service = service
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        if decodes:
            service.worker.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            service.worker.close()
            if decodes:
                service.worker.join()


@contextmanager
def serving(model: Path, *more: str) -> Iterator[Server]:
    """A server of a run or model folder."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        with running(load(options(model, *more))) as server:
            yield server
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def request(
    server: Server,
    method: str,
    path: str,
    body: Json | bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    connection.request(method, path, content, dict(headers or {}))
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def post(server: Server, path: str, body: Json) -> Json:
    """The JSON of an answer that is no refusal."""
    status, _, content = request(server, "POST", path, body)
    assert status == 200, content
    return dict(json.loads(content))


def chat(server: Server, text: str, **more: Any) -> Json:
    """A chat completion of one message."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}
    return post(server, "/v1/chat/completions", body)


def events(server: Server, path: str, body: Json) -> list[Json]:
    """The pieces of a stream."""
    status, headers, content = request(server, "POST", path, {**body, "stream": True})
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream"), content
    *lines, last = [line.removeprefix("data: ") for line in content.decode().split("\n\n")[:-1]]
    assert last == "[DONE]"
    return [json.loads(line) for line in lines]
