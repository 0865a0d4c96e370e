"""`python -m eval.judge --before A.json --after B.json --judge openai:URL#MODEL`: asks a judge which of two
systems' outputs it prefers.

The judge sees source, reference and both outputs, in both orders (docs/preference.md). Answers are stored
beside the result, so the same command after a stop, or with a larger --n, asks only for the missing ones.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from data.arguments import ArgumentParser
from data.documents import user_path
from data.errors import InputError, run_command
from eval.metrics.significance import mean_statistics, paired_bootstrap, ratio_of_sums, resample_counts
from eval.preference.answers import Answers, Judge, Reply, open_answers
from eval.preference.endpoint import Endpoint
from eval.preference.outcome import Answer, common_side, preference, preference_table
from eval.preference.pairs import Pair, destination, make_pairs, names, random_pairs, read_outputs
from eval.preference.prompt import question, sign_of
from eval.report.blocks import plain_text
from eval.systems import write_json

ORDERS = (False, True)  # whether `after` is shown first
EVERY = 20  # items between two lines of progress


def ask_judge(
    pairs: Sequence[Pair], judge: Judge, answers: Answers, say: Callable[[str], None]
) -> list[list[Reply]]:
    """Per pair the replies in both `ORDERS`; none for identical outputs."""
    replies: list[list[Reply]] = []
    for number, pair in enumerate(pairs, 1):
        replies.append(
            []
            if pair.is_identical
            else [answers.get(judge, question(pair, after_first)) for after_first in ORDERS]
        )
        if number % EVERY == 0:
            say(f"judge: {number} of {len(pairs)} items, {answers.num_new} new answers")
    return replies


def compare(
    before: Path, after: Path, judge: Judge, answers: Answers, n: int, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """The whole result of one comparison, ready to be written."""
    files = read_outputs(before), read_outputs(after)
    pairs = random_pairs(make_pairs(*files), n, seed)
    replies = ask_judge(pairs, judge, answers, say)
    answer_rows = [
        [Answer(first, sign_of(reply["reply"])) for first, reply in zip(ORDERS, row, strict=False)]
        for row in replies
    ]
    result = preference(
        names(*files), judge.name, pairs, list(map(common_side, answer_rows)), answer_rows, seed
    )
    items = result.pop("items")
    hashes = {"before": files[0].sha256, "after": files[1].sha256}
    margins = margin(
        [
            [reply["scores"] for reply in row]
            for row in replies
            if row and all("scores" in reply for reply in row)
        ],
        seed,
    )
    return {
        **result,
        "judge_settings": judge.settings,
        "orders": len(ORDERS),
        "margin": margins,
        "files_sha256": hashes,
        "items": items,
    }


def margin(scores: Sequence[Sequence[Sequence[float]]], seed: int) -> dict[str, Any] | None:
    """The mean preference for `after` in nats with a bootstrap interval; None for a judge without scores.

    `scores`: per item, per order (before first, after first), log p of the signs 1, 2, =. The preference is
    half of log p(after) - log p(before) summed over both orders, so a bias for one position cancels.
    """
    if not scores:
        return None
    values = [
        (before_first[1] - before_first[0] + after_first[0] - after_first[1]) / 2
        for before_first, after_first in scores
    ]
    counts = resample_counts(len(values), np.random.default_rng(seed))
    net = paired_bootstrap(
        mean_statistics([0.0] * len(values)), mean_statistics(values), ratio_of_sums, counts
    )
    return {"mean": net.difference, "low": net.low, "high": net.high, "n": net.n, "unit": "nats"}


def judge_of(text: str, key_variable: str | None, max_tokens: int, timeout: float) -> Judge:
    """`openai:URL#MODEL` or `local:FOLDER`. Raises InputError."""
    kind, _, rest = text.partition(":")
    if kind == "local" and rest:
        from eval.preference.local_model import LocalModel
        from grpo.runtime import device

        compute = device.choose("auto")
        device.configure(compute)
        return LocalModel(user_path(rest), compute.device)
    url, _, model = rest.partition("#")
    if kind != "openai" or not model:
        raise InputError(
            f"--judge {text}: write openai:URL#MODEL, such as openai:http://127.0.0.1:8000/v1#name, or local:FOLDER"
        )
    return Endpoint(checked_url(url), model, secret(key_variable), max_tokens, timeout)


def checked_url(url: str) -> str:
    """The address without a slash at its end.

    Raises InputError for a bad one, or one with a password or query.
    """
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isascii()
        )
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise InputError(
            f"--judge openai:{url}: not an address; write http://HOST:PORT/v1 or https://HOST/v1"
        )
    if parts.username or parts.password or "?" in url:
        raise InputError(
            "--judge openai: the address holds a user, a password or a query; name the key's variable with --key-variable"
        )
    return url.rstrip("/")


def secret(variable: str | None) -> str | None:
    """The key in an environment variable; it is never shown.

    Raises InputError where the variable has no key.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            f"--key-variable {variable}: this environment variable holds no key; export it, or leave the option out"
        )
    return key


def run(options: argparse.Namespace) -> None:
    if options.max_tokens < 1 or not 0 < options.timeout < 1e6:
        raise InputError("--max-tokens and --timeout must be above 0")
    judge = judge_of(options.judge, options.key_variable, options.max_tokens, options.timeout)
    out = destination(options.out)
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; name a file, such as judge.json")
    with open_answers(out.with_suffix(".answers.jsonl")) as answers:
        result = compare(
            user_path(options.before),
            user_path(options.after),
            judge,
            answers,
            options.n,
            options.seed,
            print,
        )
    write_json(out, result)
    print(plain_text(preference_table(result)))
    print(f"written: {out}")


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m eval.judge", description="Pairwise preference between two systems, both orders."
    )
    parser.add_argument(
        "--before", required=True, help="eval/SYSTEM.json of a run folder, or a point of a study"
    )
    parser.add_argument("--after", required=True, help="likewise; a win is a win of this one")
    parser.add_argument("--judge", required=True, help="openai:URL#MODEL or local:FOLDER")
    parser.add_argument("--n", type=int, default=100, help="at most so many random items (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of items and of the bootstrap")
    parser.add_argument(
        "--out", default="judge.json", help="the result; answers are kept beside it in OUT.answers.jsonl"
    )
    parser.add_argument("--key-variable", help="the environment variable that holds the key of the endpoint")
    parser.add_argument(
        "--max-tokens", type=int, default=1024, help="of an answer; a model that thinks first needs many"
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds to wait for the endpoint before trying again"
    )
    options = parser.parse_args(argv)
    return run_command(lambda: run(options), "asks only for the missing answers")


if __name__ == "__main__":
    sys.exit(main())
