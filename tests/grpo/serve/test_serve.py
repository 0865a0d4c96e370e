"""A server of a tiny policy, through real sockets: OpenAI's shapes, one batch for all, streams, limits, refusals."""

import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_templates import FAMILIES, with_template
from tiny import byte_tokenizer, tiny_gemma
from tiny_run import SYLLABLES
from tiny_server import CHAT, NEW, TEXT, Json, chat, events, post, request, serving

from grpo.engine.draw import Sampling
from grpo.engine.greedy import DecodeSettings
from grpo.engine.model import load_policy
from grpo.engine.sampler import generate
from grpo.serve.batch import Batch
from grpo.serve.http_server import Server
from grpo.translate.decoding import Decoding, candidates
from grpo.translate.policy import Policy, open_policy

pytestmark = pytest.mark.usefixtures("own_cache")
TEXTS = ["་".join(SYLLABLES[(n * k) % 16] for k in (1, 3, 5)[: 1 + n % 3]) for n in range(8)]


@pytest.fixture(scope="module")
def policy(run: Path) -> Policy:
    return open_policy(run)


@pytest.fixture(scope="module")
def greedy(policy: Policy) -> list[str]:
    """The outputs of `translate`, one text at a time."""
    model = load_policy(policy.folder, torch.device("cpu"))
    found = []
    for text in TEXTS:
        prompt = policy.prompt.encode_prompt(policy.example(text))
        decoding = Decoding(DecodeSettings(NEW, policy.prompt.stops, 1))
        ((_, own),) = candidates(model, policy.prompt, [prompt], [1], decoding)
        found.append(own.texts[0])
    return found


def content(answer: Json, number: int = 0) -> str:
    return str(answer["choices"][number]["message"]["content"])


def text_of(pieces: list[Json], number: int = 0) -> str:
    """The text of a choice of a stream."""
    choices = [choice for piece in pieces for choice in piece["choices"] if choice["index"] == number]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_a_chat_completion_has_the_shape_of_openai_and_the_text_of_translate(
    server: Server, policy: Policy, greedy: list[str]
) -> None:
    before = int(time.time())
    answer = chat(server, TEXTS[2], temperature=0)
    assert answer.keys() == {"id", "object", "created", "model", "choices", "usage"}
    assert (answer["object"], answer["model"]) == ("chat.completion", "tiny")
    assert answer["id"].startswith("chatcmpl-") and before <= answer["created"] <= time.time()
    (choice,) = answer["choices"]
    assert choice.keys() == {"index", "message", "logprobs", "finish_reason"}
    assert choice["message"] == {"role": "assistant", "content": greedy[2], "refusal": None} and greedy[2]
    prompt = policy.prompt.encode_prompt(policy.example(TEXTS[2]))
    usage = answer["usage"]
    assert usage["prompt_tokens"] == len(prompt) and usage["total_tokens"] == sum(usage.values()) / 2
    assert choice["finish_reason"] == ("length" if usage["completion_tokens"] == NEW else "stop")


def test_curl_needs_no_content_type(server: Server, greedy: list[str]) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": TEXTS[2]}], "temperature": 0}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # of curl -d
    status, _, answer = request(server, "POST", CHAT, body, headers)
    assert status == 200 and content(json.loads(answer)) == greedy[2]


def test_other_messages_are_not_read_by_a_policy_without_a_chat_template(
    server: Server, greedy: list[str]
) -> None:
    parts = [{"type": "text", "text": TEXTS[1][:1]}, {"type": "text", "text": TEXTS[1][1:]}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": parts},
    ]
    answer = post(server, CHAT, {"messages": messages, "temperature": 0, "user": "me", "stop": None})
    assert content(answer) == greedy[1]


def test_models_health_and_page(server: Server) -> None:
    status, _, body = request(server, "GET", "/v1/models")
    (model,) = json.loads(body)["data"]
    assert status == 200 and model.keys() == {"id", "object", "created", "owned_by"} and model["id"] == "tiny"
    assert json.loads(request(server, "GET", "/v1/models/tiny")[2]) == model
    assert json.loads(request(server, "GET", "/health?x=1")[2]) == {"status": "ok"}
    status, headers, body = request(server, "GET", "/")
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"Tibetan to Chinese" in body and b'lang="bo"' in body and b"http" not in body


def test_requests_at_once_share_a_batch_and_give_the_texts_of_each_alone(
    server: Server, greedy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [chat(server, text, temperature=1.2, seed=n, n=2) for n, text in enumerate(TEXTS)]
    sizes = []
    advance = Batch.advance

    def counted(batch: Batch) -> Any:
        sizes.append(len(batch.rows))
        time.sleep(0.005)  # so that all have come
        return advance(batch)

    monkeypatch.setattr(Batch, "advance", counted)
    with ThreadPoolExecutor(16) as pool:
        likely = [pool.submit(chat, server, text, temperature=0) for text in TEXTS]
        samples = [
            pool.submit(chat, server, text, temperature=1.2, seed=n, n=2) for n, text in enumerate(TEXTS)
        ]
    assert [content(one.result()) for one in likely] == greedy
    assert [one.result()["choices"] for one in samples] == [one["choices"] for one in alone]
    assert 4 <= max(sizes) <= 10  # 8 that go on, and those that have ended and stay for a while


def test_samples_are_those_of_the_sampler_with_this_seed(server: Server, policy: Policy) -> None:
    answer = chat(server, TEXTS[5], temperature=1.5, seed=7, n=3)
    again = chat(server, TEXTS[5], temperature=1.5, seed=7, n=3)
    assert answer["choices"] == again["choices"]
    model = load_policy(policy.folder, torch.device("cpu"))
    prompt = policy.prompt.encode_prompt(policy.example(TEXTS[5]))
    rollout = generate(model, [prompt], Sampling(3, NEW, 1.5, policy.prompt.stops), (7,))
    texts = [policy.prompt.decode_completion(ids) for ids in rollout.completions()]
    assert [content(answer, number) for number in range(3)] == texts and len(set(texts)) > 1
    assert answer["usage"]["completion_tokens"] == int(rollout.lengths.sum())
    assert answer["usage"]["prompt_tokens"] == len(prompt)


def test_the_pieces_of_a_stream_join_to_the_whole(server: Server) -> None:
    body: Json = {"messages": [{"role": "user", "content": TEXTS[4]}], "temperature": 1.3, "seed": 3, "n": 2}
    whole = post(server, CHAT, {**body, "max_tokens": 60})
    pieces = events(server, CHAT, {**body, "max_tokens": 60, "stream_options": {"include_usage": True}})
    for number in (0, 1):
        assert text_of(pieces, number) == content(whole, number)
    assert len(pieces) > 10 and len({piece["id"] for piece in pieces}) == 1
    assert all(piece["object"] == "chat.completion.chunk" for piece in pieces)
    assert pieces[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert pieces[-1]["choices"] == [] and pieces[-1]["usage"] == whole["usage"]
    assert all(piece["usage"] is None for piece in pieces[:-1])
    reasons = [choice["finish_reason"] for piece in pieces for choice in piece["choices"]]
    assert [reason for reason in reasons if reason] == [
        choice["finish_reason"] for choice in whole["choices"]
    ]


def test_a_completion_goes_on_from_a_text_or_ids_as_they_are(server: Server, policy: Policy) -> None:
    ids = policy.prompt.encode_prompt(policy.example(TEXTS[3]))
    text = policy.prompt.wording.text(policy.example(TEXTS[3]))
    asked = content(chat(server, TEXTS[3], temperature=0))
    answer = post(server, TEXT, {"prompt": [text, text], "temperature": 0})
    assert answer["object"] == "text_completion" and answer["id"].startswith("cmpl-")
    assert answer["choices"][1].keys() == {"index", "text", "logprobs", "finish_reason"}
    assert [choice["text"] for choice in answer["choices"]] == [asked, asked]
    assert answer["usage"]["prompt_tokens"] == 2 * len(ids)
    assert post(server, TEXT, {"prompt": ids, "temperature": 0})["choices"][0]["text"] == asked
    pieces = events(server, TEXT, {"prompt": text, "temperature": 0})
    assert "".join(choice["text"] for piece in pieces for choice in piece["choices"]) == asked


def test_a_stop_ends_a_text_before_it(server: Server) -> None:
    body: Json = {"messages": [{"role": "user", "content": TEXTS[6]}], "temperature": 1.1, "seed": 0}
    body["max_tokens"] = 60
    text = content(post(server, CHAT, body))
    stop = text[5:8]
    place = text.find(stop)
    assert len(text) > 12 and 0 < place <= 5
    answer = post(server, CHAT, {**body, "stop": ["never in it", stop]})
    assert content(answer) == text[:place] and answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] < 60
    assert text_of(events(server, CHAT, {**body, "stop": stop})) == text[:place]


def test_whoever_goes_away_leaves_the_batch(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Batch.advance

    def slow(batch: Batch) -> Any:
        batch.stop_ids = frozenset()
        time.sleep(0.005)
        return advance(batch)

    def wait_until(is_right: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not is_right() and time.monotonic() < end:
            time.sleep(0.01)

    monkeypatch.setattr(Batch, "advance", slow)
    active = server.service.worker.active
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request("POST", TEXT, json.dumps({"prompt": "x", "max_tokens": 512, "stream": True, "n": 8}))
    answer = connection.getresponse()
    assert answer.read(1) == b"d"
    wait_until(lambda: bool(active))
    (job,) = active
    answer.close()
    connection.close()
    wait_until(lambda: not active)
    assert active == [] and 8 <= sum(len(row.ids) for row in job.rows) < 8 * 512


def test_a_failure_of_the_model_ends_its_requests_and_no_others(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    body: Json = {"messages": [{"role": "user", "content": "x"}]}
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "advance", fail)
        status, _, answer = request(server, "POST", CHAT, body)
        _, _, stream = request(server, "POST", CHAT, {**body, "stream": True})
    error = json.loads(answer)["error"]
    assert (status, error["type"]) == (500, "server_error") and "RuntimeError" in error["message"]
    assert json.loads(stream.decode().split("data: ")[-1])["error"] == error
    assert content(chat(server, TEXTS[1], temperature=0))


def test_a_chat_template_gets_all_messages(tmp_path: Path) -> None:
    tokenizer = with_template(byte_tokenizer(), FAMILIES["chatml"])
    tiny_gemma(vocabulary=len(tokenizer)).save_pretrained(tmp_path / "chatty")
    tokenizer.save_pretrained(tmp_path / "chatty")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\n b"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]
    with serving(tmp_path / "chatty") as server:
        served = server.service.served
        chat_of = served.policy.prompt.chat
        assert chat_of is not None
        ids = chat_of.ids(messages)
        assert "Be brief." in tokenizer.decode(ids) and "a\n b" in tokenizer.decode(ids)
        answer = post(server, CHAT, {"messages": messages, "temperature": 0, "max_tokens": 5})
        assert answer["usage"]["prompt_tokens"] == len(ids)
        same = post(server, TEXT, {"prompt": ids, "temperature": 0, "max_tokens": 5})
        assert same["choices"][0]["text"] == content(answer)
        bad = [{"role": "user", "content": f"x {tokenizer.eos_token}"}]
        status, _, refusal = request(server, "POST", CHAT, {"messages": bad})
        assert status == 400 and "a special token" in json.loads(refusal)["error"]["message"]


def test_a_model_that_no_run_has_trained_continues_the_text(tiny_folder: Path) -> None:
    with serving(tiny_folder, "--max-new-tokens", "20") as server:
        text_of_chat = content(chat(server, "abc", temperature=0))
        text = post(server, TEXT, {"prompt": "abc", "temperature": 0})["choices"][0]["text"]
        assert text_of_chat == text != ""
        found = post(server, "/outputs", {"source": "abc", "reference": "d"})
        assert found["outputs"][0]["cosine"] is None
        assert found["no_cosine"] == "this model lies in no run folder, so no encoder belongs to it"
        assert found["no_cosine"].encode() in request(server, "GET", "/")[2]
