"""Which address does what."""

from collections.abc import Mapping

from grpo.serve.answers import CHAT, TEXT, Json, Kind, pieces, whole_answer
from grpo.serve.batch import end
from grpo.serve.fields import Fields, fields_of, messages_of, prompts_of
from grpo.serve.http_server import Handler, Route
from grpo.serve.page import SECURITY, page
from grpo.serve.page_outputs import most_samples, page_outputs
from grpo.serve.refusal import RequestError
from grpo.serve.worker import Job


def show_page(handler: Handler) -> None:
    service = handler.server.service
    text = page(service.served, most_samples(service.served), service.similarity.problem)
    handler.send(200, "text/html; charset=utf-8", text.encode(), {"Content-Security-Policy": SECURITY})


def answer_page(handler: Handler) -> None:
    service = handler.server.service
    body = handler.body()
    handler.send_json(200, page_outputs(body, service.served, service.worker, service.similarity))


def show_health(handler: Handler) -> None:
    is_alive = handler.server.service.worker.is_alive()
    handler.send_json(200 if is_alive else 503, {"status": "ok" if is_alive else "no longer decoding"})


def model_facts(handler: Handler) -> Json:
    service = handler.server.service
    return {
        "id": service.served.name,
        "object": "model",
        "created": service.started,
        "owned_by": "semantic-grpo",
    }


def list_models(handler: Handler) -> None:
    handler.send_json(200, {"object": "list", "data": [model_facts(handler)]})


def show_model(handler: Handler) -> None:
    facts = model_facts(handler)
    if handler.address.removeprefix("/v1/models/") != facts["id"]:
        raise RequestError(404, "The model is not here; see /v1/models.", "model", "model_not_found")
    handler.send_json(200, facts)


def answer_chat(handler: Handler) -> None:
    service = handler.server.service
    body = handler.body()
    fields = fields_of(body, "messages", service.served)
    prompt = service.served.chat_prompt(messages_of(body))
    send_completions(handler, CHAT, service.submit([prompt], fields), fields)


def complete(handler: Handler) -> None:
    service = handler.server.service
    body = handler.body()
    fields = fields_of(body, "prompt", service.served)
    prompts = prompts_of(body, len(service.served.policy.prompt.tokenizer))
    send_completions(handler, TEXT, service.submit(map(service.served.text_prompt, prompts), fields), fields)


def send_completions(handler: Handler, kind: Kind, job: Job, fields: Fields) -> None:
    """The answer, whole or as a stream. Raises DecodeError, and what a connection raises."""
    name = handler.server.service.served.name
    try:
        if fields.is_stream:
            handler.stream(pieces(kind, name, job, fields))
        else:
            handler.send_json(200, whole_answer(kind, name, job, fields))
    finally:
        end(job.rows)  # of one that nobody reads to its end


# (method, address) -> what it does; one that ends in / has a name behind it
ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "/"): show_page,
    ("POST", "/outputs"): answer_page,
    ("GET", "/health"): show_health,
    ("GET", "/v1/models"): list_models,
    ("GET", "/v1/models/"): show_model,
    ("POST", "/v1/chat/completions"): answer_chat,
    ("POST", "/v1/completions"): complete,
}
