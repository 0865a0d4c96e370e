"""`python -m grpo.serve RUN_OR_FOLDER [--port N]`: try a policy in a browser, or by OpenAI's HTTP interface.

For trying things out: there is no key, and whoever reaches the port may use it. So it binds this machine alone unless
--host says otherwise.
"""

import argparse
import signal
import sys
import time
from functools import partial
from typing import NoReturn

from transformers import PreTrainedModel

from data.arguments import ArgumentParser
from data.cache import cache_dir
from data.documents import user_path
from data.errors import InputError, run_command
from grpo.engine.self_check import positions_of
from grpo.serve.batch import Batch
from grpo.serve.decoders import decoders_of
from grpo.serve.http_server import Server
from grpo.serve.origin import LOCAL
from grpo.serve.routes import ROUTES
from grpo.serve.served import Limits, ServedPolicy, open_any
from grpo.serve.service import Service
from grpo.serve.similarity import Similarity
from grpo.serve.worker import Worker
from grpo.translate.policy import Policy, check_options, load_model
from grpo.translate.translator import tell

LONGEST_PROMPT = 2048  # tokens, where the model has positions for more
LONGEST_OUTPUT = 1024


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m grpo.serve", description="Try a policy in a browser, or by OpenAI's HTTP interface."
    )
    parser.add_argument("model", help="a run folder, which stands for its best policy, or a model folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: this machine alone)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name of this machine in addresses; again for more (default: the bound one and localhost)",
    )
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    parser.add_argument("--name", help="the model's name in requests (default: that of its folder)")
    parser.add_argument("--source-language", default="", help="of a policy that was trained on several")
    parser.add_argument("--target-language", default="", help="likewise")
    parser.add_argument(
        "--max-prompt-tokens", type=int, default=LONGEST_PROMPT, help=f"(default: {LONGEST_PROMPT})"
    )
    parser.add_argument(
        "--max-new-tokens", type=int, help=f"the most that a request may ask for (default: {LONGEST_OUTPUT})"
    )
    parser.add_argument(
        "--batch-size", type=int, default=16, help="completions at a time, of all requests (default: 16)"
    )
    parser.add_argument(
        "--queue", type=int, default=64, help="completions that may wait; more are refused (default: 64)"
    )
    parser.add_argument("--device", help="auto or cpu (default: the run's)")
    return parser.parse_args(argv)


def check(options: argparse.Namespace) -> None:
    """InputError for an option that cannot be."""
    counts = ("max_prompt_tokens", "max_new_tokens", "batch_size", "queue")
    check_options(options, "serve runs in one process; start it without torchrun", counts)
    if not 0 <= options.port < 1 << 16:
        raise InputError(f"--port {options.port}: a number from 0 to 65535 is needed")


def limits_of(options: argparse.Namespace, policy: Policy, model: PreTrainedModel) -> Limits:
    """What the options allow and the model has positions for. Raises InputError."""
    usual = int(policy.settings["eval.max_new_tokens"])
    new = options.max_new_tokens or max(usual, LONGEST_OUTPUT)
    prompt = options.max_prompt_tokens
    if positions := positions_of(model):
        new = min(new, options.max_new_tokens or positions // 2)
        prompt = min(prompt, positions - new)
    if prompt < 1:
        raise InputError(
            f"--max-new-tokens {new}: the model has {positions} positions, so none is left for a prompt"
        )
    return Limits(prompt, new, min(usual, new), options.batch_size)


def load(options: argparse.Namespace) -> Service:
    """The policy and the thread that decodes with it. Raises InputError."""
    path = user_path(options.model)
    policy = open_any(path, options.source_language, options.target_language)
    model, compute = load_model(policy, options.device)
    limits = limits_of(options, policy, model)
    served = ServedPolicy(options.name or path.resolve().name, policy, limits)
    new_decoder = decoders_of(model, limits.new, limits.rows, policy.settings["engine.fast_decode"])
    worker = Worker(
        lambda: Batch(new_decoder(), policy.prompt.stops, served.read), limits.rows, options.queue
    )
    similarity = Similarity(policy, cache_dir(), compute.device)
    return Service(served, worker, similarity, int(time.time()))


def first_sentence(service: Service, url: str) -> str:
    """What is served, and where."""
    source, target, _ = service.served.policy.kind
    languages = f", {source} to {target}" if source else ""
    address = f"page {url}/, OpenAI's interface {url}/v1 (model {service.served.name})"
    return f"{service.served.policy.folder}{languages}: {address}; Ctrl-C stops"


def stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def serve(server: Server, service: Service) -> None:
    """Answer requests until Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, stop)
    server.service = service
    service.worker.start()
    tell(first_sentence(service, server.url))
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        tell("stopped")
    finally:
        service.worker.close()
        service.worker.join()
        signal.signal(signal.SIGTERM, before)


def work(options: argparse.Namespace) -> None:
    check(options)
    with Server(options.host, options.port, ROUTES, options.allow_host) as server:
        if options.host not in LOCAL:
            tell("NOTE: there is no key; whoever reaches this address may use the model")
        serve(server, load(options))


def main(argv: list[str] | None = None) -> int:
    return run_command(partial(work, arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
